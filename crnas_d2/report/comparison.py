"""Compare trained networks: costs, scores, training curves and detections."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from random import Random

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import read_image
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from crnas_d2.checkpoint import FINAL, read_file
from crnas_d2.config import NetworkSpec, spell
from crnas_d2.cost import NetworkCost, body_cost
from crnas_d2.space import Genotype

from .page import Page, format_cell
from .sketch import draw_architectures, draw_channels
from .training_log import read_metrics

__all__ = ["Run", "add_networks", "load_run", "network_table"]

_COCO_METRICS = ("AP", "AP50", "APs", "APm", "APl")
_VOC_METRICS = ("AP", "AP50", "AP75")


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


def network_table(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table that compares the runs, as text.

    Raises:
        ValueError: runs tested on different datasets, or with costs at different input sizes.
    """
    _check_comparable(runs)
    # VOC's evaluator knows no sizes.
    sizes = any(f"bbox/{name}" in run.metrics for run in runs for name in _COCO_METRICS[2:])
    metrics = _COCO_METRICS if sizes else _VOC_METRICS
    height, width = runs[0].cfg.SEARCH.COST_INPUT_SIZE
    cost = [f"MACs (body, {height}x{width})", "parameters (body)"]
    head = ["network", "blocks per stage", *cost, "seed"]
    rows = [
        [
            run.name,
            str(list(run.spec.genotype.depths)) + _codes(run.spec.genotype) + _dilated(run),
            f"{run.cost.macs / 1e9:.4g} G",
            f"{run.cost.parameters / 1e6:.3g} M",
            str(run.cfg.SEED) if run.cfg.SEED >= 0 else "none",
            *(format_cell(run.metrics.get(f"bbox/{metric}")) for metric in metrics),
        ]
        for run in runs
    ]
    return [*head, *metrics], rows


def add_networks(page: Page, runs: Sequence[Run], *, num_images: int = 6) -> None:
    """Add table, architectures, training curves and detections of the runs to a page.

    Raises:
        ValueError: see :func:`network_table`.
    """
    head, rows = network_table(runs)
    dataset = runs[0].cfg.DATASETS.TEST[0]
    page.heading("Networks")
    page.text(
        f"AP on {dataset}. Each row is one training: differences smaller than the spread between "
        "seeds are not significant."
    )
    page.table(head, rows)
    page.figure(
        draw_architectures({run.name: run.spec.genotype for run in runs}), "blocks per stage"
    )
    decoded = {}  # the names of all runs of a network, which may have several seeds
    for run in filter(_is_decoded, runs):
        decoded.setdefault((run.spec.channels, run.spec.genotype), []).append(run.name)
    if decoded:
        mixed = {", ".join(names): network for network, names in decoded.items()}
        page.text("Channels by dilation, (height, width), in each convolution that was searched:")
        page.figure(draw_channels(mixed), "channels by dilation in each convolution")
    page.heading("Training loss")
    page.figure(_losses(runs), "total loss against iterations")
    page.heading(f"Detections on {dataset}")
    missing = [file for run in runs if not (file := _results_file(run)).is_file()]
    if missing:
        page.text(f"Not shown: {missing[0]} is missing. Only COCO's evaluation writes it.")
        return
    page.text("Randomly sampled images; detections with a score of at least 0.5.")
    page.figure(_detections(runs, dataset, num_images), "detections of each network")


def _codes(genotype: Genotype) -> str:
    """Format the operations, stage by stage: `` 0 101 20100 0210122``."""
    if not genotype.ops:
        return ""
    return " " + " ".join("".join(map(str, ops)) for ops in genotype.ops_of_stages())


def _is_decoded(run: Run) -> bool:
    return bool(run.spec.genotype.channels)


def _dilated(run: Run) -> str:
    """Format the fraction of searched channels that differ from the base: ``, 63 % dilated``."""
    if not _is_decoded(run):
        return ""
    space = run.spec.channels
    widths = [conv.channels for conv in space.convs]
    plain = [shares.get((1, 1), 0.0) for shares in space.dilation_shares(run.spec.genotype)]
    share = 1 - sum(map(mul, widths, plain)) / sum(widths)
    return f", {100 * share:.0f} % dilated"


def _check_comparable(runs: Sequence[Run]) -> None:
    """Raise ValueError for runs whose scores or costs must not be in one table."""
    first = runs[0]
    for run in runs[1:]:
        for key, ours, theirs in (
            ("DATASETS.TEST", first.cfg.DATASETS.TEST, run.cfg.DATASETS.TEST),
            (
                "SEARCH.COST_INPUT_SIZE",
                first.cfg.SEARCH.COST_INPUT_SIZE,
                run.cfg.SEARCH.COST_INPUT_SIZE,
            ),
        ):
            if tuple(ours) != tuple(theirs):
                raise ValueError(
                    f"{first.name} and {run.name} cannot be compared: their {key} is "
                    f"{tuple(ours)} and {tuple(theirs)}; expected the same."
                )


def _results_file(run: Run) -> Path:
    return run.folder / "inference" / "coco_instances_results.json"


def _losses(runs: Sequence[Run]) -> Figure:
    figure = Figure(figsize=(9, 3))
    axes = figure.add_subplot()
    for run in runs:
        entries = [entry for entry in read_metrics(run.folder) if "total_loss" in entry]
        points = [(entry["iteration"], entry["total_loss"]) for entry in entries]
        axes.plot(*zip(*sorted(points), strict=True), label=run.name)
    axes.set(xlabel="iteration", ylabel="total loss")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def _detections(runs: Sequence[Run], dataset: str, num_images: int) -> Figure:
    images = DatasetCatalog.get(dataset)
    images = Random(0).sample(images, min(num_images, len(images)))
    names = MetadataCatalog.get(dataset).thing_classes
    to_index = MetadataCatalog.get(dataset).thing_dataset_id_to_contiguous_id
    figure = Figure(figsize=(2.2 * len(images), 2.4 * len(runs)))
    grid = figure.subplots(len(runs), len(images), squeeze=False)
    for row, run in zip(grid, runs, strict=True):
        results = json.loads(_results_file(run).read_text())
        for axes, image in zip(row, images, strict=True):
            axes.imshow(read_image(image["file_name"], format="RGB"))  # upright, as detected
            axes.set(xticks=[], yticks=[])
            for result in results:
                if result["image_id"] == image["image_id"] and result["score"] >= 0.5:
                    label = names[to_index[result["category_id"]]]
                    _draw_box(axes, result["bbox"], f"{label} {result['score']:.2f}")
        row[0].set_ylabel(run.name)
    figure.tight_layout(pad=0.3)
    return figure


def _draw_box(axes, bbox: Sequence[float], text: str) -> None:
    left, top, width, height = bbox
    axes.add_patch(Rectangle((left, top), width, height, fill=False, color="#ffdd33", linewidth=1))
    label = {"facecolor": "#ffdd33", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
    axes.text(left, top, text, fontsize=6, va="bottom", bbox=label)
