"""The joint space: the number of blocks of each stage, and the operation of each block."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase

from crnas_d2.layers import ChoiceBlock
from crnas_d2.modeling.single_path import SinglePathKind, Stage
from crnas_d2.space import SPACE_REGISTRY, Family, Genotype, SearchSpace

from .operation import (
    check_has_operations,
    check_operations,
    check_shared_weights,
    make_operation_choices,
    operation_choice,
)
from .stage import depth_choices, make_depth_choice


@SPACE_REGISTRY.register("joint")
class JointKind(SinglePathKind):
    """Depths and operations at once; CR-NAS searches them one after the other.

    The choice of a block's operation is active if the depth of its stage includes the block.

    Args:
        options: numbers of blocks, one list per stage; empty for those of the family.
        operations: indices of the operations to choose from; empty for all of the family.
    """

    fields = ("depths", "ops")
    sharings = ("none", "prefix", "weight", "prefix+weight")

    def __init__(self, options: Sequence[Sequence[int]] = (), operations: Sequence[int] = ()):
        self.options = options
        self.operations = operations

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        supernet = cfg.MODEL.SUPERNET
        return {"options": supernet.STAGE_OPTIONS, "operations": supernet.OPERATION_OPTIONS}

    def build_space(self, family: Family, genotype: Genotype) -> SearchSpace:
        check_has_operations(family, self.name)
        check_operations(family, self.operations)
        choices = []
        for depth in depth_choices(family, self.options, self.name):
            choices.append(depth)
            for index in range(max(depth.options)):
                choices.append(operation_choice(family, depth.stage, index, self.operations, depth))
        return SearchSpace(self.name, tuple(choices))

    def check(self, family: Family, sharing: str) -> None:
        super().check(family, sharing)
        if "weight" in sharing:
            check_shared_weights(family, sharing)

    def build_stage(self, stage: str, family: Family, space: SearchSpace, sharing: str) -> Stage:
        depth, *operations = [choice for choice in space.choices if choice.stage == stage]
        choice_blocks: dict[str, list[ChoiceBlock]] = {choice.name: [] for choice in operations}

        def make_blocks(number: int) -> list[CNNBlockBase]:
            choices = operations[:number]
            blocks = make_operation_choices(
                family, stage, choices, shares_weights="weight" in sharing
            )
            # One choice may have several choice blocks: without prefix sharing, make_blocks() is
            # called for each branch of the stage.
            for choice, block in zip(choices, blocks, strict=True):
                if isinstance(block, ChoiceBlock):
                    choice_blocks[choice.name].append(block)
            return blocks

        if len(depth.options) == 1:
            return make_blocks(depth.options[0]), choice_blocks
        block = make_depth_choice(depth, make_blocks, shares_prefix="prefix" in sharing)
        return [block], {depth.name: [block], **choice_blocks}
