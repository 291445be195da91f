"""A network that was trained and evaluated, as its OUTPUT_DIR has it; where results come from."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from operator import mul
from pathlib import Path
from typing import Any

import detectron2
import torch
from detectron2.config import CfgNode

from crnas_d2.checkpoint import FINAL
from crnas_d2.common.digests import sha256
from crnas_d2.common.errors import invalid
from crnas_d2.common.formats import format_duration
from crnas_d2.common.meta_device import on_meta
from crnas_d2.config import NetworkSpec, changed_settings, load_config, spell
from crnas_d2.cost import NetworkCost, body_cost
from crnas_d2.data import register_coco_format
from crnas_d2.space import ChannelSpace, Genotype

from .metrics import EXPORTED, MAIN, PROVENANCE, TrainingMetrics, read_record
from .results import is_number

# What may differ between two trainings of one network that only differ in their seed.
_OF_A_RUN = ("SEED", "OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS")


@dataclass(frozen=True)
class Run:
    """A network that was trained and evaluated, with the cost of its body and its final metrics."""

    name: str
    folder: Path
    cfg: CfgNode
    spec: NetworkSpec
    cost: NetworkCost
    log: TrainingMetrics
    metrics: dict[str, float]

    @property
    def ap(self) -> float:
        return self.metrics[MAIN]

    @property
    def dataset(self) -> str:
        return self.cfg.DATASETS.TEST[0]

    @property
    def input_size(self) -> tuple[int, int]:
        """The (height, width) in pixels of the image whose cost counts."""
        return tuple(self.cfg.SEARCH.COST_INPUT_SIZE)

    @property
    def setup(self) -> str:
        """What trainings have in common that differ in their seeds only."""
        settings = {k: v for k, v in changed_settings(self.cfg).items() if k not in _OF_A_RUN}
        starts = bool(self.cfg.MODEL.WEIGHTS)
        return repr((self.spec.genotype, starts, sorted(settings.items(), key=str)))

    @property
    def detections_file(self) -> Path:
        return self.folder / "inference" / "coco_instances_results.json"

    @cached_property
    def detections(self) -> list[dict[str, Any]] | None:
        """Those on the test set, in COCO's format; ``None`` if its evaluation wrote none."""
        file = self.detections_file
        return read_detections(file) if file.is_file() else None


def read_detections(file: Path) -> list[dict[str, Any]]:
    """Read detections in COCO's format; raise ValueError for a file that holds something else."""
    fix = f"Evaluate the run again ({spell('train', '--eval-only')})"
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON file ({error}). {fix}.") from error
    if not isinstance(found, list):
        raise ValueError(f"{file} holds no list of detections. {fix}.")
    for number, each in enumerate(found):
        box = each.get("bbox") if isinstance(each, dict) else None
        if not (
            isinstance(each, dict)
            and isinstance(each.get("image_id"), int | str)
            and isinstance(each.get("category_id"), int)
            and isinstance(box, list)
            and len(box) == 4
            and all(is_number(x) and math.isfinite(x) for x in (*box, each.get("score")))
        ):
            what = "a box of 4 numbers, a score, an image_id and a category_id"
            raise ValueError(f"{file}: detection {number + 1} is {each!r}; expected {what}. {fix}.")
    return found


def load_run(name: str, folder: str | Path, cfg: CfgNode | None = None) -> Run:
    """Read what a finished training left in its OUTPUT_DIR; ``cfg`` is its ``config.yaml``.

    Of an exported folder, it is the training whose weights that has. Raises ValueError if it is not
    finished, was not evaluated on one dataset, or was exported from a run that is not here.
    """
    if cfg is None and (Path(folder) / PROVENANCE).is_file():
        return load_run(name, _exported_from(Path(folder)))
    cfg = load_saved_config(folder) if cfg is None else cfg
    if len(cfg.DATASETS.TEST) != 1:
        expected = "one dataset, on which the networks are compared"
        raise invalid(f"DATASETS.TEST of {folder}", tuple(cfg.DATASETS.TEST), expected)
    log = TrainingMetrics.read(folder)
    metrics = log.final(cfg, MAIN)
    spec = NetworkSpec.from_config(cfg)
    cost = body_cost(spec, tuple(cfg.SEARCH.COST_INPUT_SIZE))
    return Run(name, Path(folder), cfg, spec, cost, log, metrics)


def _exported_from(folder: Path) -> Path:
    """Return the run that a folder was exported from; raise ValueError if it has changed."""
    source = read_record(folder / PROVENANCE).get("from", {})
    weights = Path(source.get("file", ""))
    what = f"{folder} was exported from {weights}"
    fix = "Name a run that has its metrics and detections"
    if not weights.is_file():
        raise ValueError(f"{what}, which is not here. {fix}.")
    if sha256(weights) != source.get("sha256"):
        raise ValueError(f"{what}, which holds other weights by now. {fix}, or export again.")
    if weights.name not in (FINAL, EXPORTED):
        raise ValueError(f"{what}, which is not the end of a training ({FINAL}). {fix}.")
    return weights.parent


def load_saved_config(folder: str | Path) -> CfgNode:
    """Load the config of a folder, and register its datasets in COCO's format."""
    file = Path(folder) / "config.yaml"
    if not file.is_file():
        raise ValueError(f"{folder} has no run of this project: config.yaml is missing.")
    cfg = load_config(str(file), [], is_read_only=True)
    register_coco_format(cfg.DATASETS.COCO_FORMAT)
    return cfg


def stage_widths(spec: NetworkSpec) -> str:
    """Return the output channels of each stage, e.g. ``256-512-1024-2048``."""
    family = spec.family
    stages = [stage for stage in family.stages if stage not in family.single_layers]
    with on_meta():
        blocks = [family.make_stage(stage, family.operations[:1])[-1] for stage in stages]
    return "-".join(str(block.out_channels) for block in blocks)


def dilated_share(space: ChannelSpace, genotype: Genotype) -> float:
    """Return the share of the searched channels whose dilation is not (1, 1)."""
    widths = [conv.channels for conv in space.convs]
    plain = [shares.get((1, 1), 0.0) for shares in space.dilation_shares(genotype)]
    return 1 - sum(map(mul, widths, plain)) / sum(widths)


def own_version() -> str:
    """Return the version of this package, which a clone need not have installed."""
    try:
        return version("crnas_d2")
    except PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True)
class Origin:
    """Where results come from: folders and seeds of runs, the work that took ``seconds``, more."""

    folders: Sequence[str | Path]
    seeds: Sequence[int]
    work: str
    seconds: float
    more: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, str]:
        """Return names and values for the head of a report that is written now."""
        seeds = dict.fromkeys(str(seed) if seed >= 0 else "none set" for seed in self.seeds)
        return {
            "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
            "versions": f"crnas_d2 {own_version()}, torch {torch.__version__}, "
            f"Detectron2 {detectron2.__version__}",
            "config": ", ".join(f"{folder}/config.yaml" for folder in self.folders),
            "seed": ", ".join(seeds),
            self.work: format_duration(self.seconds),
            **self.more,
        }
