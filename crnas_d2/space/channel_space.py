"""The channel space: a dilation for each group of output channels (NATS sections 3.2 to 3.4)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from random import Random

from .dilations import (
    DILATION_SETS,
    Dilation,
    check_dilation_indices,
    has_plain_dilation,
    num_channel_groups,
    parse_dilations,
)
from .genotype import Genotype

__all__ = [
    "ChannelSpace",
    "SearchedConv",
    "build_channel_space",
    "warn_without_plain_dilation",
]

logger = logging.getLogger(__name__)

_KEY = "MODEL.SUPERNET.CHANNEL"


@dataclass(frozen=True)
class SearchedConv:
    """A convolution of which each group of output channels has a dilation of its own.

    Attributes:
        name: in the backbone body, e.g. ``res4.2.conv2``.
        channels: its output channels.
        conv_groups: groups of the convolution itself, as in ResNeXt.
        dilations: to choose from, relative to that of the base network.
        num_groups: its channel groups.
    """

    name: str
    channels: int
    conv_groups: int
    dilations: tuple[Dilation, ...]
    num_groups: int


@dataclass(frozen=True)
class ChannelSpace:
    """The genotypes that a channel supernet mixes.

    Unlike a :class:`SearchSpace` it has no budget: all genotypes have the parameters and the MACs
    of the base network.

    Attributes:
        convs: in the order in which the network runs them, that of ``Genotype.channels``.
        base: the depths and operations that all genotypes have in common.
    """

    convs: tuple[SearchedConv, ...]
    base: Genotype

    kind = "channel"
    field = "channels"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(conv.name for conv in self.convs)

    @property
    def size(self) -> int:
        """Number of genotypes."""
        return prod(len(conv.dilations) ** conv.num_groups for conv in self.convs)

    def genotype(self, channels: Sequence[Sequence[int]]) -> Genotype:
        """The network in which the groups of each convolution have these dilations, by index."""
        genotype = replace(self.base, channels=channels)
        self.validate(genotype)
        return genotype

    def draw(self, random: Random) -> Genotype:
        """A network whose channel groups have dilations drawn uniformly, each by itself."""
        return self.genotype(
            [random.choices(range(len(c.dilations)), k=c.num_groups) for c in self.convs]
        )

    def to_config(self) -> dict:
        """The keys of ``MODEL.SUPERNET.CHANNEL`` that say what a genotype means."""
        dilations = {conv.name.split(".")[0]: conv.dilations for conv in self.convs}
        return {
            "STAGES": list(dilations),
            "DILATIONS": [[list(pair) for pair in pairs] for pairs in dilations.values()],
        }

    def validate(self, genotype: Genotype) -> None:
        """Refuses a genotype that no network of these convolutions and dilations can have.

        Raises:
            ValueError: with the offending value and what is allowed.
        """
        if len(genotype.channels) != len(self.convs):
            raise ValueError(
                f"MODEL.GENOTYPE.CHANNELS has {len(genotype.channels)} lists; the channel space "
                f"has {len(self.convs)} convolutions ({', '.join(self.names)}), and each needs "
                f"one. {_KEY}.STAGES and MODEL.GENOTYPE.DEPTHS must be those of the search."
            )
        for conv, indices in zip(self.convs, genotype.channels, strict=True):
            try:
                check_dilation_indices(indices, conv.dilations)
                num_channel_groups(
                    conv.channels, num_groups=len(indices), conv_groups=conv.conv_groups
                )
            except ValueError as error:
                raise ValueError(f"MODEL.GENOTYPE.CHANNELS of {conv.name}: {error}") from error


def build_channel_space(cfg, genotype: Genotype, stages: Sequence[str]) -> ChannelSpace:
    """The space of ``MODEL.SUPERNET.CHANNEL`` on a ResNet or ResNeXt.

    Its convolutions are the 3x3 ones that CR-NAS dilates too: ``conv2`` of each block.

    Args:
        genotype: the network whose convolutions are searched. One that has ``channels`` already
            brings its own numbers of channel groups.
        stages: names of all stages of the family.

    Raises:
        ValueError: naming the key, its value and what was expected.
    """
    settings, resnets = cfg.MODEL.SUPERNET.CHANNEL, cfg.MODEL.RESNETS
    dilations = _dilations_of_stages(settings, stages)
    is_basic = resnets.DEPTH in (18, 34)  # BasicBlock, which knows no groups
    width = resnets.RES2_OUT_CHANNELS if is_basic else resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP
    conv_groups = 1 if is_basic else resnets.NUM_GROUPS
    convs = []
    for index, (stage, depth) in enumerate(zip(stages, genotype.depths, strict=True)):
        if stage not in dilations:
            continue
        channels = width * 2**index
        for block in range(depth):
            if genotype.channels:
                # Another number of lists is refused by validate(), with what was expected.
                num_groups = len(genotype.channels[len(convs) % len(genotype.channels)])
            else:
                num_groups = _num_groups(cfg, stage, channels, conv_groups)
            name = f"{stage}.{block}.conv2"
            convs.append(SearchedConv(name, channels, conv_groups, dilations[stage], num_groups))
    return ChannelSpace(tuple(convs), replace(genotype, channels=()))


def _dilations_of_stages(settings, stages: Sequence[str]) -> dict[str, tuple[Dilation, ...]]:
    """By name of each searched stage, its dilations."""
    chosen = list(settings.STAGES)
    if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(stages):
        raise ValueError(
            f"{_KEY}.STAGES is {chosen}; expected some of {', '.join(stages)}, each once."
        )
    if settings.DILATIONS:
        if len(settings.DILATIONS) != len(chosen):
            raise ValueError(
                f"{_KEY}.DILATIONS has {len(settings.DILATIONS)} lists, {settings.DILATIONS}; "
                f"expected one for each of {_KEY}.STAGES {chosen}."
            )
        found = {}
        for stage, values in zip(chosen, settings.DILATIONS, strict=True):
            try:
                found[stage] = parse_dilations(values)
            except ValueError as error:
                raise ValueError(f"{_KEY}.DILATIONS of {stage}: {error}") from error
        return found
    name = settings.DILATION_SET
    if name not in DILATION_SETS:
        raise ValueError(
            f"{_KEY}.DILATION_SET is '{name}'; expected one of {', '.join(DILATION_SETS)}, or "
            f"{_KEY}.DILATIONS with a list for each stage."
        )
    lacking = [stage for stage in chosen if stage not in DILATION_SETS[name]]
    if lacking:
        raise ValueError(
            f"{_KEY}.STAGES is {chosen}, but set '{name}' of the paper has nothing for "
            f"{', '.join(lacking)}; give {_KEY}.DILATIONS with a list for each stage."
        )
    return {stage: DILATION_SETS[name][stage] for stage in chosen}


def _num_groups(cfg, stage: str, channels: int, conv_groups: int) -> int:
    """How many channel groups the supernet has in a stage."""
    settings = cfg.MODEL.SUPERNET.CHANNEL
    size = settings.CHANNELS_PER_GROUP
    counts = {"channels_per_group": size} if size else {"num_groups": settings.NUM_GROUPS}
    try:
        return num_channel_groups(channels, conv_groups=conv_groups, **counts)
    except ValueError as error:
        key = "CHANNELS_PER_GROUP" if size else "NUM_GROUPS"
        raise ValueError(f"{_KEY}.{key}, in {stage}: {error}") from error


def warn_without_plain_dilation(space: ChannelSpace) -> None:
    """Pretrained weights match the base network, which such a space does not hold."""
    lacking = [conv.name for conv in space.convs if not has_plain_dilation(conv.dilations)]
    if lacking:
        logger.warning(
            "The dilations of %s%s do not hold (1, 1), so that no network of the space computes "
            "what the pretrained weights of MODEL.WEIGHTS did. Add 1 to %s.DILATIONS.",
            ", ".join(lacking[:3]),
            ", ..." if len(lacking) > 3 else "",
            _KEY,
        )
