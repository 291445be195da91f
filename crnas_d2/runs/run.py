"""A network that was trained and evaluated, as its OUTPUT_DIR has it."""

from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import NetworkCost, body_cost

from .metrics import TrainingMetrics


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
    metrics = TrainingMetrics.read(folder).final(cfg, "bbox/AP")
    height, width = cfg.SEARCH.COST_INPUT_SIZE
    spec = NetworkSpec.from_config(cfg)
    return Run(name, folder, cfg, spec, body_cost(spec, (height, width)), metrics)
