"""The interface of a supernet: what a training, a search and a cost ask of it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from torch import nn

from crnas_d2.layers import ChoiceBlock
from crnas_d2.space import ChannelSpace, Genotype, SearchSpace


class Supernet:
    """The search space of a body, and the operations on it.

    The body is a backbone like any other; its attribute ``supernet`` is this object, which refers
    to modules of the body and has no weights of its own. The defaults are those of a supernet that
    runs whole and whose training finds nothing.
    """

    space: SearchSpace | ChannelSpace
    has_paths: bool = False  # whether it runs one subnet at a time, see SinglePathSupernet
    path: Genotype | None = None  # the active one; None before set_path(), or without paths
    # With paths, the modules that implement each choice, by its name; costs are counted in them.
    choice_blocks: Mapping[str, Sequence[ChoiceBlock]] = MappingProxyType({})

    def set_path(self, genotype: Genotype) -> None:
        """Switch to one subnet: until the next call, nothing off its path runs or changes.

        Raises:
            ValueError: the genotype is not in the space.
        """
        raise NotImplementedError(f"{type(self).__name__} has no paths")

    @property
    def alphas(self) -> list[nn.Parameter]:
        """The parameters of the architecture, which the optimizer of the weights leaves out."""
        return []

    def decode(self) -> Genotype | None:
        """Return the genotype found so far, which is scored in place of the supernet.

        ``None`` if only a search finds one.
        """
        return None

    def summary(self) -> dict[str, float]:
        """Return scalars by name that show the progress of the training."""
        return {}


def find_supernet(model: nn.Module) -> Supernet | None:
    """Return the supernet inside a detector or a backbone, or ``None`` if there is none."""
    found = (getattr(module, "supernet", None) for module in model.modules())
    return next((supernet for supernet in found if isinstance(supernet, Supernet)), None)
