"""The entropy of a network's features, a score that needs no training and no data."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from crnas_d2.config import NetworkSpec
from crnas_d2.space import AdditiveCost

from .counted import CountedCost

# MAE-DET weights its five levels, of stride 2 to 32, by 0, 0, 1, 1 and 6.
_LEVELS = {8: 1.0, 16: 1.0, 32: 6.0}
# What bypasses the convolutions of a block, in Detectron2's blocks and in ours.
_BYPASSES = {"shortcut", "projection"}


class Entropy(CountedCost):
    """The entropy of Gaussian features at random weights, with a multi-scale prior (MAE-DET).

    Sun et al., ICML 2022: the sum over levels i of a_i (ln C_i + sum of s_l over all convolutions
    l from the image to the end of level i), with s_l = 0.5 ln(k^2 C_in / groups) and C_i the
    channels of level i. Bypasses, norms and resolution do not count. It adds up over blocks, and
    the more blocks and the larger their kernels, the higher it is, so it only tells networks of
    equal cost apart; dilations have no effect.

    The text of the paper was not at hand: the formula is that of its published code, but for
    grouped convolutions, where the code ignores the groups unless they are as many as channels.
    """

    name = "ENTROPY"
    unit = "nats"

    @contextmanager
    def counting(self, body: Any) -> Iterator[Callable[[], float]]:
        strides = {name: s for name, s in body._out_feature_strides.items() if s in _LEVELS}
        # a_i by the name of each output: the last one of a stride has it.
        last = {stride: name for name, stride in strides.items()}
        levels = {name: _LEVELS[stride] for stride, name in last.items()}
        channels = body._out_feature_channels
        self.offset = sum(a * math.log(channels[name]) for name, a in levels.items())
        # By convolution the sum of a_i over the levels whose features it computes.
        self.weights: dict[nn.Module, float] = {}
        outputs, order = getattr(body, "outputs", {}).items(), list(body._out_feature_strides)
        level_of = {stage: output for output, stages in outputs for stage in stages}
        for path, module in body.named_modules():
            stage, *inner = path.split(".")
            if isinstance(module, nn.Conv2d) and not _BYPASSES & {stage, *inner}:
                output = level_of.get(stage, stage)
                reached = order[order.index(output) :] if output in order else order
                self.weights[module] = sum(levels.get(name, 0.0) for name in reached)
        with super().counting(body) as reading:
            yield reading

    def count(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> float:
        if not isinstance(module, nn.Conv2d) or module not in self.weights:
            return 0.0
        height, width = module.kernel_size
        fan_in = height * width * module.in_channels / module.groups
        return self.weights[module] * 0.5 * math.log(fan_in)

    def table(self, spec: NetworkSpec, input_size: tuple[int, int]) -> AdditiveCost:
        table = super().table(spec, input_size)
        return replace(table, base=table.base + self.offset)
