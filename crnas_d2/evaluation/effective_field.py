"""The effective receptive field: where in the image the gradient of one feature lies.

Luo et al. 2016; figure 1 of CR-NAS, figure 4 of NATS. The theoretical field, which a feature could
use at most, is that of :mod:`crnas_d2.evaluation.receptive_field`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import torch
from detectron2.structures import ImageList
from torch import nn

from crnas_d2.common.errors import did_you_mean
from crnas_d2.cost import find_body

from .bn_calibration import restored
from .bootstrap import resampled_images

SHARE = 0.95  # of the energy, in the square that is the size of a field
_USUAL = ("p3", "p4", "p5", "res3", "res4", "res5")  # as in CR-NAS, figure 1


@dataclass(frozen=True)
class EffectiveField:
    """The effective receptive field of one feature map, averaged over images.

    The energy of a pixel is the sum of the squared gradients of all channels of the feature with
    respect to all channels of the pixel, as a share of the energy of its image. Distances from the
    middle, the feature's pixel, are the larger of the two offsets.
    """

    energy: np.ndarray  # mean over the images, (2 R + 1, 2 R + 1), sum 1
    rings: np.ndarray  # energy of each image at each distance from the middle, (images, R + 1)
    sizes: tuple[tuple[int, int], ...]  # (height, width) of each image, pixels
    margins: tuple[int, ...]  # pixels from the middle to the nearest border, of each image
    stride: int  # pixels from one feature to the next
    # Of the map with this stride, (A, 4): left, top, right and bottom relative to the middle.
    anchors: np.ndarray

    def side(self, share: float = SHARE) -> int:
        """Return the side, in pixels, of the smallest centred square with a share of the energy."""
        return int(_sides(self.rings.mean(axis=0)[None], share)[0])

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the side over other images; ``None`` for a single image."""
        if len(self.rings) < 2:
            return None
        counts = resampled_images(len(self.rings))
        low, high = np.percentile(_sides(counts @ self.rings, SHARE), [2.5, 97.5])
        return float(low), float(high)

    @property
    def is_cut_off(self) -> bool:
        """Whether the square is larger than most images, so that larger ones would show more."""
        return bool(self.side() // 2 > np.median(self.margins))


def usual_features(model: nn.Module) -> list[str]:
    """Return those of ``p3`` to ``p5`` and ``res3`` to ``res5`` that there are, else all maps."""
    known = _strides(model)
    return [name for name in _USUAL if name in known] or list(known)


def effective_fields(
    model: nn.Module, images: Iterable[Mapping[str, Any]], features: Sequence[str], *, seed: int = 0
) -> dict[str, EffectiveField]:
    """Measure the effective receptive fields of a network on images.

    The feature nearest to the middle of each image is propagated back to the pixels. Its channels
    get random signs, so that the expected square of the gradient is the sum of those of all
    channels (Hutchinson's estimator) and one backward pass suffices. The model does not change.

    Args:
        model: with Detectron2's ``backbone``, ``pixel_mean`` and ``pixel_std``.
        images: inputs of the model, each with ``image``, ``(C, H, W)``.
        features: names of maps of its neck or its body.

    Raises:
        ValueError: an unknown feature, no image, or a feature that no image reaches.
    """
    strides = _strides(model)
    for name in features:
        if name not in strides:
            known = f"{', '.join(strides)}.{did_you_mean(name, strides)}"
            raise ValueError(f"The network has no feature '{name}'; it has {known}")
    anchors, offset = _anchors(model)
    # One for each feature, so that the others that are asked for do not matter.
    signs = {n: torch.Generator().manual_seed(crc32(f"{seed}/{n}".encode())) for n in features}
    sums = {name: _Sum() for name in features}
    with restored(model), torch.enable_grad():
        for image in images:
            height, width = image["image"].shape[-2:]
            pixels = _preprocess(model, image["image"]).requires_grad_()
            maps = _maps(model.backbone, pixels)
            for name in features:
                found, stride = maps[name], strides[name]  # (1, C, H', W')
                row, column = (
                    min(round((side / 2 - 0.5) / stride - offset), length - 1)
                    for side, length in zip((height, width), found.shape[-2:], strict=True)
                )
                draws = torch.randint(0, 2, found.shape[1:2], generator=signs[name])
                feature = (found[0, :, row, column] * (2 * draws.to(found) - 1)).sum()
                [gradient] = torch.autograd.grad(feature, pixels, retain_graph=True)
                energy = gradient[0, :, :height, :width].double().square().sum(dim=0)
                centre = round((row + offset) * stride), round((column + offset) * stride)
                sums[name].add(energy.cpu().numpy(), centre)
    none = np.zeros((0, 4))
    strides = {name: strides[name] for name in features}
    return {n: sums[n].mean(n, stride, anchors.get(stride, none)) for n, stride in strides.items()}


@dataclass
class _Sum:
    """Energies of images, laid upon each other by the pixels of their features."""

    energy: np.ndarray = field(default_factory=lambda: np.zeros((1, 1)))
    rings: list[np.ndarray] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    margins: list[int] = field(default_factory=list)

    def add(self, energy: np.ndarray, centre: tuple[int, int]) -> None:
        """Add the energy of an image, (H, W), unless it is 0 everywhere, as behind a dead unit."""
        total = energy.sum()
        if not total > 0 or not np.isfinite(total):
            return
        height, width = energy.shape
        row, column = centre
        borders = (*centre, height - 1 - row, width - 1 - column)
        radius = max(borders)
        square = np.zeros((2 * radius + 1, 2 * radius + 1))
        square[radius - row :, radius - column :][:height, :width] = energy / total
        offsets = np.abs(np.arange(-radius, radius + 1))
        distance = np.maximum(offsets[:, None], offsets)
        self.rings.append(np.bincount(distance.ravel(), weights=square.ravel()))
        small, large = sorted((self.energy, square), key=len)
        self.energy = large + np.pad(small, (len(large) - len(small)) // 2)
        self.sizes.append((height, width))
        self.margins.append(min(borders))

    def mean(self, name: str, stride: int, anchors: np.ndarray) -> EffectiveField:
        if not self.rings:
            raise ValueError(
                f"No gradient reaches the feature '{name}' in any image: there are no images, or "
                "the network is not trained."
            )
        longest = max(map(len, self.rings))
        rings = np.stack([np.pad(ring, (0, longest - len(ring))) for ring in self.rings])
        images = rings, tuple(self.sizes), tuple(self.margins)
        return EffectiveField(self.energy / len(rings), *images, stride, anchors)


def _sides(rings: np.ndarray, share: float) -> np.ndarray:
    """Return the side of the square for each row of energies by distance."""
    inside = np.cumsum(rings, axis=1)
    # Below 1 by a rounding error, so that a share of 1 is reached.
    return 2 * (inside >= (share - 1e-12) * inside[:, -1:]).argmax(axis=1) + 1


def _preprocess(model: Any, image: torch.Tensor) -> torch.Tensor:
    """Normalize and pad an image, (C, H, W), as Detectron2's models do."""
    normalized = (image.to(model.pixel_mean.device) - model.pixel_mean) / model.pixel_std
    divisor = model.backbone.size_divisibility
    constraints = getattr(model.backbone, "padding_constraints", None)
    return ImageList.from_tensors([normalized], divisor, padding_constraints=constraints).tensor


def _maps(backbone: Any, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the maps of the body and of the neck, of one forward pass."""
    body = getattr(backbone, "bottom_up", None)
    if body is None:
        return dict(backbone(images))
    maps: dict[str, torch.Tensor] = {}
    hook = body.register_forward_hook(lambda _module, _inputs, outputs: maps.update(outputs))
    try:
        return maps | backbone(images)
    finally:
        hook.remove()


def _strides(model: Any) -> dict[str, int]:
    """Return the strides of the maps of a network by name: of its neck, then of its body."""
    backbone = getattr(model, "backbone", None)
    if not hasattr(backbone, "output_shape") or not hasattr(model, "pixel_mean"):
        raise ValueError(
            f"{type(model).__name__} has no 'backbone' and 'pixel_mean' as Detectron2's models "
            "have, whose feature maps could be measured."
        )
    shapes = {**model.backbone.output_shape(), **find_body(model).output_shape()}
    return {name: shape.stride for name, shape in shapes.items()}


def _anchors(model: nn.Module) -> tuple[dict[int, np.ndarray], float]:
    """Return the anchors of a cell by the stride of their map, and their offset in the cell."""
    for owner in (model, getattr(model, "proposal_generator", None)):
        generator: Any = getattr(owner, "anchor_generator", None)
        if hasattr(generator, "cell_anchors") and hasattr(generator, "strides"):
            cells = [np.asarray(boxes.cpu(), float) for boxes in generator.cell_anchors]
            upright = all(boxes.shape[1] == 4 for boxes in cells)
            anchors = dict(zip(generator.strides, cells, strict=True)) if upright else {}
            return anchors, float(generator.offset)
    return {}, 0.0
