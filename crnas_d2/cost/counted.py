"""Costs that are counted while a supernet runs on shapes alone."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from random import Random

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crnas_d2.config import NetworkSpec
from crnas_d2.modeling import SinglePathSupernet, find_supernet
from crnas_d2.space import COST_REGISTRY, AdditiveCost, Cost, SearchSpace

from .counting import meta_body, meta_image

__all__ = ["CountedCost", "MACs", "Parameters", "covering_values"]


class CountedCost(Cost):
    """A cost that adds up over the modules of a network, on the meta device.

    A subclass says in :meth:`count` what one call of one module costs. Every option is counted
    once, in a network that has it: exact, because an option changes no shape outside of its block.
    """

    @abstractmethod
    def count(self, module: nn.Module, inputs: tuple, output) -> float:
        """What a call of ``module`` costs by itself; its children are counted by themselves.

        Args:
            inputs, output: meta tensors: (N, C, H, W) with N = 1.
        """

    @contextmanager
    def counting(self, body: nn.Module) -> Iterator[Callable[[], float]]:
        """A context in which a function tells what has been counted so far."""
        total = 0

        def add(module: nn.Module, inputs: tuple, output) -> None:
            nonlocal total
            total += self.count(module, inputs, output)

        with ExitStack() as stack:
            for module in body.modules():
                stack.callback(module.register_forward_hook(add).remove)
            yield lambda: total

    def table(self, spec: NetworkSpec, input_size: tuple[int, int]) -> AdditiveCost:
        body, image = _meta_supernet(spec), meta_image(spec, input_size)
        supernet = find_supernet(body)
        assert isinstance(supernet, SinglePathSupernet), spec.mode
        space = supernet.space
        options: dict[str, dict[int, float]] = {name: {} for name in space.names}
        bases, shapes = [], {}
        with torch.no_grad(), self.counting(body) as reading, _Blocks(supernet, reading) as blocks:
            for values in covering_values(space):
                supernet.set_path(space.genotype(values))
                before = reading()
                own = blocks.run(lambda: body(image))
                bases.append(reading() - before - sum(own.values()))
                for name, option in values.items():
                    # A choice without a block of its own, or behind the last output, is free.
                    options[name].setdefault(option, own.get(name, 0))
                for name, shape in blocks.shapes.items():
                    assert shapes.setdefault(name, shape) == shape, (name, shape, shapes[name])
        for choice in space.choices:
            assert set(options[choice.name]) == set(choice.options), choice
        assert all(math.isclose(base, bases[0]) for base in bases), bases
        return AdditiveCost(self.name, self.unit, space, options, bases[0])


@COST_REGISTRY.register("MACS")
class MACs(CountedCost):
    """Multiply-accumulate operations of convolutions and linear layers, for one image."""

    unit = "MACs"
    example = "[0, 300e6]"

    @contextmanager
    def counting(self, body: nn.Module) -> Iterator[Callable[[], int]]:
        with FlopCounterMode(display=False) as counter:
            # The counter takes a multiply-add for two operations.
            yield lambda: counter.get_total_flops() // 2

    def count(self, module, inputs, output):
        raise AssertionError("operations are counted, not modules")


@COST_REGISTRY.register("PARAMETERS")
class Parameters(CountedCost):
    """Parameters of all that runs, trainable or not."""

    unit = "parameters"
    example = "[0, 5e6]"

    def count(self, module: nn.Module, inputs: tuple, output) -> int:
        lists = (nn.ParameterList, nn.ParameterDict)  # modules that are never called
        holders = [module, *(child for child in module.children() if isinstance(child, lists))]
        return sum(
            parameter.numel() for part in holders for parameter in part.parameters(recurse=False)
        )


@lru_cache(maxsize=1)
def _meta_supernet(spec: NetworkSpec) -> nn.Module:
    """Built once for all costs: it takes seconds where every depth has a branch of its own."""
    return meta_body(spec)


class _Blocks:
    """Reads what each choice block adds while the body that holds it runs.

    Attributes:
        shapes: of the last run, by name of a choice, the shapes of its block's input and output.
    """

    def __init__(self, supernet: SinglePathSupernet, reading: Callable[[], float]):
        self.supernet = supernet
        self.reading = reading

    def __enter__(self) -> "_Blocks":
        self.handles = []
        for name, blocks in self.supernet.choice_blocks.items():
            for block in blocks:
                self.handles += [
                    block.register_forward_pre_hook(lambda *_, name=name: self._enter(name)),
                    block.register_forward_hook(
                        lambda _, x, y, name=name: self._leave(name, x[0], y)
                    ),
                ]
        return self

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()

    def run(self, forward: Callable[[], object]) -> dict[str, float]:
        """By name of each choice whose block has run, what it costs without inner choices."""
        self.own: dict[str, float] = {}
        self.shapes: dict[str, tuple] = {}
        self.open: list[list[float]] = []  # of each block that runs: [reading before, inner cost]
        forward()
        return self.own

    def _enter(self, name: str) -> None:
        self.open.append([self.reading(), 0])

    def _leave(self, name: str, x: torch.Tensor, y: torch.Tensor) -> None:
        before, inner = self.open.pop()
        whole = self.reading() - before
        self.own[name] = whole - inner
        self.shapes[name] = (x.shape, y.shape)
        if self.open:
            self.open[-1][1] += whole


def covering_values(space: SearchSpace, random: Random | None = None) -> Iterator[dict[str, int]]:
    """Values of genotypes in which every option of every choice occurs.

    Args:
        random: of the order in which the options of each choice come; default: their own.
    """
    orders: Mapping[str, Sequence[int]] = {
        c.name: random.sample(c.options, len(c.options)) if random else c.options
        for c in space.choices
    }
    parents = {root.name: children for root, children in space.groups if children}
    # First the choices that depend on others, which are then all active.
    widest = {
        name: max(orders[name], key=lambda option: sum(option in c.active_for for c in children))
        for name, children in parents.items()
    }
    turning = [c.name for c in space.choices if c.name not in parents]
    for turn in range(max((len(orders[name]) for name in turning), default=0)):
        turns = {name: orders[name][turn % len(orders[name])] for name in turning}
        yield space.active({**turns, **widest})
    first = {name: order[0] for name, order in orders.items()}
    for turn in range(max((len(orders[name]) for name in parents), default=0)):
        turns = {name: orders[name][turn % len(orders[name])] for name in parents}
        yield space.active({**first, **turns})
