"""The spaces of blocks: their numbers (CR-NAS 3.2.1), operations (3.2.2; DetNAS 3.2), or both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase

from crnas_d2.common.errors import invalid
from crnas_d2.layers import (
    BranchDepthChoice,
    ChoiceBlock,
    OperationChoice,
    PrefixDepthChoice,
    SharedWeightChoice,
)
from crnas_d2.modeling.single_path import SinglePathKind, Stage
from crnas_d2.space import FAMILY_REGISTRY, SPACE_REGISTRY, Choice, Family, Genotype, SearchSpace

_STAGE_OPTIONS = "MODEL.SUPERNET.STAGE_OPTIONS"


@dataclass(eq=False)
class BlockKind(SinglePathKind):
    """Choices of blocks: how many a stage has, what each does, or both, as ``fields`` says."""

    options: Sequence[Sequence[int]] = ()  # blocks, a list per stage; empty for the family's
    operations: Sequence[int] = ()  # indices of those to choose from; empty for all of the family

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        keys = {"depths": ("options", "STAGE_OPTIONS"), "ops": ("operations", "OPERATION_OPTIONS")}
        settings = (keys[field] for field in cls.fields)
        return {name: cfg.MODEL.SUPERNET[key] for name, key in settings}

    def build_space(self, family: Family, genotype: Genotype) -> SearchSpace:
        has_depths, has_ops = "depths" in self.fields, "ops" in self.fields
        if has_ops:
            self._check_operations(family)
        options = self._depths(family) if has_depths else [(depth,) for depth in genotype.depths]
        choices = []
        for stage, depths in zip(family.stages, options, strict=True):
            name = f"{stage}.depth"
            if has_depths:
                choices.append(Choice(name, depths, field="depths", stage=stage))
            # A single layer has nothing to choose from.
            known = family.operations_of(stage)
            chosen = tuple(self.operations) if self.operations and len(known) > 1 else known
            for block in range(max(depths) if has_ops else 0):
                place: dict[str, Any] = {"stage": stage, "block": block}
                if has_depths:  # a block may not exist at every depth
                    place |= {"parent": name, "active_for": tuple(n for n in depths if n > block)}
                choices.append(Choice(f"{stage}.{block}.op", chosen, field="ops", **place))
        base = Genotype() if has_depths else Genotype(depths=genotype.depths)
        return SearchSpace(self.name, tuple(choices), base)

    def check(self, family: Family, sharing: str) -> None:
        super().check(family, sharing)
        if "weight" in sharing and not all(op.change for op in family.operations):
            names = ", ".join(operation.name for operation in family.operations)
            but = f"the operations of the family '{family.name}' ({names}) have weights of "
            but += "different shapes and, unlike dilations, cannot share them"
            raise invalid("MODEL.SUPERNET.SHARING", sharing, but=but, fix="Set it to 'none'")

    def build_stage(self, stage: str, family: Family, space: SearchSpace, sharing: str) -> Stage:
        choices = [choice for choice in space.choices if choice.stage == stage]
        operations = [choice for choice in choices if choice.field == "ops"]
        choice_blocks: dict[str, list[ChoiceBlock]] = {choice.name: [] for choice in operations}

        def make_blocks(number: int) -> list[CNNBlockBase]:
            """Build the first blocks of a stage, each a choice if there are several operations."""
            # Without prefix sharing, this is called for each branch of the stage, so that one
            # choice has several choice blocks.
            indices = operations[0].options if operations else (0,)
            ops = {index: family.operations[index] for index in indices}
            blocks: list[Any]
            if len(ops) == 1 or "weight" in sharing:
                blocks = family.make_stage(stage, [ops[indices[0]]] * number)
                if len(ops) == 1:
                    return blocks
                blocks = [SharedWeightChoice(block, ops) for block in blocks]
            else:  # one candidate stage per operation; block i chooses among the i-th blocks of all
                candidates = [family.make_stage(stage, [op] * number) for op in ops.values()]
                columns = (dict(zip(ops, c, strict=True)) for c in zip(*candidates, strict=True))
                blocks = [OperationChoice(column) for column in columns]
            for choice, block in zip(operations[:number], blocks, strict=True):
                choice_blocks[choice.name].append(block)
            return blocks

        if choices[0].field == "ops":
            return make_blocks(len(operations)), choice_blocks
        depth = choices[0]
        if len(depth.options) == 1:
            return make_blocks(depth.options[0]), choice_blocks
        if "prefix" in sharing:
            block = PrefixDepthChoice(make_blocks(max(depth.options)), depth.options)
        else:
            block = BranchDepthChoice({number: make_blocks(number) for number in depth.options})
        return [block], {depth.name: [block], **choice_blocks}

    def _depths(self, family: Family) -> list[tuple[int, ...]]:
        """Return the numbers of blocks to choose from, per stage."""
        options, stages = self.options or family.stage_options, ", ".join(family.stages)
        if not options:
            others = [name for name, other in FAMILY_REGISTRY if other.stage_options]
            but = "no paper gives numbers of blocks to choose from for the family "
            but += f"'{family.name}' (those of {', '.join(others)} have some)"
            fix = f"Set {_STAGE_OPTIONS} to a list for each of {stages}"
            raise invalid("MODEL.SUPERNET.SPACE", self.name, but=but, fix=fix)
        if len(options) != len(family.stages):
            raise ValueError(
                f"{_STAGE_OPTIONS} has {len(options)} lists; expected one for each of {stages}."
            )
        for stage, numbers in zip(family.stages, options, strict=True):
            family.check_depths(_STAGE_OPTIONS, stage, numbers)
        # Genotype checks what holds for any list of depths: whole numbers of at least 1.
        return [Genotype(depths=tuple(numbers)).depths for numbers in options]

    def _check_operations(self, family: Family) -> None:
        known, chosen = range(len(family.operations)), list(self.operations)
        if len(known) < 2:
            but = f"the blocks of the family '{family.name}' have only one operation "
            but += f"({family.operations[0].name})"
            fix = "Set MODEL.SUPERNET.SPACE to 'stage', or MODEL.SUPERNET.FAMILY to another"
            raise invalid("MODEL.SUPERNET.SPACE", self.name, but=but, fix=fix)
        if len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
            names = ", ".join(f"{i} ({family.operations[i].name})" for i in known)
            raise invalid("MODEL.SUPERNET.OPERATION_OPTIONS", chosen, f"different ones of {names}")


@SPACE_REGISTRY.register("stage")
class StageKind(BlockKind):
    """One choice per stage: its number of blocks (CR-NAS section 3.2.1)."""

    fields = ("depths",)
    sharings = ("none", "prefix")


@SPACE_REGISTRY.register("operation")
class OperationKind(BlockKind):
    """One choice per block: its operation. The depths are those of ``MODEL.GENOTYPE``."""

    fields = ("ops",)
    base_fields = ("depths",)
    sharings = ("none", "weight")


@SPACE_REGISTRY.register("joint")
class JointKind(BlockKind):
    """Depths and operations of the blocks within them; CR-NAS searches one after the other."""

    fields = ("depths", "ops")
    sharings = ("none", "prefix", "weight", "prefix+weight")
