"""Stand-alone trainings by the dozen: the truth that a supernet's ranking is compared with."""

import fcntl
import hashlib
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import body_cost
from crnas_d2.report.training_log import read_metrics
from crnas_d2.space import Genotype

from .checks import check_config
from .errors import JobError
from .search import build_subnet_evaluator, load_supernet
from .search_plan import check_search
from .train import check_training, run_training

__all__ = ["StandAloneRun", "score_networks", "train_networks"]

_LOCK = "lock"


@dataclass(frozen=True)
class StandAloneRun:
    """One network with one seed, trained by itself.

    Attributes:
        genotype: which network.
        config_file: how it is trained.
        overrides: ``KEY, VALUE, ...`` besides, for all networks.
        root: its ``OUTPUT_DIR`` lies below, named by the digest of its config.
    """

    genotype: Genotype
    seed: int
    config_file: str
    overrides: tuple[str, ...]
    root: Path

    @property
    def arguments(self) -> list[str]:
        genotype = self.genotype.to_config().items()
        named = [item for key, value in genotype for item in (f"MODEL.GENOTYPE.{key}", str(value))]
        return [*self.overrides, *named, "SEED", str(self.seed)]

    def config(self):
        """The config of the training, with the folder of its own."""
        cfg = load_config(self.config_file, self.arguments)
        cfg.OUTPUT_DIR = ""
        digest = hashlib.sha256(cfg.dump().encode()).hexdigest()[:16]
        cfg.OUTPUT_DIR = str(self.root / digest)
        return cfg

    def result(self) -> dict | None:
        """What the training found, plain JSON data; ``None`` where it is not finished."""
        cfg = self.config()
        folder = Path(cfg.OUTPUT_DIR)
        if not (folder / "metrics.json").exists():
            return None
        entries = read_metrics(folder)
        scores = [entry for entry in entries if "bbox/AP" in entry]
        if not scores or not (folder / "model_final.pth").exists():
            return None
        height, width = cfg.SEARCH.COST_INPUT_SIZE
        cost = body_cost(NetworkSpec.from_config(cfg), (height, width))
        return {
            "genotype": self.genotype.to_config(),
            "seed": self.seed,
            "AP": scores[-1]["bbox/AP"],
            "AP50": scores[-1]["bbox/AP50"],
            "macs": cost.macs,
            "params": cost.parameters,
            "iterations": cfg.SOLVER.MAX_ITER,
            "seconds": round(_seconds(entries)),
            "config_digest": folder.name,
        }


def train_networks(
    runs: Sequence[StandAloneRun], results: Path, command: str, num_workers: int = 1
) -> Iterator[dict]:
    """Train what is not trained yet, several at a time, with one thread each.

    A training that was stopped is resumed, and one that another process works on is left to it. So
    the same call in several places with a common folder shares the work.

    Args:
        results: a JSON file, ``{"command": ..., "runs": [...]}``, to which results are added as
            they come.
        command: what makes it.

    Yields:
        the result of each run as it ends, those that were finished before first.

    Raises:
        JobError: a training failed; its output is named.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes: sums are rounded alike in all
    waiting = []
    for run in runs:
        result = run.result()
        if result is None:
            waiting.append(run)
        else:
            _add(results, "runs", [result], command)
            yield result
    context = multiprocessing.get_context("spawn")
    running: dict[StandAloneRun, multiprocessing.Process] = {}
    with tqdm(total=len(runs), initial=len(runs) - len(waiting), unit="network") as bar:
        while waiting or running:
            while waiting and len(running) < num_workers:
                run = waiting.pop(0)
                running[run] = context.Process(target=_train, args=(run,))
                running[run].start()
            time.sleep(1)
            for run in [run for run, process in running.items() if not process.is_alive()]:
                if running.pop(run).exitcode:
                    log = Path(run.config().OUTPUT_DIR) / "stdout.txt"
                    raise JobError(f"The training of {run.genotype} failed, see {log}.")
                bar.update()
                result = run.result()
                if result is not None:  # else another process works on it
                    _add(results, "runs", [result], command)
                    yield result


def score_networks(cfg, results: Path, scores: Path) -> Iterator[str]:
    """Score the networks of stand-alone trainings with the weights of a supernet.

    Args:
        cfg: of a search; nothing but the networks to score differs from it.
        results: of :func:`train_networks`.
        scores: a JSON file, ``{"scores": [{"genotype": ..., "fitness": ...}, ...]}``, to which the
            scores are added as they come.

    Raises:
        ValueError: settings or weights that do not fit.
    """
    check_config(cfg, ["TRAIN", "ARCHVAL"])
    check_search(cfg)
    wanted = dict.fromkeys(
        Genotype.from_config(run["genotype"]) for run in json.loads(results.read_text())["runs"]
    )
    known = json.loads(scores.read_text())["scores"] if scores.exists() else []
    done = {Genotype.from_config(score["genotype"]) for score in known}
    evaluate = build_subnet_evaluator(cfg, load_supernet(cfg))
    for genotype in wanted:
        if genotype in done:
            continue
        fitness = evaluate(genotype)[cfg.SEARCH.METRIC]
        score = {"genotype": genotype.to_config(), "fitness": fitness}
        _add(scores, "scores", [score], cfg.SEARCH.METRIC)
        yield f"{genotype}: {fitness:.2f}"


def _add(path: Path, key: str, entries: list[dict], command: str) -> None:
    """Add entries to a JSON file, other processes beside; one that is there is not added again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = json.loads(path.read_text()) if path.exists() else {"command": command, key: []}
        new = [entry for entry in entries if entry not in content[key]]
        if new:
            content[key] += new
            lines = ",\n".join(f"  {json.dumps(entry)}" for entry in content[key])
            head = json.dumps(content["command"])
            text = f'{{"command": {head}, "{key}": [\n{lines}\n]}}\n'
            unfinished = Path(f"{path}.{os.getpid()}")
            unfinished.write_text(text)
            unfinished.replace(path)
    os.unlink(f"{path}.lock")


def _train(run: StandAloneRun) -> None:
    cfg = run.config()
    cfg.freeze()
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    with _locked(Path(cfg.OUTPUT_DIR) / _LOCK) as is_ours:
        if not is_ours or run.result() is not None:
            return
        with (
            open(f"{cfg.OUTPUT_DIR}/stdout.txt", "a") as log,
            redirect_stdout(log),
            redirect_stderr(log),
        ):
            check_training(cfg, resume=True)
            run_training(cfg, resume=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this process has the lock; one of a process that is gone is taken over."""
    try:
        owner = int(path.read_text())
        os.kill(owner, 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        path.unlink(missing_ok=True)
    else:
        yield False
        return
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        yield False
        return
    os.write(descriptor, str(os.getpid()).encode())
    os.close(descriptor)
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)


def _seconds(entries: Sequence[dict]) -> float:
    """The time of all iterations, from the medians that Detectron2 writes of the last twenty."""
    timed = {entry["iteration"]: entry["time"] for entry in entries if "time" in entry}
    steps = [0, *(iteration + 1 for iteration in sorted(timed))]
    return sum((end - start) * timed[end - 1] for start, end in itertools.pairwise(steps))
