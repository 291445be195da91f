"""The channel space: a dilation for each channel group of a convolution (NATS)."""

from collections.abc import Sequence
from dataclasses import replace

from crnas_d2.space import (
    DILATION_SETS,
    FAMILY_REGISTRY,
    SPACE_REGISTRY,
    ChannelSpace,
    Dilation,
    Family,
    Genotype,
    SearchableConv,
    SearchedConv,
    SpaceKind,
    num_channel_groups,
    parse_dilations,
)

_KEY = "MODEL.SUPERNET.CHANNEL"


@SPACE_REGISTRY.register("channel")
class ChannelKind(SpaceKind):
    """The dilations of channel groups, on the depths and operations of ``MODEL.GENOTYPE``.

    Its supernet is mixed: all of it runs in every step, and it is searched while it is trained.

    Args:
        stages: those in which one convolution of each block is searched.
        dilation_set: the candidate dilations, a name in ``DILATION_SETS``.
        dilations: candidates as one list per stage; they override ``dilation_set``.
        num_groups: channel groups of each convolution.
        channels_per_group: size of the channel groups instead; 0 to use ``num_groups``.
    """

    fields = ("channels",)
    base_fields = ("depths", "ops")
    path_samplers = ("alpha",)
    sharings = ("none", "weight")
    is_searched_in_training = True

    def __init__(
        self,
        stages: Sequence[str] = ("res3", "res4", "res5"),
        dilation_set: str = "C",
        dilations: Sequence[Sequence] = (),
        num_groups: int = 16,
        channels_per_group: int = 0,
    ):
        self.stages = tuple(stages)
        self.dilation_set = dilation_set
        self.dilations = dilations
        self.num_groups = num_groups
        self.channels_per_group = channels_per_group

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {key.lower(): value for key, value in cfg.MODEL.SUPERNET.CHANNEL.items()}

    def build_space(self, family: Family, genotype: Genotype) -> ChannelSpace:
        """
        Args:
            genotype: the network whose convolutions are searched. If it already has
                ``channels``, they determine the numbers of channel groups.
        """
        _check_family(family)
        dilations = self._dilations_of_stages(family.stages)
        convs = []
        for stage, depth in zip(family.stages, genotype.depths, strict=True):
            if stage not in dilations:
                continue
            conv = family.searchable_conv(stage)
            if conv is None:
                raise ValueError(
                    f"{_KEY}.STAGES is {list(self.stages)}, but the family '{family.name}' has "
                    f"nothing to search in {stage}; remove it."
                )
            for block in range(depth):
                if genotype.channels:
                    # A wrong number of lists is reported by validate(), with the expected one.
                    num_groups = len(genotype.channels[len(convs) % len(genotype.channels)])
                else:
                    num_groups = self._num_groups(stage, conv)
                convs.append(
                    SearchedConv(
                        *(stage, block, conv.attribute, conv.channels, conv.conv_groups),
                        *(dilations[stage], num_groups),
                    )
                )
        return ChannelSpace(tuple(convs), replace(genotype, channels=()))

    def check(self, family: Family, sharing: str) -> None:
        """Allow FrozenBN, and frozen stages in which nothing is searched.

        All of a channel supernet runs in every step, so its BN follows the mix as in the base
        network, and needs no statistics per path.
        """
        self.check_sharing(sharing)
        # Detectron2 counts the stem as 1 and res2 as 2.
        frozen = family.stages[: max(0, family.freeze_at - 1)]
        searched = [stage for stage in self.stages if stage in frozen]
        if searched:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {family.freeze_at}, which freezes "
                f"{', '.join(searched)}, including alpha, but {_KEY}.STAGES asks to search there. "
                "Lower FREEZE_AT, or remove these stages."
            )

    def build_stage(self, stage, family, space, sharing):
        raise AssertionError("the stages of a channel supernet are those of its base network")

    def _dilations_of_stages(self, stages: Sequence[str]) -> dict[str, tuple[Dilation, ...]]:
        """Return the dilations of each searched stage, keyed by its name."""
        chosen = list(self.stages)
        if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(stages):
            raise ValueError(
                f"{_KEY}.STAGES is {chosen}; expected some of {', '.join(stages)}, each once."
            )
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
        name = self.dilation_set
        if name not in DILATION_SETS:
            raise ValueError(
                f"{_KEY}.DILATION_SET is '{name}'; expected one of {', '.join(DILATION_SETS)}, or "
                f"{_KEY}.DILATIONS with a list for each stage."
            )
        lacking = [stage for stage in chosen if stage not in DILATION_SETS[name]]
        if lacking:
            raise ValueError(
                f"{_KEY}.STAGES is {chosen}, but set '{name}' of the paper has no dilations for "
                f"{', '.join(lacking)}; set {_KEY}.DILATIONS to a list for each stage."
            )
        return {stage: DILATION_SETS[name][stage] for stage in chosen}

    def _num_groups(self, stage: str, conv: SearchableConv) -> int:
        """Return the number of channel groups per convolution of a stage."""
        size = self.channels_per_group
        counts = {"channels_per_group": size} if size else {"num_groups": self.num_groups}
        try:
            return num_channel_groups(conv.channels, conv_groups=conv.conv_groups, **counts)
        except ValueError as error:
            key = "CHANNELS_PER_GROUP" if size else "NUM_GROUPS"
            raise ValueError(f"{_KEY}.{key}, in {stage}: {error}") from error


def _check_family(family: Family) -> None:
    """Raise ValueError for a family, or a norm, that the channel space does not support."""
    if type(family).searchable_conv is Family.searchable_conv:
        others = [
            name
            for name, other in FAMILY_REGISTRY
            if other.searchable_conv is not Family.searchable_conv
        ]
        raise ValueError(
            f"The family '{family.name}' has no channel space, which NATS searches in: "
            f"{', '.join(others)}. Set MODEL.SUPERNET.FAMILY to it, or MODEL.SUPERNET.SPACE to "
            "another space and MODEL.GENOTYPE.CHANNELS to []."
        )
    if family.norm in ("GN", "LN"):
        raise ValueError(
            f"{family.norm_key} is '{family.norm}', which normalizes channels together, but a "
            "decoded network reorders its channels. Use 'BN', 'SyncBN' or 'FrozenBN'."
        )
