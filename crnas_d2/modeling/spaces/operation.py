"""The operation space: one operation per block (CR-NAS section 3.2.2, DetNAS section 3.2)."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase

from crnas_d2.layers import ChoiceBlock, OperationChoice, SharedWeightChoice
from crnas_d2.modeling.single_path import SinglePathKind, Stage
from crnas_d2.space import SPACE_REGISTRY, Choice, Family, Genotype, SearchSpace


@SPACE_REGISTRY.register("operation")
class OperationKind(SinglePathKind):
    """One choice per block: its operation. The depths are those of ``MODEL.GENOTYPE``.

    Args:
        operations: indices of the operations to choose from; empty for all of the family.
    """

    fields = ("ops",)
    base_fields = ("depths",)
    sharings = ("none", "weight")

    def __init__(self, operations: Sequence[int] = ()):
        self.operations = operations

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"operations": cfg.MODEL.SUPERNET.OPERATION_OPTIONS}

    def build_space(self, family: Family, genotype: Genotype) -> SearchSpace:
        check_has_operations(family, self.name)
        check_operations(family, self.operations)
        choices = tuple(
            operation_choice(family, stage, index, self.operations)
            for stage, depth in zip(family.stages, genotype.depths, strict=True)
            for index in range(depth)
        )
        return SearchSpace(self.name, choices, Genotype(depths=genotype.depths))

    def check(self, family: Family, sharing: str) -> None:
        super().check(family, sharing)
        if sharing == "weight":
            check_shared_weights(family, sharing)

    def build_stage(self, stage: str, family: Family, space: SearchSpace, sharing: str) -> Stage:
        choices = [choice for choice in space.choices if choice.stage == stage]
        blocks = make_operation_choices(family, stage, choices, shares_weights=sharing == "weight")
        return blocks, {
            choice.name: [block]
            for choice, block in zip(choices, blocks, strict=True)
            if isinstance(block, ChoiceBlock)
        }


def operation_choice(
    family: Family,
    stage: str,
    block: int,
    operations: Sequence[int] = (),
    parent: Choice | None = None,
) -> Choice:
    """Build the choice of one block's operation.

    Args:
        operations: indices of the operations to choose from; empty for all of the family. A stage
            that is a single layer has none to choose from.
        parent: the choice of the stage's depth, if the block does not exist at every depth.
    """
    known = family.operations_of(stage)
    return Choice(
        f"{stage}.{block}.op",
        tuple(operations) if operations and len(known) > 1 else known,
        field="ops",
        stage=stage,
        block=block,
        parent=parent.name if parent else "",
        active_for=tuple(depth for depth in parent.options if depth > block) if parent else (),
    )


def check_has_operations(family: Family, kind: str) -> None:
    """Raise ValueError for a family whose blocks have a single operation."""
    if len(family.operations) < 2:
        raise ValueError(
            f"MODEL.SUPERNET.SPACE is '{kind}', but the blocks of the family '{family.name}' have "
            f"only one operation ({family.operations[0].name}). Set MODEL.SUPERNET.SPACE to "
            "'stage', or MODEL.SUPERNET.FAMILY to another."
        )


def check_operations(family: Family, operations: Sequence[int]) -> None:
    """Raise ValueError unless all operations to choose from are those of the family."""
    known = range(len(family.operations))
    listed = list(operations)
    if listed and (len(set(listed)) < len(listed) or not set(listed) <= set(known)):
        names = ", ".join(f"{i} ({family.operations[i].name})" for i in known)
        raise ValueError(
            f"MODEL.SUPERNET.OPERATION_OPTIONS is {listed}; expected different ones of {names}."
        )


def check_shared_weights(family: Family, sharing: str) -> None:
    """Raise ValueError for a family whose operations cannot share the weights of a block."""
    if not all(operation.change for operation in family.operations):
        names = ", ".join(operation.name for operation in family.operations)
        raise ValueError(
            f"MODEL.SUPERNET.SHARING is '{sharing}', but the operations of the family "
            f"'{family.name}' ({names}) have weights of different shapes and, unlike dilations, "
            "cannot share them. Set it to 'none'."
        )


def make_operation_choices(
    family: Family, stage: str, choices: Sequence[Choice], *, shares_weights: bool
) -> list[CNNBlockBase]:
    """Build the blocks of a stage, each a choice between operations.

    Args:
        choices: one per block, all with the same options. A single option gives plain blocks.
        shares_weights: all operations of a block use the same weights; otherwise each has its own.
    """
    options = choices[0].options
    operations = {index: family.operations[index] for index in options}
    if len(options) == 1:
        return family.make_stage(stage, [operations[options[0]]] * len(choices))
    if shares_weights:
        blocks = family.make_stage(stage, [operations[options[0]]] * len(choices))
        return [SharedWeightChoice(block, operations) for block in blocks]
    # One candidate stage per operation; block i chooses among the i-th blocks of all.
    candidates = [family.make_stage(stage, [op] * len(choices)) for op in operations.values()]
    return [
        OperationChoice(dict(zip(options, column, strict=True)))
        for column in zip(*candidates, strict=True)
    ]
