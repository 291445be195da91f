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
        space: the genotypes that it can run.
        choice_blocks: the modules that implement each choice, keyed by its name. A choice with a
            single option may have none; a choice inside the branches of a stage has one per
            branch.
    """

    space: SearchSpace
    has_paths = True

    def __init__(self, space: SearchSpace, choice_blocks: Mapping[str, Sequence[ChoiceBlock]]):
        self.space = space
        self.choice_blocks = choice_blocks

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
        """Build the blocks of one stage of the supernet.

        Args:
            stage: one of the family's stages that is not a single layer.

        Returns:
            the blocks; and, by name of each choice, all choice blocks that implement it. Those on
            the path run. A choice with a single option may have none.
        """

    def check(self, family: Family, sharing: str) -> None:
        super().check(family, sharing)
        if family.freeze_at > 0:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {family.freeze_at}: a supernet cannot be frozen in "
                "part, because the frozen stages hold choices that have yet to be trained. Set it "
                "to 0."
            )
        if family.norm == "FrozenBN":
            raise ValueError(
                f"{family.norm_key} is 'FrozenBN': each path of a supernet needs statistics of its "
                "own, which frozen ones cannot follow. Use 'BN' or 'SyncBN'."
            )

    def check_config(self, cfg: CfgNode, space: SearchSpace) -> None:
        if cfg.TEST.PRECISE_BN.ENABLED:
            raise invalid(
                "TEST.PRECISE_BN.ENABLED",
                True,
                but="PreciseBN overwrites the statistics of every path of a supernet with those of "
                "one",
                fix="Set it to False; a search calibrates BN itself",
            )

    def build_stages(
        self, family: Family, space: SearchSpace, sharing: str
    ) -> tuple[dict[str, list[CNNBlockBase]], dict[str, list[ChoiceBlock]]]:
        stages: dict[str, list[CNNBlockBase]] = {}
        choice_blocks: dict[str, list[ChoiceBlock]] = {}
        for stage in family.stages:
            if stage not in family.single_layers:
                stages[stage], choices = self.build_stage(stage, family, space, sharing)
                choice_blocks |= choices
        return stages, choice_blocks

    def build_supernet(
        self, body: Backbone, space: SearchSpace, parts: Mapping[str, Sequence[ChoiceBlock]]
    ) -> SinglePathSupernet:
        built = set(body.modules())  # the body omits stages that no output needs
        return SinglePathSupernet(
            space, {name: [b for b in blocks if b in built] for name, blocks in parts.items()}
        )
