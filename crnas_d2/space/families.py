"""What each family of backbones lets a search vary: the tables of the papers."""

from collections.abc import Sequence
from dataclasses import dataclass

from .genotype import Genotype
from .search_space import Choice, SearchSpace

__all__ = ["DILATIONS", "FAMILIES", "Family"]

# CR-NAS's operations (section 3.2.2): the dilation of a block's 3x3 convolution, by code.
DILATIONS = (1, 2, 3)


@dataclass(frozen=True)
class Family:
    """The searchable structure of one family of backbones.

    Attributes:
        stages: names of the stages, from the highest resolution to the lowest.
        stage_options: the numbers of blocks that each stage may have; empty: no paper varies them.
        stage_weights: cost of one block of each stage, in blocks.
        baseline_depths: by number of layers, the published allocation.
        depth_section: the section of ``MODEL`` whose ``DEPTH`` is the number of layers; empty where
            there is one published allocation.
        operations: what a block may do; a genotype has the index of one of them per block.
        without_operations: stages whose blocks know the first operation only.
        shares_weights: whether all operations of a block can use the same weights.
        has_channel_space: whether NATS searches the channels of its convolutions.
    """

    stages: tuple[str, ...]
    stage_options: tuple[tuple[int, ...], ...]
    stage_weights: tuple[float, ...]
    baseline_depths: dict[int, tuple[int, ...]]
    depth_section: str = ""
    operations: tuple[str, ...] = tuple(f"dilation {dilation}" for dilation in DILATIONS)
    without_operations: frozenset[str] = frozenset()
    shares_weights: bool = True
    has_channel_space: bool = False

    def stage_space(self, options: Sequence[Sequence[int]] = ()) -> SearchSpace:
        """The stage reallocation space (CR-NAS section 3.2.1).

        Args:
            options: numbers of blocks per stage; empty: those of the paper.
        """
        assert self.stage_options, "this family has no stage space"
        options = options or self.stage_options
        if len(options) != len(self.stages):
            raise ValueError(
                f"MODEL.SUPERNET.STAGE_OPTIONS has {len(options)} lists; expected one for each "
                f"of {', '.join(self.stages)}."
            )
        choices = []
        for stage, numbers in zip(self.stages, options, strict=True):
            # A list of depths obeys the rules of a genotype: whole numbers of at least 1.
            choices.append(Choice(f"{stage}.depth", Genotype(depths=tuple(numbers)).depths))
        return SearchSpace(kind="stage", field="depths", choices=tuple(choices))

    def operation_space(self, depths: Sequence[int]) -> SearchSpace:
        """The space of one operation per block (CR-NAS section 3.2.2, DetNAS section 3.2).

        Args:
            depths: the number of blocks of each stage, which all genotypes have in common.
        """
        choices = tuple(
            Choice(f"{stage}.{index}.op", self.operations_of(stage))
            for stage, depth in zip(self.stages, depths, strict=True)
            for index in range(depth)
        )
        base = Genotype(depths=tuple(depths))
        return SearchSpace(kind="operation", field="ops", choices=choices, base=base)

    def operations_of(self, stage: str) -> tuple[int, ...]:
        """The indices of the operations that the blocks of ``stage`` may have."""
        return (0,) if stage in self.without_operations else tuple(range(len(self.operations)))


_UP_TO_FIVE, _UP_TO_TEN = tuple(range(1, 6)), tuple(range(1, 11))

FAMILIES: dict[str, Family] = {
    # ResNeXt is this family with MODEL.RESNETS.NUM_GROUPS > 1; CR-NAS (A.2) gives it the same
    # space. The sets hold 374 allocations of 33 blocks where the paper speaks of 332, and not
    # the 15 of its ResNeXt-101: we follow the sets, STAGE_OPTIONS changes them.
    "resnet": Family(
        stages=("res2", "res3", "res4", "res5"),
        stage_options=(
            _UP_TO_TEN,
            _UP_TO_TEN,
            (2, 3, 5, 6, 9, 11, 14, 17, 20, 23),
            (2, 3, 4, 6, 7, 9, 11, 13, 15, 17),
        ),
        stage_weights=(1.0, 1.0, 1.0, 1.0),
        baseline_depths={
            18: (2, 2, 2, 2),
            34: (3, 4, 6, 3),
            50: (3, 4, 6, 3),
            101: (3, 4, 23, 3),
            152: (3, 8, 36, 3),
        },
        depth_section="RESNETS",
        has_channel_space=True,
    ),
    # All that CR-NAS (A.2) counts: the stem, seven stages of inverted residual blocks named by
    # their channels, and the two convolutions of the tail, of which the last one is the
    # classifier's. It varies five of the stages, whose blocks differ in cost.
    "mobilenetv2": Family(
        stages=("stem", "c16", "c24", "c32", "c64", "c96", "c160", "c320", "tail", "classifier"),
        stage_options=(
            (1,),
            (1,),
            _UP_TO_FIVE,
            _UP_TO_FIVE,
            tuple(range(3, 8)),
            tuple(range(2, 7)),
            tuple(range(2, 7)),
            (1,),
            (1,),
            (1,),
        ),
        stage_weights=(0.0, 0.0, 1.5, 1.0, 1.0, 0.75, 1.25, 0.0, 0.0, 0.0),
        baseline_depths={20: (1, 1, 2, 3, 4, 3, 3, 1, 1, 1)},
        without_operations=frozenset({"stem", "tail", "classifier"}),
    ),
    # DetNAS, section 3.2 and table 2: search spaces 1 (20 blocks) and 2 (40 blocks, wider). What
    # varies is the block alone.
    "shufflenetv2": Family(
        stages=("res2", "res3", "res4", "res5"),
        stage_options=(),
        stage_weights=(),
        baseline_depths={20: (4, 4, 8, 4), 40: (8, 8, 16, 8)},
        depth_section="SHUFFLENETV2",
        operations=("kernel 3", "kernel 5", "kernel 7", "xception"),
        shares_weights=False,
    ),
}
