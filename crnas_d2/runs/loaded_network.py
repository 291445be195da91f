"""A trained network to use: of a run, of an exported folder, or of a config with weights."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from crnas_d2.checkpoint import FINAL, StrictCheckpointer, describe_network
from crnas_d2.common.errors import JobError
from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.config.architectures import num_classes
from crnas_d2.config.checks import check_model, find_spec
from crnas_d2.data import CLASSES, ClassNames, find_classes
from crnas_d2.engine import Trainer, without_sync

from .metrics import EXPORTED, PROVENANCE, read_record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedNetwork:
    """A trained network, in eval mode on its device."""

    cfg: CfgNode
    model: nn.Module
    classes: ClassNames
    spec: NetworkSpec | None  # None if its body is not ours

    @property
    def folder(self) -> Path:
        """That of its weights: of a run, or that was exported, if they are those of one."""
        return Path(self.cfg.MODEL.WEIGHTS).parent


def network_config(
    run: str | None, config_file: str | None, overrides: Sequence[str] = (), device: str = ""
) -> CfgNode:
    """Load the config of a trained network, with ``MODEL.WEIGHTS``; check it.

    Args:
        run: OUTPUT_DIR of a finished training, or a folder that ``export`` has written.
        config_file: instead, whose ``MODEL.WEIGHTS``, or that of ``overrides``, has the weights.
        device: ``cpu`` or ``cuda``; default: that of the config.

    Raises ValueError for what is missing, or if it is a supernet.
    """
    if bool(run) == bool(config_file):
        raise ValueError("Name the network by either --run FOLDER or --config-file FILE.")
    overrides = [*overrides, *(["MODEL.DEVICE", device] if device else [])]
    if run:
        overrides = [*run_overrides(Path(run)), *overrides]
    file = config_file or str(Path(str(run)) / "config.yaml")
    cfg = load_config(file, overrides, is_read_only=True)
    cfg.MODEL.INHERIT = False  # how its training began
    if not cfg.MODEL.WEIGHTS:
        fix = "add --opts MODEL.WEIGHTS FILE, or name the folder of a run with --run."
        raise ValueError(f"{file} names no trained weights: {fix}")
    spec = find_spec(cfg)
    if spec is not None and spec.is_supernet:
        which = f"a supernet (MODEL.SUPERNET.SPACE is '{cfg.MODEL.SUPERNET.SPACE}')"
        fix = "search it, train the network of its genotype.yaml, and name that run."
        raise ValueError(f"{file} is that of {which}, which is no network to use: {fix}")
    check_model(cfg)
    return cfg


def run_overrides(folder: Path) -> list[str]:
    """Return the overrides that a run or an exported folder asks for."""
    if not (folder / "config.yaml").is_file():
        what = "does not exist" if not folder.exists() else "has no config.yaml"
        expected = "OUTPUT_DIR of a finished training, or a folder that export has written."
        raise ValueError(f"--run {folder} {what}; expected {expected}")
    if (folder / PROVENANCE).is_file():
        ours = read_record(folder / PROVENANCE).get("crnas_d2", {})
        overrides = [str(item) for pair in ours.items() for item in pair]
        return [*overrides, "MODEL.WEIGHTS", str(folder / EXPORTED)]
    if (folder / FINAL).is_file():
        return ["MODEL.WEIGHTS", str(folder / FINAL)]
    if (folder / "candidates.csv").is_file():
        fix = "train the network of its genotype.yaml, and name that run."
        raise ValueError(f"--run {folder} holds a search: {fix}")
    raise ValueError(
        f"--run {folder} holds no {FINAL}: the training has not finished. Continue it with "
        f"--resume, or use one of its checkpoints with --config-file {folder}/config.yaml --opts "
        "MODEL.WEIGHTS FILE."
    )


def load_network(cfg: CfgNode) -> LoadedNetwork:
    """Build the network of a config of :func:`network_config`; load its weights strictly.

    Raises JobError if the weights cannot be read, do not fit, or are those of a mixture.
    """
    cfg = without_sync(cfg)
    model = Trainer.build_model(cfg)
    checkpointer = StrictCheckpointer(model, network=describe_network(cfg))
    try:
        content = checkpointer.load(cfg.MODEL.WEIGHTS)
    except ValueError as error:
        raise JobError(str(error)) from error
    if checkpointer.of_search:
        raise JobError(
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} are those of a channel search, whose BN statistics "
            "belong to the mixture of all dilations: train the found network from them first."
        )
    # The classes that the weights, their folder or the dataset name.
    count, weights = num_classes(cfg), cfg.MODEL.WEIGHTS
    beside = read_record(Path(weights).with_name(f"{CLASSES}.json"))
    named = [ClassNames.from_record(record) for record in (content.get(CLASSES), beside)]
    classes = next((c for c in named if c and len(c.names) == count), None) or find_classes(cfg)
    if classes is None:
        text = "%s does not name its %d classes, and its dataset is not here: they are numbered."
        logger.warning(text, weights, count)
        classes = ClassNames.numbers(count)
    return LoadedNetwork(cfg, model.eval(), classes, find_spec(cfg))
