"""See :func:`decoded_conv`."""

import random

from . import _convs
from ._sides import Benchmark, Cases, Sides, milliseconds


def decoded_conv(device: str) -> Cases:
    """A decoded convolution at inference, over the plain one from which it was split."""
    import torch
    from detectron2.layers import Conv2d

    from crnas_d2.layers.decoded_conv import decode_conv

    def sides(dilations) -> Sides:
        plain, base = (
            Conv2d(_convs.CHANNELS, _convs.CHANNELS, 3, padding=1, bias=False) for _ in range(2)
        )
        groups = _convs.CHANNELS // _convs.CHANNELS_PER_GROUP
        choice = random.Random(0).choices(range(len(dilations)), k=groups)
        decoded = decode_conv(base, dilations=dilations, choice=choice)

        def step(conv) -> float:
            with torch.inference_mode():
                return milliseconds(lambda: conv(x), device)

        ours, theirs = decoded.to(device), plain.to(device)
        return lambda: step(ours), lambda: step(theirs)

    x = _convs.feature_map(device)
    return {case: sides(dilations) for case, dilations in _convs.dilation_cases().items()}


BENCHMARK = Benchmark(
    decoded_conv, goal=None, keys=("decoded_conv_ms", "plain_conv_ms"), repeats=25, warm_up=3
)
