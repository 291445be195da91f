"""How scripts end: one line for what a user can mend, a traceback and an address for all else."""

import errno
import os
import re
from fractions import Fraction

import pytest
import torch
import toy
import yaml

from crnas_d2.common.errors import JobError, one_line_errors
from crnas_d2.space import Genotype


def ends_with(error):
    """The status with which a script ends that raises an error."""
    with pytest.raises(SystemExit) as stopped, one_line_errors("tools/some_tool.py"):
        raise error
    return stopped.value.code


def of_file(number):
    return OSError(number, os.strerror(number), "a/b")


AGAIN = "then run the same command"
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23 GiB"


def test_an_error_of_a_job_is_one_line(capsys):
    assert ends_with(JobError("It cannot\n  start.")) == "some_tool.py: It cannot start."
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (of_file(errno.ENOSPC), f"a/b: No space left on device: make space, {AGAIN}"),
        (of_file(errno.EACCES), "a/b: Permission denied: choose a path"),
        (of_file(errno.EROFS), "a/b: Read-only file system: choose a folder"),
        (of_file(errno.ENOENT), "a/b: No such file or directory"),
        (FloatingPointError("Training diverged."), "Training diverged. Lower SOLVER.BASE_LR"),
        (torch.OutOfMemoryError(FULL), "CUDA out of memory. Set SOLVER.GRADIENT_ACCUMULATION"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, line, capsys):
    stopped = ends_with(error)
    assert stopped.startswith(f"some_tool.py: {line}") and "\n" not in stopped
    assert capsys.readouterr().err == ""


def test_what_the_package_refuses_is_one_line(capsys):
    words = r"some_tool\.py: MODEL\.GENOTYPE\.DEPTHS is"
    with pytest.raises(SystemExit, match=words), one_line_errors("some_tool.py"):
        Genotype(depths=(0,))
    assert capsys.readouterr().err == ""


def test_a_script_may_refuse_its_arguments(tmp_path):
    script = tmp_path / "tool.py"
    script.write_text("raise ValueError('no\\nsense')")
    with pytest.raises(SystemExit, match=r"^tool\.py: no sense$"), one_line_errors(str(script)):
        exec(compile(script.read_text(), script, "exec"))


@pytest.mark.parametrize("error", [RuntimeError("odd"), KeyError("odd"), yaml.YAMLError("odd")])
def test_an_unexpected_error_keeps_its_traceback_and_says_where_to_report(error, capsys):
    assert re.search("not expected.*report it as an issue", ends_with(error))
    printed = capsys.readouterr().err
    assert "Traceback" in printed and "raise error" in printed and "odd" in printed


def test_a_value_error_of_a_library_is_unexpected(capsys):
    with pytest.raises(SystemExit, match="not expected"), one_line_errors("some_tool.py"):
        Fraction("no number")  # a ValueError, as ours are
    assert "Traceback" in capsys.readouterr().err


def test_a_user_may_stop_a_script():
    with pytest.raises(SystemExit, match=r"^Resume me$"), one_line_errors("a.py", "Resume me"):
        raise KeyboardInterrupt


def test_every_script_ends_so():
    scripts = [*toy.ROOT.glob("*_net.py"), *(toy.ROOT / "tools").glob("*.py")]
    ends = ("with one_line_errors(__file__", "run_verb(")
    without = {s.name for s in scripts if not any(end in s.read_text() for end in ends)}
    assert without == {"install_detectron2.py"}  # runs before this package is installed
