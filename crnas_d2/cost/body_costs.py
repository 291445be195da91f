"""The registered costs of a body that are counted: blocks, MACs and parameters."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from torch import nn

from crnas_d2.config import NetworkSpec
from crnas_d2.space import COST_REGISTRY, AdditiveCost, Cost, Genotype, SearchSpace

from .counted import CountedCost
from .counting import counting_macs


@COST_REGISTRY.register("BLOCKS")
class Blocks(Cost):
    """CR-NAS's budget (section 3.2.1): blocks, weighted by the family's ``block_costs`` (A.2)."""

    unit = "blocks"
    example = "[16, 16]"

    def table(self, spec: NetworkSpec, input_size: tuple[int, int]) -> AdditiveCost:
        family, space = spec.family, spec.space
        assert isinstance(space, SearchSpace), spec
        costs = family.block_costs or (1.0,) * len(family.stages)
        weights = dict(zip(family.stages, costs, strict=True))
        # Depths of the genotype are those that the space does not vary: all networks share them.
        fixed = zip(family.stages, spec.genotype.depths, strict=False)
        base = sum(weights[stage] * depth for stage, depth in fixed)
        # Any other choice than a depth leaves the number of blocks as it is.
        options = {
            c.name: {o: weights[c.stage] * o if c.field == "depths" else 0.0 for o in c.options}
            for c in space.choices
        }
        return AdditiveCost(self.name, self.unit, space, options, base)


@COST_REGISTRY.register("MACS")
class MACs(CountedCost):
    """Multiply-accumulate operations of convolutions and linear layers, for one image."""

    unit = "MACs"
    example = "[0, 300e6]"

    @contextmanager
    def counting(self, body: nn.Module) -> Iterator[Callable[[], int]]:
        with counting_macs() as reading:
            yield reading

    def count(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> float:
        raise AssertionError("operations are counted, not modules")

    def table(self, spec: NetworkSpec, input_size: tuple[int, int]) -> AdditiveCost:
        return _macs_table(spec, tuple(input_size))


@lru_cache(maxsize=32)
def _macs_table(spec: NetworkSpec, input_size: tuple[int, int]) -> AdditiveCost:
    """Count once: a search limits MACs, reports them, and plans with them."""
    return CountedCost.table(MACs(), spec, input_size)


@COST_REGISTRY.register("PARAMETERS")
class Parameters(CountedCost):
    """Parameters of all modules that run, trainable or not."""

    unit = "parameters"
    example = "[0, 5e6]"

    def count(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int:
        lists = (nn.ParameterList, nn.ParameterDict)  # never called, so counted with their parent
        holders = [module, *(child for child in module.children() if isinstance(child, lists))]
        return sum(
            parameter.numel() for part in holders for parameter in part.parameters(recurse=False)
        )


def most_expensive_path(
    spec: NetworkSpec, input_size: tuple[int, int] = (800, 1088)
) -> tuple[Genotype, int]:
    """Return the path of a single-path supernet with the most MACs, and its MACs in the body.

    MACs add up over the choices, so it has the most expensive option of each; of equal ones, the
    first. The size is the (height, width) of the image, pixels.
    """
    cost = MACs().table(spec, input_size)
    values = cost.extreme(max)
    return cost.space.genotype(values), round(cost.of(values))
