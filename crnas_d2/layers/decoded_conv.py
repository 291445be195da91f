"""A convolution whose output channels have different dilations: what a NATS search finds."""

from collections.abc import Callable, Sequence

import torch
from detectron2.layers import Conv2d
from torch import Tensor, nn
from torch.nn import functional as F

from crnas_d2.space.dilations import (
    channel_order,
    check_dilation_choice,
    multiply_dilations,
    num_channel_groups,
    parse_dilations,
)

__all__ = ["DecodedConv2d", "decode_conv", "decoded_weights"]


class DecodedConv2d(nn.Module):
    """A 3x3 convolution cut along its output channels into one sub-convolution per dilation.

    NATS section 3.3, Eq. 5 and 6: each dilation that some channel group chose computes the
    channels of its groups, and the results are concatenated. Parameters and MACs are those of the
    convolution that was cut, ``(N, in_channels, H, W)`` to
    ``(N, out_channels, ceil(H / stride), ceil(W / stride))``.

    Nothing is gathered at run time, so the channels stand in another order than in the base
    network. Whoever loads base weights puts the neighbours into the same order: the layers that
    follow (norm, next convolution's inputs) into ``output_order``, the ones before (their outputs
    and norm) into ``input_order``. Only a grouped convolution has an ``input_order`` of its own;
    its sub-convolutions read the inputs of their conv groups, which then lie side by side. The
    output must not meet a shortcut, whose channels keep the order of the base network.

    State: ``weights.<g>`` of shape ``(channels of dilation g, in_channels / groups, 3, 3)`` for
    each dilation ``g`` that occurs; ``group_dilations`` of shape ``(channel groups, 2)``, by which
    a checkpoint of another choice is recognized; ``norm.*``. There is no ``weight``: weights of the
    base network, whose channels stand in their own order, must not load as if they were in this
    one.

    Attributes:
        output_order: by position in the output, the channel of the base convolution.
        input_order: by position in the input that it expects, the same for the input.
        dilations: of the sub-convolutions, in their order.

    Args:
        dilations: all of the search; a number stands for a pair of it.
        choice: for each channel group, the index of its dilation. At least two must occur; for one
            there is :func:`decode_conv`.
        stride, groups: as in ``torch.nn.Conv2d``.

    Raises:
        ValueError: the choice does not fit the dilations or the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dilations: Sequence,
        choice: Sequence[int],
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        dilations = parse_dilations(dilations)
        check_dilation_choice(choice, dilations)
        num_channel_groups(out_channels, num_groups=len(choice), conv_groups=groups)
        assert len(set(choice)) > 1, "decode_conv() makes a plain convolution of this choice"
        base = nn.Conv2d(in_channels, out_channels, 3, stride=stride, groups=groups, bias=False)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = base.kernel_size
        self.stride = base.stride
        self.groups = groups
        self.dilation_choice = tuple(choice)
        self.output_order = channel_order(choice, out_channels)
        self.register_buffer(
            "group_dilations", torch.tensor([dilations[index] for index in choice])
        )
        # All outputs of a plain convolution read all inputs.
        self.input_order = (
            channel_order(choice, in_channels) if groups > 1 else tuple(range(in_channels))
        )
        parts = decoded_weights(base.weight.detach(), choice)
        self.weights = nn.ParameterDict(
            {name.removeprefix("weights."): nn.Parameter(part) for name, part in parts.items()}
        )
        self.dilations = tuple(dilations[int(index)] for index in self.weights)
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        outputs, first = [], 0
        for weight, dilation in zip(self.weights.values(), self.dilations, strict=True):
            inputs, groups = x, self.groups
            if self.groups > 1:
                # Whole conv groups, which read inputs of their own that lie side by side.
                groups = self.groups * weight.shape[0] // self.out_channels
                channels = groups * weight.shape[1]
                inputs = x.narrow(1, first, channels)
                first += channels
            # Padding equal to the dilation: half a kernel of 3.
            outputs.append(F.conv2d(inputs, weight, None, self.stride, dilation, dilation, groups))
        y = torch.cat(outputs, dim=1)  # Eq. 6: (N, out_channels, H', W') in output_order
        if self.norm is not None:
            y = self.norm(y)
        if self.activation is not None:
            y = self.activation(y)
        return y

    def extra_repr(self) -> str:
        channels = [weight.shape[0] for weight in self.weights.values()]
        return (
            f"{self.in_channels}, {self.out_channels}, stride={self.stride}, groups={self.groups}, "
            f"dilations={list(self.dilations)}, channels={channels}"
        )


def decode_conv(
    conv: Conv2d, *, dilations: Sequence, choice: Sequence[int]
) -> Conv2d | DecodedConv2d:
    """The decoded convolution in the place of ``conv``, with the weight of ``conv``.

    Args:
        conv: 3x3, without bias; its norm and activation move over.
        dilations: all of the search; they multiply that of ``conv``.
        choice: as for :class:`DecodedConv2d`.

    Returns:
        Where all channel groups chose the same dilation, ``conv`` itself, now with that one: the
        same order of channels, the same names and, unless it is that of ``conv``, a
        ``group_dilations`` as in :class:`DecodedConv2d`. Either has an
        attribute ``dilation_choice``.
    """
    assert conv.kernel_size == (3, 3) and conv.bias is None, conv
    dilations = multiply_dilations(dilations, conv.dilation)
    check_dilation_choice(choice, dilations)
    num_channel_groups(conv.out_channels, num_groups=len(choice), conv_groups=conv.groups)
    if len(set(choice)) == 1:
        base, conv.dilation = conv.dilation, dilations[choice[0]]
        conv.padding = conv.dilation
        conv.dilation_choice = tuple(choice)
        if conv.dilation != base:
            # Otherwise its checkpoint could not be told from one of the base network.
            group_dilations = torch.tensor([conv.dilation] * len(choice))
            conv.register_buffer("group_dilations", group_dilations)
        return conv
    decoded = DecodedConv2d(
        conv.in_channels,
        conv.out_channels,
        dilations=dilations,
        choice=choice,
        stride=conv.stride,
        groups=conv.groups,
        norm=conv.norm,
        activation=conv.activation,
    ).to(conv.weight)
    # All but norm and group_dilations, which are in place.
    decoded.load_state_dict(decoded_weights(conv.weight.detach(), choice), strict=False)
    return decoded


def decoded_weights(
    replicas: Tensor | Sequence[Tensor], choice: Sequence[int]
) -> dict[str, Tensor]:
    """Cut weights along their output channels, for a decoded convolution (NATS section 3.4).

    Args:
        replicas: the base convolution's weight ``(out_channels, in_channels / groups, 3, 3)``, or
            the weights of a :class:`ChannelMixedConv2d`: one per dilation, or a single one.
        choice: for each channel group, the index of its dilation.

    Returns:
        By name inside what :func:`decode_conv` returns: ``weights.<g>`` with the rows of the
        groups that chose dilation ``g``, or ``weight`` where all groups chose the same.
    """
    if isinstance(replicas, Tensor):
        replicas = [replicas]
    chosen = sorted(set(choice))
    parts = {}
    for index in chosen:
        weight = replicas[index if len(replicas) > 1 else 0]
        own = [group for group, dilation in enumerate(choice) if dilation == index]
        # (out_channels, ...) as (channel groups, channels of a group, ...); own stay.
        parts[f"weights.{index}"] = weight.unflatten(0, (len(choice), -1))[own].flatten(0, 1)
    return parts if len(chosen) > 1 else {"weight": parts[f"weights.{chosen[0]}"]}
