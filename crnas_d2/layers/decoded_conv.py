"""A convolution whose output channels have different dilations: what a NATS search finds."""

from collections.abc import Callable, Iterator, Mapping, Sequence

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


class _Weights(nn.ParameterList):
    """Weights named by the index of their dilation; TorchScript iterates over no ParameterDict."""

    def __init__(self, weights: Mapping[int, Tensor]):
        super().__init__()
        for index, weight in weights.items():
            self.register_parameter(str(index), nn.Parameter(weight))

    def __iter__(self) -> Iterator[nn.Parameter]:
        return iter(self._parameters.values())  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._parameters)


class DecodedConv2d(nn.Module):
    """A 3x3 convolution split along its output channels into one sub-convolution per dilation.

    NATS section 3.3, Eq. 5 and 6: each dilation that some channel group chose computes the
    channels of its groups, and the results are concatenated. Parameters and MACs are those of the
    convolution that was split, ``(N, in_channels, H, W)`` to
    ``(N, out_channels, ceil(H / stride), ceil(W / stride))``.

    Nothing is gathered at run time, so the channels are in a different order than in the base
    network. Code that loads base weights has to reorder the neighbours: the layers that follow
    (norm, next convolution's inputs) into ``output_order``, the ones before (their outputs and
    norm) into ``input_order``. Only a grouped convolution permutes its inputs: its sub-convolutions
    read the inputs of their conv groups, which must be adjacent. The output must not be added to
    a shortcut, whose channels keep the order of the base network.

    State: ``weights.<g>`` of shape ``(channels of dilation g, in_channels / groups, 3, 3)`` for
    each dilation ``g`` that occurs; ``group_dilations`` of shape ``(channel groups, 2)``, which
    identifies a checkpoint with another dilation choice; ``norm.*``. There is no ``weight``,
    because weights of the base network must not load here without being reordered.

    Attributes:
        output_order: the channel of the base convolution at each position of the output.
        input_order: the same for each position of the expected input.
        dilations: those of the sub-convolutions, in their order.

    Args:
        dilations: all candidates of the search; a number ``d`` means ``(d, d)``.
        choice: the index of a dilation for each channel group. At least two dilations must occur;
            :func:`decode_conv` also handles a single one.

    Raises:
        ValueError: the choice is not valid for the dilations or the convolution.
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
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.groups = base.kernel_size, base.stride, groups
        self.dilation_choice = tuple(choice)
        self.output_order = channel_order(choice, out_channels)
        group_dilations = torch.tensor([dilations[index] for index in choice])
        self.register_buffer("group_dilations", group_dilations)
        # Without conv groups, all outputs read all inputs, so the order of the inputs is free.
        any_order = tuple(range(in_channels))
        self.input_order = channel_order(choice, in_channels) if groups > 1 else any_order
        parts = decoded_weights(base.weight.detach(), choice)
        indices = [int(name.removeprefix("weights.")) for name in parts]
        self.weights = _Weights(dict(zip(indices, parts.values(), strict=True)))
        self.dilations = tuple(dilations[index] for index in indices)
        self.norm, self.activation = norm, activation

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        first = 0
        # In words that TorchScript knows, too: no strict=True.
        for weight, dilation in zip(self.weights, self.dilations):  # noqa: B905
            inputs, groups = x, self.groups
            if self.groups > 1:
                # A sub-convolution consists of whole conv groups, whose inputs are adjacent.
                groups = self.groups * weight.shape[0] // self.out_channels
                channels = groups * weight.shape[1]
                inputs = x.narrow(1, first, channels)  # (N, channels, H, W)
                first += channels
            # Eq. 5: (N, channels of this dilation, H', W'). A 3x3 kernel keeps the size of the map
            # if the padding equals the dilation.
            outputs.append(F.conv2d(inputs, weight, None, self.stride, dilation, dilation, groups))
        y = torch.cat(outputs, dim=1)  # Eq. 6: (N, out_channels, H', W') in output_order
        if self.norm is not None:
            y = self.norm(y)
        if self.activation is not None:
            y = self.activation(y)
        return y

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, stride={self.stride}, groups={self.groups}, "
            f"dilations={list(self.dilations)}, channels={[w.shape[0] for w in self.weights]}"
        )


def decode_conv(
    conv: Conv2d, *, dilations: Sequence, choice: Sequence[int]
) -> Conv2d | DecodedConv2d:
    """Build the decoded convolution that replaces ``conv``, with the weight of ``conv``.

    If all channel groups chose the same dilation, this is ``conv`` itself with that dilation: order
    of channels and names stay the same, and ``group_dilations`` is added unless the dilation is
    that of ``conv``. Else it is a :class:`DecodedConv2d`. Both have a ``dilation_choice``.

    Args:
        conv: 3x3, without bias; its norm and activation are reused.
        dilations: all candidates of the search, as multiples of the dilation of ``conv``.
        choice: as for :class:`DecodedConv2d`.
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
            # Tells its checkpoint apart from one of the base network.
            conv.register_buffer("group_dilations", torch.tensor([conv.dilation] * len(choice)))
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
    # Not strict: norm and group_dilations are in place already.
    decoded.load_state_dict(decoded_weights(conv.weight.detach(), choice), strict=False)
    return decoded


def decoded_weights(
    replicas: Tensor | Sequence[Tensor], choice: Sequence[int]
) -> dict[str, Tensor]:
    """Split weights along their output channels, for a decoded convolution (NATS section 3.4).

    Args:
        replicas: the base convolution's weight ``(out_channels, in_channels / groups, 3, 3)``, or
            the weights of a :class:`ChannelMixedConv2d`: one per dilation, or a single one.
        choice: the index of a dilation for each channel group.

    Returns:
        the state of the module that :func:`decode_conv` returns: ``weights.<g>`` with the rows of
        the groups that chose dilation ``g``, or ``weight`` if all groups chose the same one.
    """
    if isinstance(replicas, Tensor):
        replicas = [replicas]
    chosen = sorted(set(choice))
    parts = {}
    for index in chosen:
        weight = replicas[index if len(replicas) > 1 else 0]
        own = [group for group, dilation in enumerate(choice) if dilation == index]
        # (out_channels, ...) to (channel groups, channels per group, ...); keep the rows of own.
        parts[f"weights.{index}"] = weight.unflatten(0, (len(choice), -1))[own].flatten(0, 1)
    return parts if len(chosen) > 1 else {"weight": parts[f"weights.{chosen[0]}"]}
