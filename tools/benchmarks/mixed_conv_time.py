"""See :func:`mixed_conv_time`."""

from . import _convs
from ._sides import Benchmark, Cases, Sides, milliseconds


def mixed_conv_time(device: str) -> Cases:
    """Forward and backward of a channel-mixed convolution, over one plain one per dilation."""
    import torch
    from detectron2.layers import Conv2d

    def sides(dilations) -> Sides:
        mixed = _convs.mixed_conv(dilations, device)
        plain = torch.nn.ModuleList(
            Conv2d(
                _convs.CHANNELS, _convs.CHANNELS, 3, padding=dilation, dilation=dilation, bias=False
            )
            for dilation in dilations
        ).to(device)

        def step(network, forward) -> float:
            network.zero_grad()
            x.grad = None

            def forward_and_backward():
                outputs = forward()
                torch.autograd.backward(outputs, [gradient] * len(outputs))

            return milliseconds(forward_and_backward, device)

        return (
            lambda: step(mixed, lambda: [mixed(x)]),
            lambda: step(plain, lambda: [conv(x) for conv in plain]),
        )

    x = _convs.feature_map(device).requires_grad_()
    gradient = torch.ones_like(x)
    return {case: sides(dilations) for case, dilations in _convs.dilation_cases().items()}


BENCHMARK = Benchmark(
    mixed_conv_time, goal=1.15, keys=("mixed_conv_ms", "plain_convs_ms"), repeats=9
)
