"""The training of one network by itself, which its settings identify."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager

from crnas_d2.checkpoint import FINAL
from crnas_d2.common.digests import remembered_sha256, text_digest
from crnas_d2.config import NetworkSpec, changed_settings, load_config
from crnas_d2.config.architectures import find_architecture
from crnas_d2.config.checks import find_spec
from crnas_d2.config.image_size import at_image_size, image_settings
from crnas_d2.cost import body_cost
from crnas_d2.space import Genotype

from .metrics import MAIN, TrainingMetrics
from .results import Result

# Of a search: the training of one network reads none of them.
_SPACE_KEYS = ("SPACE", "PATH_SAMPLER", "SHARING", "STAGE_OPTIONS", "OPERATION_OPTIONS")
_OF_SPACES = ("DATASETS.ARCHVAL", *(f"MODEL.SUPERNET.{key}" for key in _SPACE_KEYS))


@dataclass(frozen=True)
class Training:
    """The training of one network with one seed, which its settings identify.

    Under ``root`` each training has an ``OUTPUT_DIR``, named by the digest of its config; those in
    ``elsewhere``, of :func:`finished_trainings`, are not repeated.
    """

    genotype: Genotype
    seed: int
    config_file: str  # that of a supernet trains the one network of the genotype
    overrides: tuple[str, ...]  # KEY, VALUE, ... for all networks
    root: Path
    metric: str = ""  # that counts; default: accuracy for a classifier, else bbox/AP
    pretraining: "Training | None" = None  # its weights are MODEL.WEIGHTS of this one
    elsewhere: Mapping[str, Path] = field(default_factory=dict, compare=False)

    @property
    def stages(self) -> tuple["Training", ...]:
        """The pretraining, if there is one, and this training."""
        return (*(self.pretraining.stages if self.pretraining else ()), self)

    @cached_property
    def _loaded(self) -> CfgNode:
        overrides = [*self.overrides, "SEED", str(self.seed)]
        blocks = replace(self.genotype, image_size=())
        for key, value in blocks.to_config().items():
            overrides += [f"MODEL.GENOTYPE.{key}", str(value)]
        if not torch.cuda.is_available():
            # Said once by who read the config first, not for each network.
            overrides += ["MODEL.DEVICE", "cpu"]
        cfg = load_config(self.config_file, overrides)
        if self.genotype.image_size:
            cfg = at_image_size(cfg, *self.genotype.image_size)
        # One network, which need not be one of the space.
        cfg.MODEL.SUPERNET.SPACE, cfg.MODEL.SUPERNET.PATH_SAMPLER = "none", "fixed"
        return cfg

    def config(self, *, with_weights: bool = True) -> CfgNode:
        """Return the config, with a folder of its own, and weights of the finished pretraining."""
        cfg = self._loaded.clone()
        if self.pretraining is not None:
            folder = self.pretraining.config().OUTPUT_DIR if with_weights else ""
            cfg.MODEL.WEIGHTS = os.path.join(folder, FINAL) if folder else ""
            cfg.MODEL.INHERIT = cfg.MODEL.INHERIT and with_weights
        digest = config_digest(cfg)
        if digest in self.elsewhere:
            cfg.OUTPUT_DIR = str(self.elsewhere[digest])
            if self._metrics(cfg) is not None:
                return cfg
        cfg.OUTPUT_DIR = str(self.root / digest)
        return cfg

    @property
    def main_metric(self) -> str:
        """The name of the result that counts, as ``task/name``."""
        if self.metric:
            return self.metric
        return "classification/top1" if find_architecture(self._loaded).classifies else MAIN

    def _metrics(self, cfg: CfgNode) -> dict[str, float] | None:
        """Return the metrics of the final weights; ``None`` if the training is not finished."""
        try:
            return TrainingMetrics.read(cfg.OUTPUT_DIR).final(cfg, self.main_metric)
        except ValueError:
            return None

    def result(self) -> Result | None:
        """Return the result of the training, plain JSON data; ``None`` if it is not finished."""
        before = self.pretraining.result() if self.pretraining is not None else None
        if self.pretraining is not None and before is None:
            return None
        cfg, metric = self.config(), self.main_metric
        if (metrics := self._metrics(cfg)) is None:
            return None
        cost = body_cost(NetworkSpec.from_config(cfg), tuple(cfg.SEARCH.COST_INPUT_SIZE))
        # None for a score that is not finite, e.g. of a network that detects nothing.
        scores = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        boxes = {name: f"bbox/{name}" for name in ("AP", "AP50")}
        result = {
            "genotype": self.genotype.to_config(),
            "seed": self.seed,
            **{name: scores[key] for name, key in boxes.items() if key in scores},
            **({} if metric == MAIN else {metric: scores[metric]}),
            "macs": cost.macs,
            "params": cost.parameters,
            "iterations": cfg.SOLVER.MAX_ITER,
            "seconds": round(TrainingMetrics.read(cfg.OUTPUT_DIR).seconds),
            "config_digest": config_digest(cfg),
        }
        if self.pretraining is not None and before is not None:
            metric = self.pretraining.main_metric
            kept = {key: before[key] for key in ("iterations", "seconds", "config_digest")}
            score = before["AP" if metric == MAIN else metric]
            result["pretraining"] = {"metric": metric, "score": score, **kept}
        return result


def training_settings(cfg: CfgNode) -> dict[str, object]:
    """Return the settings that identify a training; weights count by their content.

    Neither the device, nor where files lie, nor what only a search reads, nor how a config names
    its network makes it another training.
    """
    settings = {
        key: value
        for key, value in changed_settings(cfg).items()
        if key not in ("OUTPUT_DIR", "MODEL.DEVICE") and not key.startswith("SEARCH.")
    }
    spec = find_spec(cfg)
    if spec is not None and not spec.is_supernet:
        for key in list(settings):
            if key in _OF_SPACES or key.startswith("MODEL.GENOTYPE."):
                del settings[key]
        for name, value in spec.genotype.to_config().items():
            if name != "OPS" or any(value):  # the first operation everywhere is what none means
                settings[f"MODEL.GENOTYPE.{name}"] = value
    if cfg.MODEL.WEIGHTS:
        settings["MODEL.WEIGHTS"] = remembered_sha256(PathManager.get_local_path(cfg.MODEL.WEIGHTS))
    return settings


def common_settings(training: Training) -> dict[str, object]:
    """Return what all networks and seeds of a list of trainings must have in common."""
    own = set[str]()
    if size := training.genotype.image_size:
        own = set(image_settings(training.config(with_weights=False), *size))
    return {
        f"{'' if stage is training else 'pretraining: '}{key}": value
        for stage in training.stages
        for key, value in training_settings(stage.config(with_weights=False)).items()
        if key != "SEED" and key not in own and not key.startswith("MODEL.GENOTYPE.")
    }


def config_digest(cfg: CfgNode) -> str:
    """Return the digest of :func:`training_settings`."""
    return text_digest(json.dumps(training_settings(cfg), sort_keys=True))


def finished_trainings(folders: Iterable[Path]) -> dict[str, Path]:
    """Find finished trainings in folders and below them, by the digest of their config.

    Those whose config or weights cannot be read any more are left out.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}, in which trainings are looked for, is no folder.")
        for final in sorted(folder.rglob(FINAL)):
            try:
                file, on_cpu = str(final.parent / "config.yaml"), ["MODEL.DEVICE", "cpu"]
                cfg = load_config(file, on_cpu, is_read_only=True)
                found.setdefault(config_digest(cfg), final.parent)
            except (ValueError, OSError):  # of another version, or moved
                continue
    return found
