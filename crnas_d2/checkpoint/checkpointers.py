"""Load weights: those that training starts from, and those that must fit exactly."""

import logging
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from crnas_d2.common.formats import format_few

from .convention import IMAGE_SIZE, SIZES, are_scaled, differences, overrides
from .decoded_weights import decode_state_dict
from .files import RunFiles, UnreadableFileError
from .matching import MatchedWeights, match_weights
from .weight_file import WeightFile, read_weights

logger = logging.getLogger(__name__)


class SafeCheckpointer(DetectionCheckpointer):
    """A Detectron2 checkpointer that reads files as data, and names them in its errors.

    It compares what files say with ``network``, of :func:`describe_network`, if that is given.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        network: Mapping[str, object] | None = None,
        **checkpointables: Any,
    ):
        super().__init__(model, save_dir, **checkpointables)
        self.network = dict(network or {})

    def load(
        self, weights: str | WeightFile, checkpointables: list[str] | None = None
    ) -> dict[str, Any]:
        """Load the weights, and the state of all or the given checkpointables.

        Weights are a path or URL, or what :func:`read_weights` has read; "" for none. Raises
        ValueError if the file cannot be read, or does not fit.
        """
        if not weights:
            return super().load("", checkpointables)
        file = weights if isinstance(weights, WeightFile) else read_weights(weights)
        self.logger.info("Loading %s ...", file.path)
        _check_finite(file)
        self._take(file)
        content = dict(file.content)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in content:
                try:
                    self.checkpointables[key].load_state_dict(content.pop(key))
                except (AttributeError, IndexError, KeyError, TypeError) as error:
                    raise ValueError(
                        f"{file.path} cannot be continued: its state '{key}' is damaged, or of "
                        f"another version ({error!r}). Choose another OUTPUT_DIR, to start again."
                    ) from error
        return content

    @abstractmethod
    def _take(self, file: WeightFile) -> None:
        """Give the model its weights."""


class TrainingCheckpointer(SafeCheckpointer):
    """A Detectron2 checkpointer that fills a supernet's replicas and logs what it filled.

    It reads this project's checkpoints, Detectron2's model zoo (Caffe2 and torchvision ``.pkl``,
    detectors) and the families' published files, see :func:`match_weights`. A file with the body
    only is enough for a model with body, neck and heads; the log says what starts from scratch. A
    warning names the overrides if the config prepares images in another way than the file needs.

    Caffe2 files without BN statistics have them folded into scale and shift, which is right for
    ``FrozenBN`` only. So a supernet should start from torchvision's.

    ``load`` raises ValueError if no tensor of the body fits, or the file has no weights.

    Attributes:
        resumed: the name of the file from which the training continues, or "".
        matched: after ``load``, what the model took from the file.
        other_settings: after ``load``, the overrides for settings of the file's network that
            differ from those of the model, or "".

    Args:
        inherit: start as the network of the file, as far as the blocks can, see
            :mod:`crnas_d2.checkpoint.inheritance`.
        max_to_keep: of the periodic checkpoints, the newest; 0 for all.
        record: plain data that is written into every checkpoint, by its key.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        inherit: bool = False,
        max_to_keep: int = 0,
        record: Mapping[str, object] | None = None,
        **others: Any,
    ):
        super().__init__(model, save_dir, **others)
        self.record = dict(record or {})
        self.files = RunFiles(save_dir, max_to_keep)
        self.resumed = self.other_settings = ""
        self._inherit = inherit

    def save(self, name: str, **extra: Any) -> None:
        """Write ``<name>.pth`` as a whole, and then delete periodic checkpoints beyond the limit.

        Raises OSError if it cannot be written, e.g. because the disk is full; nothing has changed.
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

        Raises ValueError if all checkpoints are damaged, or what is to be loaded does not fit.
        """
        file = newest_checkpoint(self.save_dir) if resume else None
        if file is None:
            return self.load(path, checkpointables=[])
        self.resumed = os.path.basename(file.path)
        return self.load(file)

    def _take(self, file: WeightFile) -> None:
        author = file.content.get("__author__")
        by_suffix = file.content.get("matching_heuristics", False)
        matched = match_weights(self.model, file.tensors, author, by_suffix, self._inherit)
        if self.resumed:
            self._check_same_training(file, matched)
        else:
            self._warn_of_other_settings(file)
        state = self.model.state_dict()
        body = matched.in_body(state)
        if body and not matched.in_body(matched.tensors):
            raise ValueError(
                f"MODEL.WEIGHTS {file.path}: no tensor of the backbone fits this model. The file "
                f"holds {_first(file.tensors.items())}; the model needs "
                f"{_first((name, state[name]) for name in body)}. Use weights of the same family, "
                "type of block and width (MODEL.SUPERNET.FAMILY, MODEL.RESNETS.*, "
                "MODEL.MOBILENETV2.*), or an empty MODEL.WEIGHTS to start from scratch."
            )
        for name, value in matched.tensors.items():
            state[name].copy_(value)
        self.matched = matched
        level = logging.INFO if matched.complete else logging.WARNING
        logger.log(level, "%s: %s", file.path, matched.describe())

    def _check_same_training(self, file: WeightFile, matched: MatchedWeights) -> None:
        """Raise ValueError if a checkpoint to resume is that of another training."""
        found = differences(file.convention, self.network, same_training=True)
        shapes = [name for name, *_ in matched.wrong_shape]
        lacking = [] if self._inherit else matched.initialised
        others = [*shapes, *lacking, *(name for name, _ in matched.unused)]
        if found:
            what = f"a training with other settings: resume it with {overrides(found)}"
        elif others:
            what = f"the training of another network, which differs in {format_few(others)}: "
            what += "resume it with its own config"
        else:
            return
        fix = "or choose another OUTPUT_DIR."
        raise ValueError(f"OUTPUT_DIR {self.save_dir} holds {what}, {fix}")

    def _warn_of_other_settings(self, file: WeightFile) -> None:
        found = differences(file.convention, self.network)
        # Another depth is another start, which is described below, and so is another operation of
        # a network that inherits.
        found.pop("MODEL.GENOTYPE.DEPTHS", None)
        if self._inherit:
            found.pop("MODEL.GENOTYPE.OPS", None)
            # Its anchors follow the size of its images.
            if IMAGE_SIZE in self.network and are_scaled(found.get(SIZES), self.network.get(SIZES)):
                found.pop(SIZES)
        self.other_settings = overrides(found)
        if found:
            logger.warning(
                "MODEL.WEIGHTS %s were trained with other settings, which no shape shows. To start "
                "from them as they were trained, add the overrides %s",
                *(file.path, self.other_settings),
            )


def newest_checkpoint(folder: str) -> WeightFile | None:
    """Read the newest whole checkpoint of a training; ``None`` if there is none.

    Raises ValueError if all are damaged.
    """
    files = RunFiles(folder).newest_first()
    for name in files:
        try:
            return read_weights(os.path.join(folder, name), key="")
        except UnreadableFileError as error:
            logger.warning("%s Trying the checkpoint before it.", error)
    if files:
        why = f"{', '.join(files)} cannot be read (see above)"
        fix = "Choose another OUTPUT_DIR, to start again."
        raise ValueError(f"OUTPUT_DIR {folder} has no whole checkpoint, {why}. {fix}")
    return None


def _check_finite(file: WeightFile) -> None:
    """Raise ValueError for weights with which a network detects nothing.

    They are NaN, infinite, or variances below 0, of which BN takes the root.
    """
    floats = ((name, t) for name, t in file.tensors.items() if t.is_floating_point())
    if wrong := [
        name
        for name, tensor in floats
        if not bool(tensor.isfinite().all())
        or (name.endswith("running_var") and bool((tensor < 0).any()))
    ]:
        raise ValueError(
            f"{file.path} holds NaN or infinite values or variances below 0 in {len(wrong)} "
            f"tensors: {format_few(wrong)}. Its training has diverged: use an earlier checkpoint, "
            "or train again with a lower SOLVER.BASE_LR."
        )


def _first(tensors: Iterable[tuple[str, Tensor]]) -> str:
    return format_few([f"{name} {tuple(value.shape)}" for name, value in tensors])


class StrictCheckpointer(SafeCheckpointer):
    """A Detectron2 checkpointer that raises ValueError unless the weights fit the model exactly.

    Detectron2 warns and continues with random weights, which is right before a training but never
    before an evaluation. The error of ``load`` names what differs: tensors, shapes, or settings of
    the training. A network with decoded channels also takes weights of its base or its supernet.
    """

    of_search = False  # whether a channel search has trained the loaded file, as a mixture

    def _take(self, file: WeightFile) -> None:
        found = differences(file.convention, self.network)
        if found:
            why = "were trained with other settings, so the scores would be wrong."
            fix = f"Add the overrides {overrides(found)}"
            raise ValueError(f"MODEL.WEIGHTS {file.path} {why} {fix}")
        self.of_search = any(name.endswith(".alpha") for name in file.tensors)
        decoded = decode_state_dict(self.model, file.tensors)
        incompatible = self._load_model({**file.content, "model": decoded})
        problems = {
            "the model needs, the file lacks": incompatible.missing_keys,
            "the file holds, the model has no place for": incompatible.unexpected_keys,
            "differ in shape (name, file, model)": incompatible.incorrect_shapes,
        }
        parts = [f"{len(n)} that {what}: {format_few(n)}" for what, n in problems.items() if n]
        if parts:
            fix = "Use the config with which the weights were trained."
            tensors = f"Tensors: {'; '.join(parts)}."
            raise ValueError(f"MODEL.WEIGHTS do not fit this model. {tensors} {fix}")
