"""The channel space: a dilation for each group of output channels (NATS sections 3.2 to 3.4)."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from random import Random
from typing import Any

from crnas_d2.common.formats import format_few

from .dilations import Dilation, check_dilation_choice, num_channel_groups
from .genotype import Genotype

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchedConv:
    """A convolution in which each group of output channels has its own dilation.

    Attributes:
        attribute: of that block of that stage, e.g. ``conv2``.
        channels: its output channels.
        conv_groups: groups of the convolution itself, as in ResNeXt.
        dilations: to choose from, relative to that of the base network.
        num_groups: its channel groups.
    """

    stage: str
    block: int
    attribute: str
    channels: int
    conv_groups: int
    dilations: tuple[Dilation, ...]
    num_groups: int

    @property
    def name(self) -> str:
        """Name in the backbone body, e.g. ``res4.2.conv2``."""
        return f"{self.stage}.{self.block}.{self.attribute}"


@dataclass(frozen=True)
class ChannelSpace:
    """The genotypes that a channel supernet mixes.

    It has no budget: all genotypes have the parameters and the MACs of the base network.

    Attributes:
        convs: in the order in which the network runs them, that of ``Genotype.channels``.
        base: the depths and operations that all genotypes have in common.
    """

    convs: tuple[SearchedConv, ...]
    base: Genotype

    kind = "channel"
    fields = ("channels",)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(conv.name for conv in self.convs)

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(conv.stage for conv in self.convs))

    @property
    def size(self) -> int:
        return prod(len(conv.dilations) ** conv.num_groups for conv in self.convs)

    def genotype(self, channels: Sequence[Sequence[int]]) -> Genotype:
        """Return the genotype with these dilation choices, one per convolution, validated."""
        genotype = replace(self.base, channels=tuple(map(tuple, channels)))
        self.validate(genotype)
        return genotype

    def sample(self, random: Random) -> Genotype:
        """Sample a dilation for each channel group, uniformly and independently."""
        return self.genotype(
            [random.choices(range(len(c.dilations)), k=c.num_groups) for c in self.convs]
        )

    def dilation_shares(self, genotype: Genotype) -> list[dict[Dilation, float]]:
        """Return, for each convolution, the share of its channels per dilation that it uses."""
        shares = []
        for conv, choice in zip(self.convs, genotype.channels, strict=True):
            counts = Counter(conv.dilations[index] for index in choice)
            shares.append({pair: count / len(choice) for pair, count in counts.items()})
        return shares

    def to_config(self) -> dict[str, list[Any]]:
        """Return the keys of ``MODEL.SUPERNET.CHANNEL`` that give a genotype its meaning."""
        dilations = {conv.stage: conv.dilations for conv in self.convs}
        return {
            "STAGES": list(dilations),
            "DILATIONS": [[list(pair) for pair in pairs] for pairs in dilations.values()],
        }

    def validate(self, genotype: Genotype) -> None:
        """Raise ValueError for a genotype that does not fit these convolutions and dilations."""
        given, wanted = len(genotype.channels), len(self.convs)
        if given != wanted:
            raise ValueError(
                f"MODEL.GENOTYPE.CHANNELS has {given} lists; the channel space has {wanted} "
                f"convolutions ({', '.join(self.names)}), and each needs one. "
                "MODEL.SUPERNET.CHANNEL.STAGES and MODEL.GENOTYPE.DEPTHS must be those of the "
                "search."
            )
        for conv, choice in zip(self.convs, genotype.channels, strict=True):
            groups = {"num_groups": len(choice), "conv_groups": conv.conv_groups}
            try:
                check_dilation_choice(choice, conv.dilations)
                num_channel_groups(conv.channels, **groups)
            except ValueError as error:
                raise ValueError(f"MODEL.GENOTYPE.CHANNELS of {conv.name}: {error}") from error


def warn_without_plain_dilation(space: ChannelSpace) -> None:
    """Warn if no genotype of the space keeps the dilations of the pretrained network."""
    lacking = [conv.name for conv in space.convs if (1, 1) not in conv.dilations]
    if lacking:
        logger.warning(
            "The dilations of %s do not include (1, 1), so no network of the space computes what "
            "that of MODEL.WEIGHTS does. Add 1 to MODEL.SUPERNET.CHANNEL.DILATIONS.",
            format_few(lacking),
        )
