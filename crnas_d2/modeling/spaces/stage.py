"""The stage space: the number of blocks of each stage (CR-NAS section 3.2.1)."""

from collections.abc import Callable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase

from crnas_d2.layers import BranchDepthChoice, PrefixDepthChoice
from crnas_d2.modeling.single_path import SinglePathKind, Stage
from crnas_d2.space import (
    FAMILY_REGISTRY,
    SPACE_REGISTRY,
    Choice,
    Family,
    Genotype,
    SearchSpace,
)


@SPACE_REGISTRY.register("stage")
class StageKind(SinglePathKind):
    """One choice per stage: its number of blocks.

    Args:
        options: numbers of blocks, one list per stage; empty for those of the family.
    """

    fields = ("depths",)
    sharings = ("none", "prefix")

    def __init__(self, options: Sequence[Sequence[int]] = ()):
        self.options = options

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"options": cfg.MODEL.SUPERNET.STAGE_OPTIONS}

    def build_space(self, family: Family, genotype: Genotype) -> SearchSpace:
        return SearchSpace(self.name, depth_choices(family, self.options, self.name))

    def build_stage(self, stage: str, family: Family, space: SearchSpace, sharing: str) -> Stage:
        [choice] = [choice for choice in space.choices if choice.stage == stage]

        def make_blocks(depth: int) -> list[CNNBlockBase]:
            return family.make_stage(stage, family.operations[:1] * depth)

        if len(choice.options) == 1:
            return make_blocks(choice.options[0]), {}
        block = make_depth_choice(choice, make_blocks, shares_prefix=sharing == "prefix")
        return [block], {choice.name: [block]}


def depth_choices(
    family: Family, options: Sequence[Sequence[int]], kind: str
) -> tuple[Choice, ...]:
    """Build the choice of each stage's number of blocks.

    Args:
        options: see :class:`StageKind`.
        kind: of the space, for messages.

    Raises:
        ValueError: there are no options, or they are not valid for the family.
    """
    options = options or family.stage_options
    key = "MODEL.SUPERNET.STAGE_OPTIONS"
    if not options:
        others = [name for name, other in FAMILY_REGISTRY if other.stage_options]
        raise ValueError(
            f"MODEL.SUPERNET.SPACE is '{kind}', but no paper gives numbers of blocks to choose "
            f"from for the family '{family.name}' (those of {', '.join(others)} have some). Set "
            f"{key} to a list for each of {', '.join(family.stages)}."
        )
    if len(options) != len(family.stages):
        raise ValueError(
            f"{key} has {len(options)} lists; expected one for each of {', '.join(family.stages)}."
        )
    choices = []
    for stage, numbers in zip(family.stages, options, strict=True):
        family.check_depths(key, stage, numbers)
        # Genotype checks what holds for any list of depths: whole numbers of at least 1.
        depths = Genotype(depths=tuple(numbers)).depths
        choices.append(Choice(f"{stage}.depth", depths, field="depths", stage=stage))
    return tuple(choices)


def make_depth_choice(
    choice: Choice,
    make_blocks: Callable[[int], Sequence[CNNBlockBase]],
    *,
    shares_prefix: bool,
) -> BranchDepthChoice | PrefixDepthChoice:
    """Build the choice block of a stage's depth.

    Args:
        make_blocks: builds a given number of new blocks.
        shares_prefix: depth k runs the first k blocks of the deepest branch; otherwise each depth
            has a branch of its own.
    """
    if shares_prefix:
        return PrefixDepthChoice(make_blocks(max(choice.options)), choice.options)
    return BranchDepthChoice({depth: make_blocks(depth) for depth in choice.options})
