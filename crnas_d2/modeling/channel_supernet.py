"""What a channel supernet has learned so far: alpha, and the network that it names."""

from collections import Counter

from torch import nn

from crnas_d2.layers import ChannelMixedConv2d
from crnas_d2.space import ChannelSpace, Genotype

__all__ = ["alpha_summary", "decoded_genotype", "find_mixed_convs"]


def find_mixed_convs(model: nn.Module) -> dict[str, ChannelMixedConv2d]:
    """By name, the convolutions of which alpha is searched; none but in a channel supernet."""
    modules = model.named_modules()
    return {name: module for name, module in modules if isinstance(module, ChannelMixedConv2d)}


def decoded_genotype(model: nn.Module, space: ChannelSpace) -> Genotype:
    """The strongest dilation of each channel group (NATS section 3.3, Eq. 4)."""
    convs = find_mixed_convs(model)
    assert len(convs) == len(space.convs), (list(convs), space.names)
    return space.genotype([conv.genotype_of_groups() for conv in convs.values()])


def alpha_summary(model: nn.Module, space: ChannelSpace) -> dict[str, float]:
    """By name of a scalar, how far the search is, stage by stage.

    ``alpha/res4/entropy`` is the mean over the channel groups of the stage, in nats, 0 where all
    are decided; ``alpha/res4/share_1x3`` the part of them in which the dilation (1, 3), relative
    to the base network, is the strongest (NATS Eq. 5).
    """
    entropies, strongest = {}, {}
    for conv, mixed in zip(space.convs, find_mixed_convs(model).values(), strict=True):
        stage = conv.name.split(".")[0]
        entropies.setdefault(stage, []).extend(mixed.entropy().tolist())
        counts = strongest.setdefault(stage, Counter(dict.fromkeys(conv.dilations, 0)))
        counts.update(conv.dilations[index] for index in mixed.genotype_of_groups())
    summary = {}
    for stage, values in entropies.items():
        summary[f"alpha/{stage}/entropy"] = sum(values) / len(values)
        for (height, width), count in strongest[stage].items():
            summary[f"alpha/{stage}/share_{height}x{width}"] = count / len(values)
    return summary
