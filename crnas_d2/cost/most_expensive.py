"""The subnet of a supernet that takes the most memory and time."""

from crnas_d2.config import NetworkSpec
from crnas_d2.space import Genotype

from .counted import MACs


def most_expensive_path(
    spec: NetworkSpec, input_size: tuple[int, int] = (800, 1088)
) -> tuple[Genotype, int]:
    """Return the path with the most MACs, and its MACs in the backbone body.

    MACs add up over the choices, so it has the costliest option of each of them; of several with
    the same cost, the first.

    Args:
        spec: of a single-path supernet.
        input_size: (height, width) of the image, pixels.
    """
    cost = MACs().table(spec, input_size)
    values = cost.extreme(max)
    return cost.space.genotype(values), round(cost.of(values))
