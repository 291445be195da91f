"""Write a trained network as a folder that stands alone."""

import datetime
import json
import platform
import runpy
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
from crnas_d2.common.secrets_in_urls import hide_secrets
from crnas_d2.config.image_size import image_sections
from crnas_d2.cost.latency import device_name
from crnas_d2.data import CLASSES
from crnas_d2.runs.loaded_network import LoadedNetwork, load_network, network_config
from crnas_d2.runs.metrics import EXPORTED, PROVENANCE, metrics_of, read_record
from crnas_d2.runs.run import own_version

from .card import write_card
from .formats import FORMATS, BodyAndNeck, check_formats
from .latency import measure_latencies
from .plain import PlainNetwork, describe_plain


@dataclass
class Export:
    """What was exported."""

    needs: str  # to build the network from ``config.yaml``
    why: str  # sentences, where Detectron2 alone is not enough
    # Of each format from the network, the largest absolute one.
    differences: dict[str, float] = field(default_factory=dict)
    # Milliseconds by format, then by ``baseline`` and ``exported``.
    latencies: dict[str, dict[str, float]] = field(default_factory=dict)


def run_export(
    cfg: CfgNode,
    output: str,
    *,
    folder: str | None = None,
    formats: Sequence[str] = (),
    input_size: Sequence[int] | None = None,
    baseline: str | None = None,
    command: str = "",
    overwrite: bool = False,
) -> Export:
    """Write the files of a network, a card for people (``README.md``), and the formats.

    A plain config is built, too, and its backbone compared with the network. Each format is
    compared with the network at two sizes. After a JobError or ValueError, which says what to do,
    nothing is written.

    Args:
        cfg: of :func:`~crnas_d2.runs.loaded_network.network_config`.
        folder: the run or exported folder of the config, if it has one.
        formats: of body and neck, keys of ``FORMATS``.
        input_size: (height, width) in pixels, of the graphs' example and of the latency; default:
            ``SEARCH.COST_INPUT_SIZE``.
        baseline: another run or exported folder, whose latency is measured as well.
        command: for the provenance.
    """
    check_formats(formats)
    inputs = [path for path in (folder, baseline) if path]
    check_new_folder(output, PROVENANCE, overwrite=overwrite, inputs=inputs)
    baseline_cfg = network_config(baseline, None, device="cpu") if baseline else None
    network = load_network(cfg)
    size = input_size or cfg.SEARCH.COST_INPUT_SIZE
    body = _body_and_neck(network, size)
    plain = describe_plain(network.cfg, network.spec, body.backbone)
    export = Export(plain.needs, plain.why)
    with whole_folder(output) as unfinished:
        _write_network(network, plain, unfinished)
        if plain.needs != "crnas_d2":
            _check_plain(body, unfinished)
        for name in formats:
            export.differences[name] = FORMATS[name].export(body, unfinished)
        if baseline_cfg is not None:
            other = _body_and_neck(load_network(baseline_cfg), size)
            export.latencies = measure_latencies(body, other, formats, unfinished)
            record = {
                "device": device_name(torch.device("cpu")),
                "threads": torch.get_num_threads(),
                "images": body.example,
                "part": "body and neck",
                "baseline": baseline,
                "milliseconds": export.latencies,
            }
            (unfinished / "latency.json").write_text(json.dumps(record, indent=1))
        record = {"command": command, **_provenance(network, plain)}
        record |= _interface(network, body, export, unfinished)
        (unfinished / PROVENANCE).write_text(json.dumps(record, indent=1))
        write_card(network, record, export.latencies, unfinished)
    return export


def _body_and_neck(network: LoadedNetwork, size: Sequence[int]) -> BodyAndNeck:
    channels = len(network.cfg.MODEL.PIXEL_MEAN)
    return BodyAndNeck(network.model.to("cpu").backbone, channels, size)


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
    if (spec := network.spec) is not None:
        channel = spec.channels.to_config() if spec.channels is not None else None
        images = image_sections(network.cfg, spec.genotype.image_size)
        settings = {"family": spec.family.name, "comment": "The network of this folder."}
        file = folder / "genotype.yaml"
        spec.genotype.to_yaml(file, **settings, channel=channel, images=images)


@torch.no_grad()
def _check_plain(body: BodyAndNeck, folder: Path) -> None:
    """Raise JobError if Detectron2 builds another backbone from a plain config."""
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "config.yaml"))
    if (folder / "backbone.py").exists():
        runpy.run_path(str(folder / "backbone.py"))
    plain = build_backbone(cfg, ShapeSpec(channels=body.example[1])).eval()
    plain.load_state_dict(body.backbone.state_dict())
    images = torch.randn(body.example)
    found, expected = plain(images), body.backbone(images)
    if any(not torch.equal(found[name], expected[name]) for name in expected):
        fix = "Please report this, with config.yaml of the run."
        raise JobError(f"The plain config computes something else than the network. {fix}")


def _provenance(network: LoadedNetwork, plain: PlainNetwork) -> dict[str, object]:
    """Return where a network comes from."""
    cfg, spec = network.cfg, network.spec
    before, source = read_record(network.folder / PROVENANCE), cfg.MODEL.WEIGHTS
    metrics = metrics_of(source)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "needs": plain.needs,
        "why": plain.why,
        "crnas_d2": dict(plain.ours),
        "family": spec.family.name if spec else None,
        "genotype": spec.genotype.to_config() if spec else None,
        "datasets": before.get("datasets")
        or {"train": list(cfg.DATASETS.TRAIN), "test": list(cfg.DATASETS.TEST)},
        "metrics": metrics,
        "why_no_metrics": ""
        if metrics
        else f"No evaluation of {hide_secrets(source)} is recorded beside it.",
        "seed": cfg.SEED,
        "from": {
            "file": hide_secrets(source),
            "sha256": sha256(source) if Path(source).is_file() else None,
        },
        "versions": {
            "crnas_d2": own_version(),
            "detectron2": detectron2.__version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "python": platform.python_version(),
        },
    }


def _interface(
    network: LoadedNetwork, body: BodyAndNeck, export: Export, folder: Path
) -> dict[str, object]:
    """Return the files of a network, and what goes into it and comes out of it."""
    cfg, (_, channels, *example) = network.cfg, body.example
    return {
        "weights": {"file": EXPORTED, "sha256": sha256(folder / EXPORTED)},
        "input": {
            "name": "images",
            "shape": ["N", channels, "H", "W"],
            "format": cfg.INPUT.FORMAT,
            "depth_range": list(cfg.INPUT.DEPTH_RANGE),
            "mean": list(cfg.MODEL.PIXEL_MEAN),
            "std": list(cfg.MODEL.PIXEL_STD),
            "multiple_of": body.step,
            "sizes": f"sides of at least {body.least}" if body.takes_all_sizes else example,
        },
        "outputs": {
            name: {"channels": shape.channels, "stride": shape.stride}
            for name, shape in body.backbone.output_shape().items()
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
