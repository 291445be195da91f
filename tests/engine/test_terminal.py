"""What a job shows, what it only logs, and which warnings it leaves out."""

import importlib
import logging
import time
import warnings
from argparse import Namespace

import pytest
import toy

import crnas_d2.common.third_party
from crnas_d2.engine.log import set_up
from crnas_d2.search import Candidate, Candidates
from crnas_d2.space import Genotype
from crnas_d2.verbs.search import workers as search_workers
from crnas_d2.verbs.search.workers import SearchProgress

LOGGERS = ("detectron2", "fvcore", "crnas_d2")


@pytest.fixture
def loggers():
    """The loggers without handlers, as at the start of a process."""
    before = {name: logging.getLogger(name).handlers[:] for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).handlers.clear()
    yield
    for name, handlers in before.items():
        logging.getLogger(name).handlers[:] = handlers


def start(folder, **arguments):
    cfg = toy.network_config({"OUTPUT_DIR": str(folder)})
    set_up(cfg, Namespace(resume=False), **arguments)
    logging.getLogger("detectron2").info("Model:\n%s", "a hundred lines")
    logging.getLogger("fvcore.common").info("\x1b[36ma table\x1b[0m")
    logging.getLogger("crnas_d2.jobs").warning("a warning")
    return (folder / "log.txt").read_text()


def test_long_texts_and_colours_stay_off_the_terminal(loggers, tmp_path, capsys):
    written = start(tmp_path)
    shown = capsys.readouterr().out
    for text in ("Running with full config", "Environment info", "Model:", "ROI_BOX_HEAD"):
        assert text in written and text not in shown
    for text in ("a table", "a warning", "Full config saved to"):
        assert text in written and shown.count(text) == 1
    assert "\x1b" not in written + shown
    assert (tmp_path / "config.yaml").is_file()


def test_a_second_job_in_a_process_does_not_double_the_lines(loggers, tmp_path, capsys):
    start(tmp_path / "first")
    capsys.readouterr()
    start(tmp_path / "second")
    shown = capsys.readouterr().out
    assert shown.count("a table") == shown.count("a warning") == 1


def test_a_job_with_a_progress_bar_shows_nothing_else(loggers, tmp_path, capsys):
    written = start(tmp_path, terminal_level=logging.CRITICAL)
    assert capsys.readouterr().out == "" and "a warning" in written


def candidates(number):
    found = [Candidate(Genotype((1, n)), 10.0 + n) for n in reversed(range(1, number))]
    return Candidates([*found, Candidate(Genotype((2, 2)), None)])


def test_a_redirected_search_writes_a_line_per_period(capsys, monkeypatch):
    monkeypatch.setattr(search_workers, "_PERIOD", 3600.0)
    with SearchProgress(9, done=2) as shown:
        shown.show(2, candidates(2))
        for done in (3, 4, 5):
            time.sleep(0.01)
            shown.show(done, candidates(done))
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("search: 3/9 networks, 00:00 left, best 12.00 depths=[1, 2], 1 failed")
    assert last.startswith("search: 5/9 networks, 00:00 left, best 14.00 depths=[1, 4], 1 failed")
    monkeypatch.setattr(search_workers, "_PERIOD", 0.0)
    with SearchProgress(None, done=0) as shown:
        for done in (2, 3, 4):
            shown.show(done, candidates(done))
    assert capsys.readouterr().err.count("\n") == 4


def test_a_resumed_search_counts_the_time_of_this_run_only(capsys, monkeypatch):
    now = iter([0.0, 30.0, 30.0, 60.0, 60.0, 60.0])
    monkeypatch.setattr(search_workers.time, "monotonic", lambda: next(now))
    with SearchProgress(100, done=90) as shown:
        shown.show(91, candidates(3))
    # One in 30 seconds, and 9 to go.
    assert "91/100 networks, 04:30 left" in capsys.readouterr().err.splitlines()[0]


def test_a_terminal_has_one_bar_that_is_redrawn(capsys, monkeypatch):
    monkeypatch.setattr(search_workers, "can_redraw", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    with SearchProgress(4, done=1) as shown:
        for done in (2, 3, 4):
            shown.show(done, candidates(done))
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and printed.count("\r") >= 4
    assert "4/4" in printed and "best 13.00 depths=[1, 3], 1 failed" in printed


def test_the_last_candidate_of_another_worker_is_counted(capsys, monkeypatch):
    states = iter([Candidates(), candidates(4)])  # before and at the end
    monkeypatch.setattr(search_workers, "History", lambda *_: Namespace(candidates=next(states)))
    monkeypatch.setattr(search_workers, "work", lambda *_: None)
    monkeypatch.setattr(search_workers, "_share_cores", lambda *_: None)
    searcher = Namespace(total=4, sampler=None, space=None)
    search_workers.evaluate_all(Namespace(searcher=searcher, num_workers=1), None, None)
    assert "4/4 networks" in capsys.readouterr().err.splitlines()[-1]


KNOWN = [
    (FutureWarning, "`torch.jit.script` is deprecated. Please", "torch.jit._script"),
    (FutureWarning, "`torch.cuda.amp.GradScaler(args...)` is", "detectron2.engine.train_loop"),
    (UserWarning, "torch.meshgrid: in an upcoming release, it", "torch.functional"),
    (UserWarning, "pkg_resources is deprecated as an API.", "detectron2.model_zoo.model_zoo"),
    (UserWarning, "Palette images with Transparency expressed in bytes should", "PIL.Image"),
]
OF_OTHERS = [
    (FutureWarning, "`torch.cuda.amp.GradScaler(args...)` is", "my_project.train"),
    (FutureWarning, "`torch.jit.trace` is deprecated.", "torch.jit._script"),
    (UserWarning, "torch.meshgrid is fine, but", "torch.functional"),
    (UserWarning, "pkg_resources is deprecated as an API.", "my_project"),
]


@pytest.mark.parametrize("filters", [[], ["default"]])
def test_only_the_named_warnings_are_silenced(filters):
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        for action in filters:
            warnings.simplefilter(action)  # as -W does
        importlib.reload(crnas_d2.common.third_party)
        for category, text, module in [*KNOWN, *OF_OTHERS]:
            warnings.warn_explicit(text, category, f"{module}.py", 1, module)
    shown = {(each.category, str(each.message)) for each in caught}
    # What the user asks for comes first.
    expected = [*KNOWN, *OF_OTHERS] if filters else OF_OTHERS
    assert len(caught) == len(expected) and shown == {each[:2] for each in expected}


def test_only_the_named_lines_of_torch_are_left_out(caplog):
    for name, text in (
        ("torch.fx._symbolic_trace", "is_fx_tracing will return true for both"),
        ("torch.fx._symbolic_trace", "another line"),
        ("torch.utils.cpp_extension", "No CUDA runtime is found, using CUDA_HOME"),
        ("detectron2.data.datasets.coco", "\nCategory ids in annotations are not in [1, #cat"),
        ("detectron2.config.config", "Config 'genotype.yaml' has no VERSION. Assuming"),
    ):
        logging.getLogger(name).propagate = True
        logging.getLogger(name).warning(text)
    assert [record.getMessage() for record in caplog.records] == ["another line"]
