"""Supernets that run one subnet at a time: what the kinds of their spaces have in common."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase
from detectron2.modeling import Backbone

from crnas_d2.common.errors import invalid
from crnas_d2.layers import ChoiceBlock
from crnas_d2.space import Family, Genotype, SearchSpace, SpaceKind

from .supernet import Supernet

Stage: TypeAlias = tuple[list[CNNBlockBase], dict[str, list[ChoiceBlock]]]


class SinglePathSupernet(Supernet):
    """A supernet that runs one subnet at a time.

    Args:
        choice_blocks: the modules that implement each choice, keyed by its name. A choice with a
            single option may have none; one inside the branches of a stage has one per branch.
    """

    space: SearchSpace
    has_paths = True

    def __init__(self, space: SearchSpace, choice_blocks: Mapping[str, Sequence[ChoiceBlock]]):
        self.space, self.choice_blocks = space, choice_blocks

    def set_path(self, genotype: Genotype) -> None:
        for name, option in self.space.values(genotype).items():
            for block in self.choice_blocks.get(name, ()):
                block.choose(option)
        self.path = genotype


class SinglePathKind(SpaceKind):
    """A kind whose space is a :class:`SearchSpace` and whose supernet runs one path at a time.

    A search scores its subnets after the training. A subclass builds the space and the stages.
    """

    path_samplers = ("uniform", "fair")

    @abstractmethod
    def build_stage(self, stage: str, family: Family, space: SearchSpace, sharing: str) -> Stage:
        """Build one stage that is not a single layer: its blocks, and those of each choice by name.

        Those on the path run. A choice with a single option may have none.
        """

    def check(self, family: Family, sharing: str) -> None:
        super().check(family, sharing)
        if family.freeze_at > 0:
            but = "a supernet cannot train the choices in frozen stages"
            raise invalid("MODEL.BACKBONE.FREEZE_AT", family.freeze_at, but=but, fix="Set it to 0")
        if family.norm == "FrozenBN":
            but = "each path of a supernet needs BN statistics of its own"
            raise invalid(family.norm_key, "FrozenBN", but=but, fix="Use 'BN' or 'SyncBN'")

    def check_config(self, cfg: CfgNode, space: SearchSpace) -> None:
        if cfg.TEST.PRECISE_BN.ENABLED:
            but = "PreciseBN overwrites the statistics of every path with those of one"
            fix = "Set it to False; a search calibrates BN itself"
            raise invalid("TEST.PRECISE_BN.ENABLED", True, but=but, fix=fix)

    def build_stages(
        self, family: Family, space: SearchSpace, sharing: str
    ) -> tuple[dict[str, list[CNNBlockBase]], dict[str, list[ChoiceBlock]]]:
        built = {
            stage: self.build_stage(stage, family, space, sharing)
            for stage in family.stages
            if stage not in family.single_layers
        }
        stages = {stage: blocks for stage, (blocks, _) in built.items()}
        return stages, {k: v for _, choices in built.values() for k, v in choices.items()}

    def build_supernet(
        self, body: Backbone, space: SearchSpace, parts: Mapping[str, Sequence[ChoiceBlock]]
    ) -> SinglePathSupernet:
        built = set(body.modules())  # the body omits stages that no output needs
        return SinglePathSupernet(
            space, {name: [b for b in blocks if b in built] for name, blocks in parts.items()}
        )
