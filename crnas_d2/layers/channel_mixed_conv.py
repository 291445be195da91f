"""A convolution whose output channels mix several dilations: the search phase of NATS."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.layers import Conv2d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from crnas_d2.space.dilations import multiply_dilations, num_channel_groups, parse_dilations


class ChannelMixedConv2d(nn.Module):
    """A 3x3 convolution with a softmax over dilations in each group of output channels.

    NATS section 3.2, Eq. 3: the output of group ``i`` is
    ``y*_i = sum_g softmax(alpha_i)_g y^g_i``, where ``y^g`` is the whole convolution with
    dilation ``g``. A convolution is linear in its filters, so the filters are scaled instead of
    the outputs: ``y* = sum_g conv_g(x, softmax(alpha)_g W_g)``. Same values, same gradients, and
    no output of a single dilation is kept for the backward pass.

    It replaces a bias-free ``detectron2.layers.Conv2d``, with ``norm`` and ``activation`` after
    the mix. ``(N, in_channels, H, W)`` to
    ``(N, out_channels, ceil(H / stride), ceil(W / stride))``.

    State: ``weights.<g>`` of shape ``(out_channels, in_channels / groups, 3, 3)``, one replica per
    dilation or a single ``weights.0``; ``alpha`` of shape ``(channel groups, dilations)``, which
    starts at 0; ``dilation_set`` of shape ``(dilations, 2)``, which identifies a checkpoint with
    other dilations; ``norm.*``. Every replica corresponds to the base convolution's ``weight``.

    Args:
        dilations: the candidates, pairs (height, width); a number ``d`` means ``(d, d)``.
        num_groups, channels_per_group: give one of them; it divides the output channels into
            channel groups. ``groups`` are those of the convolution itself.
        share_weights: all dilations share one weight. In the paper each has its own.

    Raises:
        ValueError: invalid channel groups or dilations.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dilations: Sequence,
        num_groups: int | None = None,
        channels_per_group: int | None = None,
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        share_weights: bool = False,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        base = nn.Conv2d(in_channels, out_channels, 3, stride=stride, groups=groups, bias=False)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.groups = base.kernel_size, base.stride, groups
        self.dilations = parse_dilations(dilations)
        given = {"num_groups": num_groups, "channels_per_group": channels_per_group}
        self.num_channel_groups = num_channel_groups(out_channels, conv_groups=groups, **given)
        replicas = 1 if share_weights else len(self.dilations)
        self.weights = nn.ParameterList(base.weight.detach().clone() for _ in range(replicas))
        self.alpha = nn.Parameter(torch.zeros(self.num_channel_groups, len(self.dilations)))
        self.register_buffer("dilation_set", torch.tensor(self.dilations))
        self.norm, self.activation = norm, activation

    @classmethod
    def from_conv(
        cls, conv: Conv2d, *, dilations: Sequence, **keywords: Any
    ) -> "ChannelMixedConv2d":
        """Build the mix that replaces ``conv``, with its weight in every replica (NATS 3.4).

        Args:
            conv: 3x3, without bias; its norm and activation are reused.
            dilations: multiples of the dilation of ``conv``.
        """
        assert conv.kernel_size == (3, 3) and conv.bias is None, conv
        mixed = cls(
            conv.in_channels,
            conv.out_channels,
            dilations=multiply_dilations(dilations, conv.dilation),
            stride=conv.stride,
            groups=conv.groups,
            norm=conv.norm,
            activation=conv.activation,
            **keywords,
        ).to(conv.weight)
        for weight in mixed.weights:
            weight.data.copy_(conv.weight.detach())
        return mixed

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type  # may be meta, which has no autocast
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            # Otherwise each convolution would make and keep a copy of its own.
            x = x.to(torch.get_autocast_dtype(device))
        # (channel groups, dilations), in float32 under autocast too, to (dilations, out_channels)
        shares = self.alpha.softmax(dim=1)
        shares = shares[:, :, None].expand(-1, -1, self.out_channels // self.num_channel_groups)
        shares = shares.permute(1, 0, 2).flatten(1)
        # Eq. 3 as a sum over dilations; each part is (N, out_channels, H', W').
        y: Any = None
        for index, (share, dilation) in enumerate(zip(shares, self.dilations, strict=True)):
            weight = self.weights[index if len(self.weights) > 1 else 0]
            part = _ScaledConv2d.apply(x, weight, share, self.stride, dilation, self.groups)
            y = part if y is None else y.add_(part)
        y = y if self.norm is None else self.norm(y)
        return y if self.activation is None else self.activation(y)

    def strongest_dilations(self) -> tuple[int, ...]:
        """Return the index of each group's strongest dilation, the first of equals (NATS Eq. 4)."""
        return tuple(self.alpha.detach().argmax(dim=1).tolist())

    @torch.no_grad()
    def entropy(self) -> Tensor:
        """Return the entropy of each group's softmax, ``(channel groups,)``, in nats.

        It falls from log(dilations) to 0 as a group decides on one dilation.
        """
        return -(self.alpha.softmax(dim=1) * self.alpha.log_softmax(dim=1)).sum(dim=1)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, stride={self.stride}, groups={self.groups}, "
            f"dilations={list(self.dilations)}, channel_groups={self.num_channel_groups}, "
            f"replicas={len(self.weights)}"
        )


class _ScaledConv2d(torch.autograd.Function):
    """A convolution with scaled filters, which are computed again in the backward pass.

    Autograd would keep the scaled filters of every dilation. In res5, at NATS's one image per GPU
    and with its nine dilations, they take four times the memory that Eq. 3 written out keeps;
    ``x``, which all dilations share, takes a tenth of it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        scale: Tensor,
        stride: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> Tensor:
        # weight: (out_channels, in_channels / groups, 3, 3); scale: (out_channels,)
        ctx.save_for_backward(x, weight, scale)
        ctx.geometry = stride, dilation, groups
        # A 3x3 kernel keeps the size of the map if the padding equals the dilation.
        return F.conv2d(x, _scaled(weight, scale, x), None, stride, dilation, dilation, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        stride, dilation, groups = ctx.geometry
        needs_x, needs_weight, needs_scale, *_ = ctx.needs_input_grad
        grad_x, grad_scaled, _ = torch.ops.aten.convolution_backward(
            *(grad, x, _scaled(weight, scale, x), None, stride, dilation, dilation),
            *(False, (0, 0), groups, (needs_x, needs_weight or needs_scale, False)),
        )
        # Product rule for scale * weight; the gradient of alpha comes through that of scale.
        grad_weight = grad_scaled * scale[:, None, None, None] if needs_weight else None
        grad_scale = (grad_scaled * weight).sum(dim=(1, 2, 3)) if needs_scale else None
        return grad_x, grad_weight, grad_scale, None, None, None


def _scaled(weight: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    """Scale in the weight's precision, which may be higher than that of ``x``."""
    return (weight * scale[:, None, None, None]).to(x.dtype)
