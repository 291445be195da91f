"""From ``MODEL.SUPERNET.CHANNEL`` to the channel space that it describes."""

from collections.abc import Sequence
from dataclasses import replace

from .channel_space import ChannelSpace, SearchedConv
from .dilations import DILATION_SETS, Dilation, num_channel_groups, parse_dilations
from .genotype import Genotype

__all__ = ["build_channel_space"]

_KEY = "MODEL.SUPERNET.CHANNEL"


def build_channel_space(cfg, genotype: Genotype, stages: Sequence[str]) -> ChannelSpace:
    """The space of ``MODEL.SUPERNET.CHANNEL`` on a ResNet or ResNeXt.

    Its convolutions are the 3x3 one of each Bottleneck, ``conv2``, and the first 3x3 one of each
    BasicBlock, ``conv1``: behind both another convolution of the block can take in the order of
    channels, which the output of a block shares with its shortcut.

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
    place = "conv1" if is_basic else "conv2"
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
            name = f"{stage}.{block}.{place}"
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
