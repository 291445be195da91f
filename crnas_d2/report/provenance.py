"""Where results come from: date, versions, settings; and what the costs in a report count."""

from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import detectron2
import torch

from crnas_d2.checkpoint import read_file
from crnas_d2.common.formats import format_duration
from crnas_d2.config import NetworkSpec
from crnas_d2.evaluation import FitnessNoise
from crnas_d2.search import Candidate
from crnas_d2.space import Genotype


def provenance(cfg, folders: Sequence[str | Path], seconds: float, what: str) -> dict[str, str]:
    """Return names and values for the head of a report.

    Args:
        folders: of the runs, with the ``config.yaml`` of each.
        seconds: how long the work took.
        what: the work that took so long.
    """
    return {
        "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "versions": f"crnas_d2 {own_version()}, torch {torch.__version__}, "
        f"Detectron2 {detectron2.__version__}",
        "config": ", ".join(f"{folder}/config.yaml" for folder in folders),
        "seed": str(cfg.SEED) if cfg.SEED >= 0 else "none set",
        what: format_duration(seconds),
    }


def images_looked_at(candidates: Sequence[Candidate], noise: FitnessNoise | None) -> dict[str, str]:
    """Say how many candidates a race has stopped and, if it is known, how many images that saved.

    Returns:
        name and value for the head of a report.
    """
    seen = [c.images for c in candidates if c.images is not None]
    text = f"{len(seen)} of {len(candidates)} candidates stopped early"
    if noise is not None:
        whole = len(candidates) * noise.num_images
        looked_at = sum(seen) + (len(candidates) - len(seen)) * noise.num_images
        text += f", {looked_at:,} instead of {whole:,} images ({looked_at / whole:.0%})"
    return {"racing": text}


def own_version() -> str:
    """Return the version of this package, which a clone need not have installed."""
    try:
        return version("crnas_d2")
    except PackageNotFoundError:
        return "not installed"


def cost_scope(cfg, spec: NetworkSpec) -> str:
    """Return what the costs of a config count, with the widths of the network and the image."""
    height, width = cfg.SEARCH.COST_INPUT_SIZE
    return f"backbone body, {stage_widths(spec)} channels per stage, {height}x{width} pixels"


def stage_widths(spec: NetworkSpec) -> str:
    """Return the output channels of each stage, e.g. ``256-512-1024-2048``."""
    family = spec.family
    stages = [stage for stage in family.stages if stage not in family.single_layers]
    with torch.device("meta"):
        blocks = [family.make_stage(stage, family.operations[:1])[-1] for stage in stages]
    return "-".join(str(block.out_channels) for block in blocks)


def baseline_genotype(cfg, spec: NetworkSpec) -> tuple[Genotype, str] | None:
    """Return the network that a search is compared with, and what it is.

    That is the network of ``MODEL.WEIGHTS`` in a search of an inherited detector, otherwise the
    published one of the family.

    Returns:
        ``None`` if it cannot be told.
    """
    depths: Sequence[int] = ()
    ops: Sequence[int] = ()
    what = "the published network of the family"
    if cfg.MODEL.INHERIT:
        try:
            network = read_file(cfg.MODEL.WEIGHTS).get("network", {})
        except (OSError, ValueError):
            return None
        depths = network.get("MODEL.GENOTYPE.DEPTHS", ())
        ops = network.get("MODEL.GENOTYPE.OPS", ())
        what = "the network of MODEL.WEIGHTS"
    try:
        depths = tuple(depths) or spec.family.baseline_depths()
    except ValueError:  # its settings match no published network
        return None
    base, fields = spec.space.base, spec.kind.fields
    if "depths" not in fields:
        if depths != base.depths:
            return None
        depths = base.depths
    ops = (tuple(ops) or (0,) * sum(depths)) if "ops" in fields else base.ops
    return Genotype(depths, ops), what
