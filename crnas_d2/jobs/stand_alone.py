"""Stand-alone trainings of many networks: the reference for a supernet's ranking."""

import fcntl
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from detectron2.utils.file_io import PathManager

from crnas_d2.config import NetworkSpec, changed_settings, load_config
from crnas_d2.config.fitness import needs_supernet
from crnas_d2.config.progress_bar import progress_bar
from crnas_d2.cost import body_cost
from crnas_d2.data.prepare.coco_splits import sha256
from crnas_d2.report.ranking import read_entries
from crnas_d2.report.training_log import read_metrics, training_seconds
from crnas_d2.space import Genotype

from .checks import check_config
from .errors import JobError
from .scores import build_score, with_fitness
from .search_plan import check_search
from .train import check_training, run_training

__all__ = ["StandAloneRun", "score_networks", "train_networks"]

_LOCK = "lock"


@dataclass(frozen=True)
class StandAloneRun:
    """One network with one seed, trained by itself.

    Attributes:
        genotype: of the network.
        seed: of the training.
        config_file: of the training.
        overrides: ``KEY, VALUE, ...`` for all networks.
        root: the folder of all runs; each has an ``OUTPUT_DIR`` named by the digest of its config.
        metric: a result to report besides ``bbox/AP`` and ``bbox/AP50``.
    """

    genotype: Genotype
    seed: int
    config_file: str
    overrides: tuple[str, ...]
    root: Path
    metric: str = "bbox/AP"

    @property
    def arguments(self) -> list[str]:
        genotype = self.genotype.to_config().items()
        named = [item for key, value in genotype for item in (f"MODEL.GENOTYPE.{key}", str(value))]
        return [*self.overrides, *named, "SEED", str(self.seed)]

    def config(self):
        """The config of the training, with a folder of its own below :attr:`root`."""
        cfg = load_config(self.config_file, self.arguments)
        cfg.OUTPUT_DIR = str(self.root / config_digest(cfg))
        return cfg

    def result(self) -> dict | None:
        """Return the result of the training, plain JSON data; ``None`` if it is not finished."""
        cfg = self.config()
        folder = Path(cfg.OUTPUT_DIR)
        if not (folder / "metrics.json").exists():
            return None
        entries = read_metrics(folder)
        # Not those of TEST.EVAL_PERIOD, in case the training died before its last evaluation.
        last = cfg.SOLVER.MAX_ITER - 1
        scores = [e for e in entries if self.metric in e and e["iteration"] >= last]
        if not scores or not (folder / "model_final.pth").exists():
            return None
        height, width = cfg.SEARCH.COST_INPUT_SIZE
        cost = body_cost(NetworkSpec.from_config(cfg), (height, width))
        return {
            "genotype": self.genotype.to_config(),
            "seed": self.seed,
            "AP": scores[-1].get("bbox/AP"),
            "AP50": scores[-1].get("bbox/AP50"),
            **({} if self.metric == "bbox/AP" else {self.metric: scores[-1][self.metric]}),
            "macs": cost.macs,
            "params": cost.parameters,
            "iterations": cfg.SOLVER.MAX_ITER,
            "seconds": round(training_seconds(folder)),
            "config_digest": folder.name,
        }


def config_digest(cfg) -> str:
    """Return what tells a training from others: its settings, and the content of its weights.

    Neither the device nor where files lie makes a training another one, nor what a search reads.
    """
    settings = {
        key: value
        for key, value in changed_settings(cfg).items()
        if key not in ("OUTPUT_DIR", "MODEL.DEVICE") and not key.startswith("SEARCH.")
    }
    if cfg.MODEL.WEIGHTS:
        settings["MODEL.WEIGHTS"] = sha256(PathManager.get_local_path(cfg.MODEL.WEIGHTS))
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def train_networks(
    runs: Sequence[StandAloneRun], results: Path, command: str, num_workers: int = 1
) -> Iterator[dict]:
    """Train what is not trained yet, several at a time, with one thread each.

    A stopped training is resumed, and one that another process works on is skipped. So several
    processes that make the same call on a shared folder share the work.

    Args:
        results: a JSON file, ``{"command": ..., "runs": [...]}``, to which results are added as
            they come.
        command: the command that makes the file.

    Yields:
        the result of each run: first those that are finished already, then each as it ends.

    Raises:
        JobError: a training failed; the message names its log.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # of the child processes, so that all round sums alike
    waiting = []
    for run in runs:
        result = run.result()
        if result is None:
            waiting.append(run)
        else:
            _add(results, "runs", result, command)
            yield result
    context = multiprocessing.get_context("spawn")
    running: dict[StandAloneRun, multiprocessing.Process] = {}
    with progress_bar(total=len(runs), initial=len(runs) - len(waiting), unit="network") as bar:
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
                if result is not None:  # otherwise another process works on it
                    _add(results, "runs", result, command)
                    yield result


def score_networks(cfg, results: Path, scores: Path, command: str) -> Iterator[str]:
    """Score the networks of stand-alone trainings with the weights of a supernet.

    Args:
        cfg: of a search. Only the networks to score are others.
        results: of :func:`train_networks`.
        scores: a JSON file, ``{"command": ..., "scores": [...]}``, to which a genotype and its
            fitness are added as they come.
        command: the command that makes the file.

    Raises:
        ValueError: the settings or the weights do not fit.
    """
    cfg = with_fitness(cfg)
    check_config(cfg, ["TRAIN", "ARCHVAL"] if needs_supernet(cfg) else [])
    check_search(cfg)
    wanted = dict.fromkeys(
        Genotype.from_config(run["genotype"]) for run in read_entries(results, "runs")
    )
    known = read_entries(scores, "scores") if scores.exists() else []
    done = {Genotype.from_config(score["genotype"]) for score in known}
    evaluate = build_score(cfg)
    for genotype in wanted:
        if genotype in done:
            continue
        fitness = evaluate(genotype)[cfg.SEARCH.METRIC]
        score = {"genotype": genotype.to_config(), "fitness": fitness}
        _add(scores, "scores", score, command)
        yield f"{genotype}: {fitness:.2f}"


def _add(path: Path, key: str, entry: dict, command: str) -> None:
    """Add an entry, unless it is there, to a JSON file that other processes may also write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = json.loads(path.read_text()) if path.exists() else {"command": command, key: []}
        if entry not in content[key]:
            content[key].append(entry)
            lines = ",\n".join(f"  {json.dumps(each)}" for each in content[key])
            head = json.dumps(content["command"])
            text = f'{{"command": {head}, "{key}": [\n{lines}\n]}}\n'
            # A rename is atomic: nobody reads a half-written file.
            unfinished = Path(f"{path}.{os.getpid()}")
            unfinished.write_text(text)
            unfinished.replace(path)


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
    """Whether this process has the lock of a file, which ends with it."""
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
