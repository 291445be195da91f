"""Bodies of a stem and named stages, for families without a class in Detectron2."""

from collections.abc import Mapping, Sequence

from detectron2.layers import CNNBlockBase
from detectron2.modeling.backbone.backbone import Backbone
from torch import Tensor, nn


class StagedBody(Backbone):
    """A stem followed by stages; stages that no output needs are left out.

    Blocks are named after their stage and position, e.g. ``c24.0``.

    Args:
        stages: the blocks of each needed stage, keyed by its name.
        out_features: keys of ``outputs``.
        freeze_at: how many parts of the network to freeze, as in Detectron2's ResNet: 1 for the
            stem, 2 for all up to ``res2``, 3 for all up to ``res3`` and so on.
    """

    # Set by a subclass: for each output, in order, the stages since the previous one. Outputs have
    # ResNet's names, so necks and heads need no other config.
    outputs: Mapping[str, Sequence[str]]

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Mapping[str, Sequence[CNNBlockBase]],
        out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        freeze_at: int = 0,
    ):
        super().__init__()
        assert out_features and set(out_features) <= set(self.outputs), out_features
        self.stem = stem
        self._out_features = list(out_features)
        self._out_feature_strides, self._out_feature_channels = {}, {}
        self._output_of: dict[str, str] = {}  # by the stage after which it is taken
        # Up to the last one of out_features. Later stages would take memory, and
        # DistributedDataParallel would wait for their gradients.
        names = tuple(self.outputs)
        self._needed = names[: 1 + max(map(names.index, out_features))]
        stride = stem.stride
        for output in self._needed:
            for name in self.outputs[output]:
                self.add_module(name, nn.Sequential(*stages[name]))
                for block in stages[name]:
                    stride *= block.stride
            if output in out_features:
                self._output_of[name] = output
            self._out_feature_strides[output] = stride
            self._out_feature_channels[output] = stages[name][-1].out_channels
        self.freeze(freeze_at)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (N, C, H, W) to (N, channels, ceil(H / stride), ceil(W / stride)) by output."""
        features: dict[str, Tensor] = {}
        for name, part in self.named_children():  # the stem and the stages, in order
            x = part(x)
            if name in self._output_of:
                features[self._output_of[name]] = x
        return features

    def freeze(self, freeze_at: int = 0) -> "StagedBody":
        """Freeze the first parts, including their BN; ``freeze_at`` as in the constructor."""
        if freeze_at >= 1:
            self.stem.freeze()
        for output in self._needed[: max(0, freeze_at - 1)]:
            for name in self.outputs[output]:
                for block in getattr(self, name).children():
                    block.freeze()
        return self
