"""What each family of backbones lets a search vary: the tables of the papers."""

from collections.abc import Sequence
from dataclasses import dataclass

from .genotype import Genotype
from .search_space import Choice, SearchSpace

__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True)
class Family:
    """The searchable structure of one family of backbones.

    Attributes:
        stages: names of the stages, from the highest resolution to the lowest.
        stage_options: the numbers of blocks that each stage may have.
        stage_weights: cost of one block of each stage, in blocks.
        baseline_depths: by network depth (``MODEL.RESNETS.DEPTH``), the published allocation.
    """

    stages: tuple[str, ...]
    stage_options: tuple[tuple[int, ...], ...]
    stage_weights: tuple[float, ...]
    baseline_depths: dict[int, tuple[int, ...]]

    def stage_space(self, options: Sequence[Sequence[int]] = ()) -> SearchSpace:
        """The stage reallocation space (CR-NAS section 3.2.1).

        Args:
            options: numbers of blocks per stage; empty: those of the paper.
        """
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


_UP_TO_TEN = tuple(range(1, 11))

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
    ),
}
