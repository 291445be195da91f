"""Blocks, MACs, parameters: costs that are counted, while a supernet runs on the meta device."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from random import Random
from typing import Any

import torch
from torch import nn

from crnas_d2.common.meta_device import without_norms
from crnas_d2.config import NetworkSpec
from crnas_d2.modeling import Supernet, find_supernet
from crnas_d2.space import COST_REGISTRY, AdditiveCost, Cost, Genotype, SearchSpace

from .counting import counting_macs, meta_body, meta_image


def single_path(body: nn.Module) -> tuple[Supernet, SearchSpace]:
    """Return the single-path supernet of a body, and its space."""
    supernet = find_supernet(body)
    assert supernet is not None and supernet.has_paths, "the body is not a single-path supernet"
    assert isinstance(supernet.space, SearchSpace)
    return supernet, supernet.space


class BlockEvents:
    """A context in which ``mark`` is called where a choice block begins and where it ends.

    By name of a choice, ``shapes`` has those of its block's input and output.
    """

    def __init__(self, supernet: Supernet, mark: Callable[[], None]):
        self.supernet, self.mark = supernet, mark
        self.shapes: dict[str, tuple[torch.Size, torch.Size]] = {}
        self._choices: list[str] = []  # by event: that whose block begins, or "" where one ends
        self._hooks = ExitStack()

    def __enter__(self) -> "BlockEvents":
        for name, blocks in self.supernet.choice_blocks.items():
            for block in blocks:
                begins, ends = partial(self._begin, name), partial(self._end, name)
                self._hooks.callback(block.register_forward_pre_hook(begins).remove)
                self._hooks.callback(block.register_forward_hook(ends).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _begin(self, name: str, *_: Any) -> None:
        self._choices.append(name)
        self.mark()

    def _end(self, name: str, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.shapes[name] = inputs[0].shape, output.shape
        self._choices.append("")
        self.mark()

    def own_parts(self, readings: Sequence[float]) -> dict[str, float]:
        """Return how much a meter rose in the block of each choice, without inner choices.

        Readings are those of the meter at each call of ``mark``.
        """
        own: dict[str, float] = {}
        running: list[tuple[str, float]] = []  # a branch of blocks contains inner choices
        inner: list[float] = [0]
        for name, reading in zip(self._choices, readings, strict=True):
            if name:
                running.append((name, reading))
                inner.append(0)
                continue
            name, before = running.pop()
            own[name] = reading - before - inner.pop()
            inner[-1] += reading - before
        return own


class CountedCost(Cost):
    """A cost that adds up over the modules of a network, on the meta device.

    A subclass defines in :meth:`count` what one call of one module costs. Every option is counted
    once, in a network that has it. That is exact, because an option changes no shape outside its
    block.
    """

    @abstractmethod
    def count(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> float:
        """Return the cost of one call of ``module``, without that of its children.

        Inputs and output are meta tensors, e.g. (N, C, H, W) with N = 1.
        """

    @contextmanager
    def counting(self, body: nn.Module) -> Iterator[Callable[[], float]]:
        """Count in a context; the function that it gives returns the count so far."""
        total: float = 0  # whole numbers stay whole

        def add(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            nonlocal total
            total += self.count(module, inputs, output)

        with ExitStack() as hooks:
            hooks.enter_context(without_norms())
            for module in body.modules():
                hooks.callback(module.register_forward_hook(add).remove)
            yield lambda: total

    def table(self, spec: NetworkSpec, input_size: tuple[int, int]) -> AdditiveCost:
        body, image = _meta_supernet(spec), meta_image(spec, input_size)
        supernet, space = single_path(body)
        options: dict[str, dict[int, float]] = {name: {} for name in space.names}
        bases: list[float] = []
        shapes: dict[str, tuple[torch.Size, torch.Size]] = {}
        readings: list[float] = []
        with torch.no_grad(), self.counting(body) as reading:
            for values in covering_values(space):
                supernet.set_path(space.genotype(values))
                before = reading()
                readings.clear()
                with BlockEvents(supernet, lambda: readings.append(reading())) as events:
                    body(image)
                own = events.own_parts(readings)
                # What is left of the whole body: stem, single layers and all else that is fixed.
                bases.append(reading() - before - sum(own.values()))
                for name, option in values.items():
                    # A choice without a block, or after the last output, costs nothing.
                    options[name].setdefault(option, own.get(name, 0))
                # Options that changed the shapes around them would not add up.
                for name, shape in events.shapes.items():
                    assert shapes.setdefault(name, shape) == shape, (name, shape, shapes[name])
        for choice in space.choices:
            assert set(options[choice.name]) == set(choice.options), choice
        assert all(math.isclose(base, bases[0]) for base in bases), bases
        return AdditiveCost(self.name, self.unit, space, options, bases[0])


@lru_cache(maxsize=1)
def _meta_supernet(spec: NetworkSpec) -> nn.Module:
    """Build the body once for all costs: with a branch for every depth it takes seconds."""
    return meta_body(spec)


def covering_values(space: SearchSpace, random: Random | None = None) -> Iterator[dict[str, int]]:
    """Yield the values of a few genotypes that contain every option of every choice.

    Their number is that of the options of the choice with the most; in a space with dependent
    choices, this once for the parents and once for the others. With ``random``, the options of
    each choice are shuffled.
    """
    orders: Mapping[str, Sequence[int]] = {
        c.name: random.sample(c.options, len(c.options)) if random else c.options
        for c in space.choices
    }
    parents = {root.name: children for root, children in space.groups if children}
    # First all options of the other choices. Parents take the option with the most active children,
    # so that all children are active.
    widest = {
        name: max(orders[name], key=lambda option: sum(option in c.active_for for c in children))
        for name, children in parents.items()
    }
    turning = [c.name for c in space.choices if c.name not in parents]
    for turn in range(max((len(orders[name]) for name in turning), default=0)):
        turns = {name: orders[name][turn % len(orders[name])] for name in turning}
        yield space.active({**turns, **widest})
    # Then all options of the parents.
    first = {name: order[0] for name, order in orders.items()}
    for turn in range(max((len(orders[name]) for name in parents), default=0)):
        turns = {name: orders[name][turn % len(orders[name])] for name in parents}
        yield space.active({**first, **turns})


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
        return sum(weight.numel() for part in holders for weight in part.parameters(recurse=False))


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
