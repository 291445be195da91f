"""Write a trained network as a folder that stands alone."""

import datetime
import json
import platform
import runpy
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import detectron2
import torch
import torchvision
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone

from crnas_d2.checkpoint import describe_network, write_weights
from crnas_d2.common.digests import sha256
from crnas_d2.common.errors import JobError
from crnas_d2.common.files import check_new_folder, whole_folder
from crnas_d2.cost.latency import device_name
from crnas_d2.data import CLASSES
from crnas_d2.report import own_version
from crnas_d2.runs.loaded_network import (
    EXPORTED,
    LoadedNetwork,
    load_network,
    network_config,
)
from crnas_d2.runs.metrics import PROVENANCE, metrics_of, read_record

from .formats import FORMATS, BodyAndNeck, InputSizes, Runner, check_formats
from .plain import PlainNetwork, describe_plain
from .timing import time_alternately

LATENCY = "latency.json"


@dataclass
class Export:
    """What was exported.

    Attributes:
        needs: to build the network from ``config.yaml``.
        why: a sentence, where Detectron2 alone is not enough.
        differences: of each format from the network, the largest absolute one.
        latencies: milliseconds by format, then by ``baseline`` and ``exported``.
    """

    needs: str
    why: str
    differences: dict[str, float] = field(default_factory=dict)
    latencies: dict[str, dict[str, float]] = field(default_factory=dict)


def run_export(
    cfg: CfgNode,
    output: str,
    *,
    folder: str | None = None,
    formats: Sequence[str] = (),
    input_size: tuple[int, int] | None = None,
    baseline: str | None = None,
    command: str = "",
    overwrite: bool = False,
) -> Export:
    """Write ``config.yaml``, ``model.pth``, ``classes.json``, ``provenance.json`` and the formats.

    Weights are those that the network has loaded strictly. A plain config is built, too, and its
    backbone compared with the network. Each format is compared with the network at two sizes.

    Args:
        cfg: of :func:`~crnas_d2.jobs.network_config`.
        folder: the run of the config, if it has one, for its metrics.
        formats: of body and neck, keys of ``FORMATS``.
        input_size: (height, width) in pixels, of the graphs' example and of the latency; default:
            ``SEARCH.COST_INPUT_SIZE``.
        baseline: another run or exported folder, whose latency is measured as well.
        command: for the provenance.
        overwrite: replace an exported folder.

    Raises:
        JobError, ValueError: with what is wrong and what to do; then nothing is written.
    """
    check_formats(formats)
    inputs = [path for path in (folder, baseline) if path]
    check_new_folder(output, PROVENANCE, overwrite=overwrite, inputs=tuple(inputs))
    theirs = network_config(baseline, None, device="cpu") if baseline else None
    network = load_network(cfg, folder)
    size = tuple(input_size or cfg.SEARCH.COST_INPUT_SIZE)
    plain = describe_plain(cfg=network.cfg, spec=network.spec, backbone=network.model.backbone)
    network.model.to("cpu")
    export = Export(plain.needs, plain.why)
    with whole_folder(output) as unfinished:
        _write_network(network, plain, unfinished)
        if plain.needs != "crnas_d2":
            _check_plain(network, unfinished, size)
        body = BodyAndNeck(network.model.backbone)
        channels = len(cfg.MODEL.PIXEL_MEAN)
        sizes = InputSizes.of(network.model.backbone, size)
        for name in formats:
            export.differences[name] = FORMATS[name].export(body, sizes, channels, unfinished)
        if theirs is not None:
            other = load_network(theirs, baseline)
            export.latencies = _latencies(network, other, formats, size, unfinished)
            record = {
                "device": device_name(torch.device("cpu")),
                "threads": torch.get_num_threads(),
                "images": [1, channels, *sizes.example],
                "part": "body and neck",
                "baseline": baseline,
                "milliseconds": export.latencies,
            }
            (unfinished / LATENCY).write_text(json.dumps(record, indent=1))
        record = _provenance(network, plain, sizes, export, unfinished, command)
        (unfinished / PROVENANCE).write_text(json.dumps(record, indent=1))
    return export


def _write_network(network: LoadedNetwork, plain: PlainNetwork, folder: Path) -> None:
    (folder / "config.yaml").write_text(plain.config)
    if plain.backbone_file:
        (folder / "backbone.py").write_text(plain.backbone_file)
    classes = network.classes.to_record()
    (folder / f"{CLASSES}.json").write_text(json.dumps(classes, indent=1))
    content = {
        "model": {name: value.cpu() for name, value in network.model.state_dict().items()},
        CLASSES: classes,
        "network": describe_network(network.cfg),
    }
    write_weights(content, folder / EXPORTED)
    if network.spec is not None:
        spec = network.spec
        channel = spec.channels.to_config() if spec.genotype.channels else None
        comment = "The network of this folder."
        spec.genotype.to_yaml(
            folder / "genotype.yaml", family=spec.family.name, comment=comment, channel=channel
        )


@torch.no_grad()
def _check_plain(network: LoadedNetwork, folder: Path, size: tuple[int, int]) -> None:
    """Build the backbone of a plain config as Detectron2 does; compare it with the network.

    Raises:
        JobError: it differs.
    """
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "config.yaml"))
    if (folder / "backbone.py").exists():
        runpy.run_path(str(folder / "backbone.py"))
    own = network.model.backbone
    plain = build_backbone(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))).eval()
    plain.load_state_dict(own.state_dict())
    height, width = InputSizes.of(own, size).example
    images = torch.randn(1, len(cfg.MODEL.PIXEL_MEAN), height, width)
    found, expected = plain(images), own(images)
    if any(not torch.equal(found[name], expected[name]) for name in expected):
        raise JobError(
            "The plain config computes something else than the network. Please report this, with "
            "config.yaml of the run."
        )


def _latencies(
    network: LoadedNetwork,
    other: LoadedNetwork,
    formats: Sequence[str],
    size: tuple[int, int],
    folder: Path,
) -> dict[str, dict[str, float]]:
    """Return milliseconds for one image by format, then by network, of alternating runs."""
    runners: dict[str, Runner] = {}
    shapes = set()
    baseline_folder = Path(tempfile.mkdtemp())
    try:
        for role, each, place in (
            ("baseline", other, baseline_folder),
            ("exported", network, folder),
        ):
            each.model.to("cpu")
            body = BodyAndNeck(each.model.backbone)
            sizes = InputSizes.of(each.model.backbone, size)
            channels = len(each.cfg.MODEL.PIXEL_MEAN)
            shapes.add((1, channels, *sizes.example))
            runners[f"PyTorch/{role}"] = body
            for name in formats:
                if role == "baseline":
                    FORMATS[name].export(body, sizes, channels, place)
                runners[f"{name}/{role}"] = FORMATS[name].load(place / FORMATS[name].file)
        if len(shapes) > 1:
            raise JobError(
                f"The two networks take images of {sorted(shapes)}; their latencies cannot be "
                "compared. Choose an --input-size that is a multiple of 128."
            )
        medians = time_alternately(runners, torch.randn(*shapes.pop()))
    finally:
        shutil.rmtree(baseline_folder, ignore_errors=True)
    found: dict[str, dict[str, float]] = {}
    for key, median in medians.items():
        name, role = key.split("/")
        found.setdefault(name, {})[role] = median
    return found


def _provenance(
    network: LoadedNetwork,
    plain: PlainNetwork,
    sizes: InputSizes,
    export: Export,
    folder: Path,
    command: str,
) -> dict[str, object]:
    cfg, shapes = network.cfg, network.model.backbone.output_shape()
    genotype = network.spec.genotype.to_config() if network.spec is not None else None
    family = network.spec.family.name if network.spec is not None else None
    before = read_record(network.folder / PROVENANCE) if network.folder else {}
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "needs": plain.needs,
        "why": plain.why,
        "crnas_d2": dict(plain.ours),
        "family": family,
        "genotype": genotype,
        "datasets": before.get("datasets")
        or {"train": list(cfg.DATASETS.TRAIN), "test": list(cfg.DATASETS.TEST)},
        "metrics": metrics_of(cfg.MODEL.WEIGHTS),
        "seed": cfg.SEED,
        "weights": {"file": EXPORTED, "sha256": sha256(folder / EXPORTED)},
        "from": {"file": cfg.MODEL.WEIGHTS, "sha256": _digest(cfg.MODEL.WEIGHTS)},
        "versions": {
            "crnas_d2": own_version(),
            "detectron2": detectron2.__version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "python": platform.python_version(),
        },
        "input": {
            "name": "images",
            "shape": ["N", len(cfg.MODEL.PIXEL_MEAN), "H", "W"],
            "format": cfg.INPUT.FORMAT,
            "mean": list(cfg.MODEL.PIXEL_MEAN),
            "std": list(cfg.MODEL.PIXEL_STD),
            "multiple_of": sizes.step,
            "sizes": f"sides of at least {sizes.least}" if sizes.are_free else list(sizes.example),
        },
        "outputs": {
            name: {"channels": shape.channels, "stride": shape.stride}
            for name, shape in shapes.items()
        },
        "formats": {
            name: {
                "file": FORMATS[name].file,
                "sha256": sha256(folder / FORMATS[name].file),
                "largest_difference": difference,
            }
            for name, difference in export.differences.items()
        },
    }


def _digest(path: str) -> str | None:
    return sha256(path) if Path(path).is_file() else None
