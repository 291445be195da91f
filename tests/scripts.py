"""The scripts as a user runs them, for the tests."""

import csv
import json
import os
import runpy
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
import toy


def arguments(script, config, *flags, opts):
    return [str(toy.ROOT / script), "--config-file", str(config), *flags, *opts]


def start(script, config, *flags, opts, warnings=("-W", "ignore"), env=None, own_group=False):
    command = [sys.executable, *warnings, *arguments(script, config, *flags, opts=opts)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes["start_new_session"] = own_group
    return subprocess.Popen(command, cwd=toy.ROOT, env={**os.environ, **(env or {})}, **pipes)


def run(*args, **kwargs):
    """Waits for a script that must succeed; what it printed."""
    process = start(*args, **kwargs)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    return output


class Chain:
    """Steps of a user in one folder, each of which may start from the weights of another one.

    Args:
        overrides: of all steps.
    """

    def __init__(self, folder, *overrides, env=None):
        self.folder, self.overrides, self.env = folder, overrides, env

    def config(self, name, *bases):
        """Writes a config that inherits from others."""
        (self.folder / name).write_text(f"_BASE_: [{', '.join(map(str, bases))}]\n")
        return self.folder / name

    def opts(self, output, *overrides, weights=None):
        paths = {"OUTPUT_DIR": self.folder / output}
        if weights:
            paths["MODEL.WEIGHTS"] = self.folder / weights / "model_final.pth"
        return toy.as_arguments(*self.overrides, paths, *overrides)

    def run(self, script, config, output, *overrides, weights=None, flags=()):
        """Waits for a step that must succeed; what it printed."""
        opts = self.opts(output, *overrides, weights=weights)
        return run(script, config, *flags, opts=opts, env=self.env)


def compare(*arguments):
    """What tools/compare_networks.py prints."""
    script = [sys.executable, "-W", "ignore", str(toy.ROOT / "tools" / "compare_networks.py")]
    command = [*script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def run_here(monkeypatch, *args, **kwargs):
    """The message with which a script refuses to start; the same in this process, for speed."""
    command = arguments(*args, **kwargs)
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(command[0], run_name="__main__")
    message = stopped.value.code
    # Python prints a text to stderr and exits with 1.
    assert isinstance(message, str) and "\n" not in message and "Traceback" not in message
    return message


def metrics(folder):
    """The lines of metrics.json."""
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def read_candidates(folder):
    with (folder / "candidates.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def finished_trials(database):
    """How many candidates of a running search have a result."""
    if not database.exists():
        return 0
    query = "SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            return connection.execute(query).fetchone()[0]
        except sqlite3.OperationalError:  # the tables are not made yet
            return 0


def kill_after(process, database, num_finished):
    """Kills a running search as soon as it has so many results."""
    deadline = time.time() + 120
    while finished_trials(database) < num_finished:
        assert process.poll() is None and time.time() < deadline, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
