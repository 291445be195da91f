"""The channel space: a dilation for each channel group of a convolution (NATS)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import Conv2d
from detectron2.modeling import Backbone
from torch import nn

from crnas_d2.common.errors import invalid
from crnas_d2.layers import ChannelMixedConv2d
from crnas_d2.modeling.body import Stages, build_stages, replace_convs
from crnas_d2.modeling.supernet import Supernet
from crnas_d2.space import (
    FAMILY_REGISTRY,
    SPACE_REGISTRY,
    ChannelSpace,
    Family,
    Genotype,
    SearchableConv,
    SearchedConv,
    SpaceKind,
    warn_without_plain_dilation,
)
from crnas_d2.space.dilations import DILATION_SETS, Dilation, num_channel_groups, parse_dilations

_KEY = "MODEL.SUPERNET.CHANNEL"


class MixedSupernet(Supernet):
    """A channel supernet: all of it runs, and each searched convolution mixes its dilations.

    Args:
        convs: the mixed convolutions, keyed by name, in the order of the space.
    """

    space: ChannelSpace

    def __init__(self, space: ChannelSpace, convs: Mapping[str, ChannelMixedConv2d]):
        assert tuple(convs) == space.names, (list(convs), space.names)
        self.space, self.convs = space, convs

    @property
    def alphas(self) -> list[nn.Parameter]:
        """One tensor (channel groups, dilations) per convolution."""
        return [conv.alpha for conv in self.convs.values()]

    def decode(self) -> Genotype:
        """Return the genotype of the strongest dilations (NATS section 3.3, Eq. 4)."""
        return self.space.genotype([conv.strongest_dilations() for conv in self.convs.values()])

    def summary(self) -> dict[str, float]:
        """Return scalars that show the progress of the search, per stage.

        ``alpha/res4/entropy`` is the mean over the channel groups of the stage, in nats; it is 0
        when all are decided. ``alpha/res4/share_1x3`` is the fraction of the groups whose
        strongest dilation, relative to the base network, is (1, 3) (NATS Eq. 5).
        """
        scalars: dict[str, float] = {}
        for stage in self.space.stages:
            convs = [conv for conv in self.space.convs if conv.stage == stage]
            entropies: list[float] = []
            strongest = Counter({pair: 0 for conv in convs for pair in conv.dilations})
            for conv in convs:
                mixed = self.convs[conv.name]
                entropies += mixed.entropy().tolist()
                strongest.update(conv.dilations[i] for i in mixed.strongest_dilations())
            scalars[f"alpha/{stage}/entropy"] = sum(entropies) / len(entropies)
            for (height, width), count in strongest.items():
                scalars[f"alpha/{stage}/share_{height}x{width}"] = count / len(entropies)
        return scalars


@SPACE_REGISTRY.register("channel")
@dataclass(eq=False)
class ChannelKind(SpaceKind):
    """The dilations of channel groups, on the depths and operations of ``MODEL.GENOTYPE``.

    Its supernet is mixed: all of it runs in every step, and it is searched while it is trained.
    """

    fields = ("channels",)
    base_fields = ("depths", "ops")
    path_samplers = ("alpha",)
    sharings = ("none", "weight")
    is_searched_in_training = trains_on_archval = True

    stages: Sequence[str] = ("res3", "res4", "res5")  # one convolution of each block is searched
    dilation_set: str = "C"  # the candidate dilations, a name in DILATION_SETS
    dilations: Sequence[Sequence] = ()  # one list per stage; they override dilation_set
    num_groups: int = 16  # channel groups of each convolution
    channels_per_group: int = 0  # size of the channel groups instead; 0 to use num_groups

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {key.lower(): value for key, value in cfg.MODEL.SUPERNET.CHANNEL.items()}

    def build_space(self, family: Family, genotype: Genotype) -> ChannelSpace:
        """Build the space of a network, whose ``channels`` set the numbers of groups, if any."""
        if type(family).searchable_conv is Family.searchable_conv:
            method = Family.searchable_conv
            others = [name for name, f in FAMILY_REGISTRY if f.searchable_conv is not method]
            raise ValueError(
                f"The family '{family.name}' has no channel space, which NATS searches in: "
                f"{', '.join(others)}. Set MODEL.SUPERNET.FAMILY to it, or MODEL.SUPERNET.SPACE to "
                "another space and MODEL.GENOTYPE.CHANNELS to []."
            )
        if family.norm in ("GN", "LN"):
            but = "that normalizes channels together, and a decoded network reorders its channels"
            raise invalid(family.norm_key, family.norm, "'BN', 'SyncBN' or 'FrozenBN'", but=but)
        dilations = self._dilations_of_stages(family.stages)
        convs: list[SearchedConv] = []
        for stage, depth in zip(family.stages, genotype.depths, strict=True):
            if stage not in dilations:
                continue
            conv = family.searchable_conv(stage)
            if conv is None:
                but = f"the family '{family.name}' has nothing to search in {stage}"
                raise invalid(f"{_KEY}.STAGES", list(self.stages), but=but, fix="Remove it")
            for block in range(depth):
                if genotype.channels:
                    # A wrong number of lists is reported by validate(), with the expected one.
                    num_groups = len(genotype.channels[len(convs) % len(genotype.channels)])
                else:
                    num_groups = self._num_groups(stage, conv)
                place = (stage, block, conv.attribute, conv.channels, conv.conv_groups)
                convs.append(SearchedConv(*place, dilations[stage], num_groups))
        return ChannelSpace(tuple(convs), replace(genotype, channels=()))

    def check(self, family: Family, sharing: str) -> None:
        """Raise ValueError for frozen stages that are searched.

        FrozenBN is allowed: without paths, BN needs no statistics per path.
        """
        super().check(family, sharing)
        # Detectron2 counts the stem as 1 and res2 as 2.
        frozen = family.stages[: max(0, family.freeze_at - 1)]
        searched = [stage for stage in self.stages if stage in frozen]
        if searched:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {family.freeze_at}, which freezes "
                f"{', '.join(searched)}, where {_KEY}.STAGES asks to search. Lower FREEZE_AT, or "
                "remove these stages."
            )

    def check_config(self, cfg: CfgNode, space: ChannelSpace) -> None:
        start = cfg.SOLVER.ALPHA.START
        if not 0 <= start < 1:
            expected = "a fraction of SOLVER.MAX_ITER, from 0 to below 1; the rest trains alpha"
            raise invalid("SOLVER.ALPHA.START", start, expected)
        if cfg.MODEL.WEIGHTS:
            warn_without_plain_dilation(space)

    def check_training(self, cfg: CfgNode) -> None:
        if not cfg.DATASETS.ARCHVAL:
            raise ValueError(
                "DATASETS.ARCHVAL is empty: name the datasets that train alpha, none of whose "
                "images is in DATASETS.TRAIN."
            )
        sampler = cfg.DATALOADER.SAMPLER_TRAIN
        if sampler != "TrainingSampler":
            but = "a search of channels shuffles the images of both halves evenly"
            fix = "Set it to 'TrainingSampler'"
            raise invalid("DATALOADER.SAMPLER_TRAIN", sampler, but=but, fix=fix)

    def build_stages(
        self, family: Family, space: ChannelSpace, sharing: str
    ) -> tuple[Stages, dict[str, nn.Module]]:
        """Build the base network, in which each channel group mixes all dilations (NATS 3.2)."""
        stages, shares = build_stages(family, space.base), sharing == "weight"

        def mix(conv: SearchedConv, base: Conv2d) -> ChannelMixedConv2d:
            return ChannelMixedConv2d.from_conv(
                base, dilations=conv.dilations, num_groups=conv.num_groups, share_weights=shares
            )

        return stages, replace_convs(family, space, stages, mix)

    def build_supernet(
        self, body: Backbone, space: ChannelSpace, parts: Mapping[str, ChannelMixedConv2d]
    ) -> MixedSupernet:
        return MixedSupernet(space, parts)

    def _dilations_of_stages(self, stages: Sequence[str]) -> dict[str, tuple[Dilation, ...]]:
        chosen, name = list(self.stages), self.dilation_set
        if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(stages):
            raise invalid(f"{_KEY}.STAGES", chosen, f"some of {', '.join(stages)}, each once")
        if self.dilations:
            if len(self.dilations) != len(chosen):
                raise ValueError(
                    f"{_KEY}.DILATIONS has {len(self.dilations)} lists, {self.dilations}; "
                    f"expected one for each of {_KEY}.STAGES {chosen}."
                )
            found = {}
            for stage, values in zip(chosen, self.dilations, strict=True):
                try:
                    found[stage] = parse_dilations(values)
                except ValueError as error:
                    raise ValueError(f"{_KEY}.DILATIONS of {stage}: {error}") from error
            return found
        if name not in DILATION_SETS:
            expected = f"one of {', '.join(DILATION_SETS)}, or a list for each stage in DILATIONS"
            raise invalid(f"{_KEY}.DILATION_SET", name, expected)
        lacking = [stage for stage in chosen if stage not in DILATION_SETS[name]]
        if lacking:
            raise ValueError(
                f"{_KEY}.STAGES is {chosen}, but set '{name}' of the paper has no dilations for "
                f"{', '.join(lacking)}; set {_KEY}.DILATIONS to a list for each stage."
            )
        return {stage: DILATION_SETS[name][stage] for stage in chosen}

    def _num_groups(self, stage: str, conv: SearchableConv) -> int:
        size = self.channels_per_group
        counts = {"channels_per_group": size} if size else {"num_groups": self.num_groups}
        try:
            return num_channel_groups(conv.channels, conv_groups=conv.conv_groups, **counts)
        except ValueError as error:
            key = "CHANNELS_PER_GROUP" if size else "NUM_GROUPS"
            raise ValueError(f"{_KEY}.{key}, in {stage}: {error}") from error
