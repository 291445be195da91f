"""A detector that is trained already, here or by plain Detectron2, as a search takes it."""

import argparse
import os
import warnings
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY

from crnas_d2.checkpoint import FINAL, StrictCheckpointer, describe_network
from crnas_d2.common.errors import invalid
from crnas_d2.config import load_config
from crnas_d2.config.checks import check_model, find_spec
from crnas_d2.cost.detector_cost import meta_model
from crnas_d2.modeling.backbone import PLAIN_BUILDERS
from crnas_d2.runs.loaded_network import run_overrides
from crnas_d2.runs.metrics import PROVENANCE
from crnas_d2.space import FAMILY_REGISTRY
from crnas_d2.verbs.arguments import add_plugins

# Of these sections and keys, overrides are those of the search, not of the detector.
OF_A_SEARCH = ("SEARCH.", "MODEL.SUPERNET.", "MODEL.GENOTYPE.", "MODEL.INHERIT")


def add_detector(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("a trained detector, instead of --config-file").add_argument
    part = "a registered dataset, or a COCO JSON file and its image folder"
    text = "OUTPUT_DIR of its training, here or by plain Detectron2; or its config"
    add("--from", dest="detector", metavar="RUN", help=text)
    add("--weights", metavar="FILE", help=f"default: {FINAL} of the run")
    text = f"images that no training has seen: {part}"
    add("--archval", nargs="+", default=[], metavar="PART", help=text)
    text = f"images for BN statistics; default: DATASETS.TRAIN of the run; {part}"
    add("--train", nargs="+", default=[], metavar="PART", help=text)
    text = f"images for the final comparison; default: DATASETS.TEST of the run; {part}"
    add("--test", nargs="+", default=[], metavar="PART", help=text)
    add("--output", metavar="FOLDER", help="default: search, in the folder of the run")
    add_plugins(parser)
    text = "most MACs of the body, as a share of the detector's (default: 0.65)"
    add("--budget", type=float, metavar="SHARE", help=text)


def load_detector(args: argparse.Namespace) -> tuple[CfgNode, str, str]:
    """Return the config of a detector whose weights fit, its file and the folder of its run."""
    run, opts = args.detector, args.opts
    file = os.path.join(run, "config.yaml") if os.path.isdir(run) else run
    if file != run and not os.path.isfile(file):
        expected = "the OUTPUT_DIR of a training, or the config of a detector"
        raise ValueError(f"--from {run} has no config.yaml; expected {expected}.")
    file = file if "://" in file else os.path.abspath(file)
    folder = os.path.dirname(file)
    exported = Path(folder, PROVENANCE).is_file()
    own = run_overrides(Path(folder)) if exported else []
    is_foreign = "PLUGINS" not in opts[::2]  # the run's own modules are asked for
    load_config(file, opts, is_read_only=is_foreign)  # all overrides are right
    pairs = zip(opts[::2], opts[1::2], strict=True)
    given = [word for pair in pairs if not pair[0].startswith(OF_A_SEARCH) for word in pair]
    cfg = load_config(file, [*own, *given], is_read_only=is_foreign)
    if not exported and not os.path.isfile(f"{folder}/{FINAL}"):
        folder = os.path.abspath(cfg.OUTPUT_DIR)  # of a config that is not in the folder of its run
    named = args.weights or (cfg.MODEL.WEIGHTS if exported or "MODEL.WEIGHTS" in opts else "")
    weights = named or f"{folder}/{FINAL}"
    if not named and not os.path.isfile(weights):
        fix = "Name the checkpoint of the detector with --weights FILE"
        raise ValueError(f"--from {run}: {weights} does not exist. {fix}.")
    cfg.MODEL.WEIGHTS = weights if "://" in weights else os.path.abspath(weights)
    cfg.MODEL.INHERIT, name = False, cfg.MODEL.BACKBONE.NAME
    ours = {plain: ours for ours, plain in PLAIN_BUILDERS.items()}
    cfg.MODEL.BACKBONE.NAME = ours.get(name, name)
    try:
        spec = find_spec(cfg)
        if spec is None and name in BACKBONE_REGISTRY:
            but = "a search knows the blocks of other bodies only"
            raise invalid("MODEL.BACKBONE.NAME", name, f"one of {', '.join(ours)}", but=but)
        check_model(cfg)
        assert spec is not None  # a name that is not registered has been refused
        if spec.is_supernet:
            fix = "Name the config of its search with --config-file"
            raise ValueError(f"It is a supernet (MODEL.SUPERNET.SPACE), no detector. {fix}.")
        if any(spec.genotype.ops) or spec.genotype.channels:
            fix = "Search the detector from which it was found"
            raise ValueError(f"Its blocks have operations of their own, {spec.genotype}. {fix}.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensors without values take none
            StrictCheckpointer(meta_model(cfg), network=describe_network(cfg)).load(weights)
    except ValueError as error:
        raise ValueError(f"--from {run} cannot be searched. {error}") from error
    cfg.MODEL.GENOTYPE.OPS = []  # the first of each block
    return cfg, file, folder


def thaw(cfg: CfgNode) -> str:
    """Let a search have frozen parts, in place; return a line that says so, or ""."""
    section = cfg.MODEL.get(FAMILY_REGISTRY.get(cfg.MODEL.SUPERNET.FAMILY).section, {})
    backbone, frozen = cfg.MODEL.BACKBONE, []
    if backbone.FREEZE_AT > 0:
        frozen.append(f"MODEL.BACKBONE.FREEZE_AT {backbone.FREEZE_AT} has no effect")
        backbone.FREEZE_AT = 0
    if section.get("NORM") == "FrozenBN":
        frozen.append("FrozenBN becomes BN, because each candidate gets statistics of its own")
        section.NORM = "SyncBN"
    return f"A search trains nothing: {'; '.join(frozen)}." if frozen else ""
