"""Commands that a row of the benchmark consists of; each is run once, and goes on if it died."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crnas_d2.common.errors import JobError
from crnas_d2.common.files import write_file

ROOT = Path(__file__).resolve().parents[2]  # of this checkout, whose modules commands import
# In the folder of a step: whether it is done, and its CPU seconds so far, unless a part of it was
# run by another command, or killed.
WORK = "work.json"


@dataclass(frozen=True)
class Step:
    """A verb of crnas-d2 with its config and overrides; results lie in ``folder``."""

    verb: str
    config: Path
    folder: Path
    overrides: Sequence[tuple[str, Any]] = ()

    def run(self) -> None:
        """Run what is left of it; raise JobError if the command fails."""
        if read_work(self.folder)["done"]:
            return
        settings = [*self.overrides, ("OUTPUT_DIR", self.folder.absolute())]
        words = [word for key, value in settings for word in (key, str(value))]
        begun = [self.folder / name for name in ("last_checkpoint", "search.db")]
        resume = ["--resume"] if any(file.exists() for file in begun) else []
        command = ["-m", "crnas_d2", self.verb, *resume, "--config-file", str(self.config), *words]
        print("crnas-d2", *command[2:], flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        is_known = (self.folder / WORK).exists() or not resume
        before = read_work(self.folder)["cpu_seconds"] if is_known else None
        write_work(self.folder, None)  # which stays if this process is killed
        status, seconds = run_and_time([sys.executable, "-W", "ignore", *command])
        total = None if before is None else before + seconds
        write_work(self.folder, total, is_done=status == 0)
        if status:
            raise JobError(f"{self.folder} is not finished: its command ended with {status}.")


def read_work(folder: Path) -> dict[str, Any]:
    """Return ``done`` and ``cpu_seconds`` of a step, ``None`` if they are not known."""
    file = folder / WORK
    return json.loads(file.read_text()) if file.exists() else {"done": False, "cpu_seconds": 0.0}


def write_work(folder: Path, cpu_seconds: float | None, *, is_done: bool = False) -> None:
    """Record the work of a step so far, see :func:`read_work`."""
    write_file(folder / WORK, json.dumps({"done": is_done, "cpu_seconds": cpu_seconds}))


def run_and_time(command: Sequence[str]) -> tuple[int, float]:
    """Run a command; return its exit status and the CPU seconds of all its processes."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.terminate()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime
