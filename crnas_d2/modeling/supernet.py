"""What every supernet backbone can do, whatever its family."""

from collections.abc import Mapping

from torch import nn

from crnas_d2.layers import ChoiceBlock
from crnas_d2.space import Genotype, SearchSpace

__all__ = ["Supernet", "find_supernet"]


class Supernet:
    """Mix-in of backbones that hold the weights of a whole search space; the first base class.

    Args:
        space: the genotypes that it can run.
        choice_blocks: by the name of the choice, the modules that carry it out. A choice of a
            single option may have none.
        args, kwargs: of the backbone.

    Attributes:
        path: the active genotype, ``None`` before the first :meth:`set_path`.
    """

    path: Genotype | None = None

    def __init__(
        self, *args, space: SearchSpace, choice_blocks: Mapping[str, ChoiceBlock], **kwargs
    ):
        super().__init__(*args, **kwargs)
        self.space = space
        self.choice_blocks = choice_blocks

    def set_path(self, genotype: Genotype) -> None:
        """Switches to one subnet: until the next call, nothing off its path runs or changes.

        Raises:
            ValueError: the genotype lies outside the space.
        """
        for name, option in self.space.values(genotype).items():
            if name in self.choice_blocks:
                self.choice_blocks[name].choose(option)
        self.path = genotype


def find_supernet(model: nn.Module) -> Supernet | None:
    """The supernet backbone inside a detector, ``None`` in a network with a single path."""
    return next((module for module in model.modules() if isinstance(module, Supernet)), None)
