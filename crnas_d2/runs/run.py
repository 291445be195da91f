"""A network that was trained and evaluated, as its OUTPUT_DIR has it."""

from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from crnas_d2.checkpoint import FINAL, read_file
from crnas_d2.config import NetworkSpec, spell
from crnas_d2.cost import NetworkCost, body_cost

from .training_log import read_metrics


@dataclass(frozen=True)
class Run:
    """A network that was trained and evaluated.

    Attributes:
        name: for tables.
        folder: its OUTPUT_DIR.
        spec: of the backbone body.
        cost: of the backbone body, see :func:`body_cost`.
        metrics: of the last evaluation, e.g. ``{"bbox/AP": 61.2}``.
    """

    name: str
    folder: Path
    cfg: CfgNode
    spec: NetworkSpec
    cost: NetworkCost
    metrics: dict[str, float]


def load_run(name: str, folder: str | Path, cfg: CfgNode) -> Run:
    """Read what a finished training left in its OUTPUT_DIR.

    Args:
        cfg: the config of the training, ``config.yaml`` in the folder.

    Raises:
        ValueError: the folder holds no finished training that was evaluated on one dataset.
    """
    folder = Path(folder)
    if len(cfg.DATASETS.TEST) != 1:
        raise ValueError(
            f"{folder} was trained with DATASETS.TEST {tuple(cfg.DATASETS.TEST)}; the comparison "
            "takes one dataset, so evaluate on one."
        )
    metrics = _final_metrics(folder, cfg)
    height, width = cfg.SEARCH.COST_INPUT_SIZE
    spec = NetworkSpec.from_config(cfg)
    return Run(name, folder, cfg, spec, body_cost(spec, (height, width)), metrics)


def _final_metrics(folder: Path, cfg: CfgNode) -> dict[str, float]:
    """Return the metrics of the evaluation at the end of a training, by ``task/name``.

    Raises:
        ValueError: the training has not ended, or not with an evaluation.
    """
    final, entries = folder / FINAL, read_metrics(folder)
    evaluations = [entry for entry in entries if "bbox/AP" in entry]
    if not evaluations:
        raise ValueError(
            f"{folder / 'metrics.json'} holds no bbox/AP: the training did not end with an "
            "evaluation."
        )
    if not final.is_file():
        raise ValueError(
            f"{folder} holds an unfinished training, without {FINAL}: continue it with "
            f"{spell('train', '--resume')}."
        )
    steps = read_file(str(final)).get("iteration", -1) + 1
    last = max(entry.get("iteration", 0) for entry in entries)
    # With a REFERENCE_WORLD_SIZE, other numbers of processes have other numbers of iterations.
    expected = cfg.SOLVER.MAX_ITER if cfg.SOLVER.REFERENCE_WORLD_SIZE == 0 else 0
    # The iterations of a training are logged from 0 on, its last evaluation comes after them.
    evaluated = evaluations[-1].get("iteration", 0)
    if steps < expected or evaluated < max(steps, last):
        raise ValueError(
            f"{folder} holds an unfinished training: {steps} of {max(expected, steps)} iterations "
            f"are in {FINAL}, and the last evaluation came after {evaluated}. Continue it with "
            f"{spell('train', '--resume')}."
        )
    return {key: value for key, value in evaluations[-1].items() if "/" in key}
