"""See :func:`mixed_conv_memory`."""

from . import _convs
from ._sides import Benchmark, Cases, Sides


def mixed_conv_memory(device: str) -> Cases:
    """Memory that a channel-mixed convolution keeps for backward, over NATS's Eq. 3 written out."""
    import torch
    from torch.nn import functional as F

    def written_out(conv, x):
        shares = conv.alpha.softmax(dim=1).repeat_interleave(_convs.CHANNELS_PER_GROUP, dim=0)
        return sum(
            share.view(-1, 1, 1) * F.conv2d(x, weight, padding=dilation, dilation=dilation)
            for share, weight, dilation in zip(
                shares.unbind(1), conv.weights, conv.dilations, strict=True
            )
        )

    def kept_mib(forward, conv) -> float:
        """Count tensors that share memory once, and parameters not at all."""
        kept = {}

        def pack(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor  # kept alive: its address is unique
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            forward(conv, x)
        for parameter in conv.parameters():
            kept.pop(parameter.untyped_storage().data_ptr(), None)
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2**20

    def sides(dilations) -> Sides:
        conv = _convs.mixed_conv(dilations, device)
        with torch.no_grad():
            torch.testing.assert_close(conv(x), written_out(conv, x), rtol=0.01, atol=0.01)
        return lambda: kept_mib(type(conv).forward, conv), lambda: kept_mib(written_out, conv)

    x = _convs.feature_map(device).requires_grad_()
    return {case: sides(dilations) for case, dilations in _convs.dilation_cases().items()}


BENCHMARK = Benchmark(
    mixed_conv_memory, goal=0.65, keys=("mixed_conv_mib", "written_out_mib"), repeats=1
)
