"""Load weights: those that training starts from, and those that must fit exactly."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from fvcore.common.checkpoint import _IncompatibleKeys

from .convention import overrides
from .decoded_weights import decode_state_dict
from .files import UnreadableFileError
from .matching import MatchedWeights, match_weights
from .run_files import RunFiles
from .safe_checkpointer import SafeCheckpointer

logger = logging.getLogger(__name__)


class TrainingCheckpointer(SafeCheckpointer):
    """A Detectron2 checkpointer that fills a supernet's replicas and logs what it filled.

    It reads this project's checkpoints, Detectron2's model zoo (Caffe2 and torchvision ``.pkl``,
    detectors) and raw state dicts of torchvision's ResNet, ResNeXt and MobileNetV2, see
    :func:`match_weights`. A file with the body only is enough for a model with body, neck and
    heads; the log says what starts from scratch.

    Files converted from Caffe2 (``MSRA/R-50.pkl``) have the stride in the 1x1 convolution
    (``MODEL.RESNETS.STRIDE_IN_1X1: True``) and take BGR pixels minus Detectron2's default mean.
    Those from torchvision have it in the 3x3 convolution and take RGB pixels with their own mean
    and deviation. A warning names the overrides if the config differs. If a Caffe2 file has no BN
    statistics, they are folded into scale and shift, which is right for ``FrozenBN`` only. So a
    supernet should start from torchvision's.

    Checkpoints are written as :class:`RunFiles` does, with the description of their network.

    Attributes:
        resumed: the name of the file from which the training continues, or "".
        matched: after ``load``, what the model took from the file.
        other_settings: after ``load``, the overrides for what the file says of its network and this
            one has in another way, or "".

    Args:
        inherit: start as the network of the file, as far as the blocks can, see
            :mod:`crnas_d2.checkpoint.inheritance`.
        max_to_keep: of the periodic checkpoints, the newest; 0 for all.
        record: plain data that is written into every checkpoint, by its key.

    Raises:
        ValueError: on ``load``, if no tensor of the body fits, or the file has no weights.
    """

    def __init__(
        self,
        model,
        save_dir="",
        *,
        inherit: bool = False,
        network: Mapping[str, object] | None = None,
        max_to_keep: int = 0,
        record: Mapping[str, object] | None = None,
        **checkpointables,
    ):
        super().__init__(model, save_dir, network=network, **checkpointables)
        self.record = dict(record or {})
        self.files = RunFiles(save_dir, max_to_keep)
        self.resumed = self.other_settings = ""
        self._inherit = inherit
        self._resumes = False

    def save(self, name: str, **extra: Any) -> None:
        """Write ``<name>.pth`` as a whole, and then delete periodic checkpoints beyond the limit.

        Raises:
            OSError: nothing is written, e.g. because the disk is full.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: part.state_dict() for key, part in self.checkpointables.items()}
        record = {**self.record, "network": self.network}
        content = {"model": self.model.state_dict(), **states, **extra, **record}
        self.logger.info("Saving %s ...", os.path.join(self.save_dir, f"{name}.pth"))
        self.files.write(f"{name}.pth", content)

    def has_checkpoint(self) -> bool:
        return bool(self.files.newest_first())

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Continue from the newest whole checkpoint, if there is one to resume, else load ``path``.

        Raises:
            ValueError: all checkpoints are damaged; or the one to resume, or the file, does not
                fit.
        """
        files = self.files.newest_first() if resume else []
        if not files:
            return self.load(path, checkpointables=[])
        for file in files:
            self._resumes, self._key = True, ""
            try:
                content = self.load(os.path.join(self.save_dir, file))
                self.resumed = file
                return content
            except UnreadableFileError as error:
                logger.warning("%s Trying the checkpoint before it.", error)
            finally:
                self._resumes, self._key = False, "MODEL.WEIGHTS "
        raise ValueError(
            f"OUTPUT_DIR {self.save_dir} has no whole checkpoint, {', '.join(files)} cannot be "
            "read (see above). Choose another OUTPUT_DIR, to start again."
        )

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        matched = match_weights(
            self.model,
            checkpoint["model"],
            author=checkpoint.get("__author__"),
            by_suffix=checkpoint.get("matching_heuristics", False),
            inherit=self._inherit,
        )
        self._check_network(checkpoint, matched)
        weights = checkpoint.pop("model")
        body = matched.in_body(self.model.state_dict())
        if body and not matched.in_body(matched.tensors):
            raise ValueError(
                f"MODEL.WEIGHTS {self._filename}: no tensor of the backbone fits this model. The "
                f"file holds {_first(weights.items())}; the model needs "
                f"{_first((name, self.model.state_dict()[name]) for name in body)}. Use weights "
                "of the same family, type of block and width (MODEL.SUPERNET.FAMILY, "
                "MODEL.RESNETS.*, MODEL.MOBILENETV2.*), or an empty MODEL.WEIGHTS to start from "
                "scratch."
            )
        state = self.model.state_dict()
        for name, value in matched.tensors.items():
            state[name].copy_(value)
        self.matched = matched
        level = logging.INFO if matched.complete else logging.WARNING
        logger.log(level, "%s: %s", self._filename, matched.describe())

    def _check_network(self, checkpoint: dict[str, Any], matched: MatchedWeights) -> None:
        found = self._differences(checkpoint, same_training=self._resumes)
        if self._resumes:
            if found:
                raise ValueError(
                    f"OUTPUT_DIR {self.save_dir} holds a training with other settings: resume it "
                    f"with {overrides(found)}, or choose another OUTPUT_DIR."
                )
            shapes = [name for name, *_ in matched.wrong_shape]
            lacking = [] if self._inherit else matched.initialised
            others = [*shapes, *lacking, *(name for name, _ in matched.unused)]
            if others:
                raise ValueError(
                    f"OUTPUT_DIR {self.save_dir} holds the training of another network, which "
                    f"differs in {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}: "
                    "resume it with its own config, or choose another OUTPUT_DIR."
                )
            return
        # Another depth is another start, which is described below, and so is another operation of
        # a network that inherits.
        found.pop("MODEL.GENOTYPE.DEPTHS", None)
        if self._inherit:
            found.pop("MODEL.GENOTYPE.OPS", None)
        self.other_settings = overrides(found)
        if found:
            logger.warning(
                "MODEL.WEIGHTS %s were trained with other settings, which no shape shows. To start "
                "from them as they were trained, add the overrides %s",
                self._filename,
                self.other_settings,
            )


def _first(tensors) -> str:
    shown = [f"{name} {tuple(value.shape)}" for name, value in tensors]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


class StrictCheckpointer(SafeCheckpointer):
    """A Detectron2 checkpointer that raises ValueError unless the weights fit the model exactly.

    Detectron2 warns and continues with random weights, which is right before a training but never
    before an evaluation. A network with decoded channels also takes the weights of its base network
    or supernet.

    Attributes:
        of_search: whether a file was loaded that a channel search has trained, as a mixture.

    Raises:
        ValueError: on ``load``, with the names and shapes that differ, or the settings with which
            the weights were trained.
    """

    of_search = False

    def _load_model(self, checkpoint: dict[str, Any]) -> _IncompatibleKeys:
        found = self._differences(checkpoint)
        if found:
            raise ValueError(
                f"MODEL.WEIGHTS {self._filename} were trained with other settings, so the scores "
                f"would be wrong. Add the overrides {overrides(found)}"
            )
        self.of_search = any(name.endswith(".alpha") for name in checkpoint["model"])
        checkpoint["model"] = decode_state_dict(self.model, checkpoint["model"])
        return super()._load_model(checkpoint)

    def _log_incompatible_keys(self, incompatible: _IncompatibleKeys) -> None:
        problems = {
            "the model needs, the file lacks": incompatible.missing_keys,
            "the file holds, the model has no place for": incompatible.unexpected_keys,
            "differ in shape (name, file, model)": incompatible.incorrect_shapes,
        }
        found = [
            f"{len(names)} that {what}: {', '.join(map(str, names[:3]))}"
            + (", ..." if len(names) > 3 else "")
            for what, names in problems.items()
            if names
        ]
        if found:
            raise ValueError(
                "MODEL.WEIGHTS do not fit this model. Tensors: "
                + "; ".join(found)
                + ". Use the config with which the weights were trained."
            )
