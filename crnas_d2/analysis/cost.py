"""What a network costs: multiply-accumulate operations (MACs) and parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from detectron2.layers import ShapeSpec
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crnas_d2.layers import ChoiceBlock, active_modules
from crnas_d2.modeling import Supernet, build_supernet_backbone, find_supernet
from crnas_d2.space import Budget, Genotype, SearchSpace

__all__ = ["Cost", "CostTable", "body_cost", "choice_blocks", "count_macs", "count_parameters"]


@dataclass(frozen=True)
class Cost:
    """Attributes:
    macs: of convolutions and linear layers, for one image.
    parameters: trainable or not, on the active path.
    """

    macs: int
    parameters: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.macs + other.macs, self.parameters + other.parameters)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.macs - other.macs, self.parameters - other.parameters)


def count_macs(module: nn.Module, *inputs) -> int:
    """MACs of ``module(*inputs)``; with meta tensors nothing is computed."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2  # the counter takes a multiply-add for two operations


def count_parameters(module: nn.Module) -> int:
    """Parameters on the active path of a supernet; all of them in any other network."""
    return sum(
        parameter.numel()
        for part in active_modules(module)
        for parameter in part.parameters(recurse=False)
    )


def body_cost(cfg, input_size: tuple[int, int]) -> Cost:
    """The backbone without neck of the one network that ``cfg`` builds.

    Args:
        input_size: (height, width) of the image, pixels.
    """
    return _cost(_meta_body(cfg), input_size)


class CostTable:
    """The body's cost of every genotype of a space, from as many passes as a choice has options.

    A genotype costs what its options cost, plus what all genotypes have in common. Exact, for an
    option changes no shape outside of its block.

    Attributes:
        space: the genotypes.
        costs: by choice, in their order, the cost of each option.
        base: what all genotypes have in common, all of it but the blocks of the choices.
        input_size: (height, width) of the image, pixels.
    """

    def __init__(self, cfg, space: SearchSpace, input_size: tuple[int, int]):
        """
        Args:
            cfg: of a supernet.
            input_size: (height, width) of the image, pixels.
        """
        body = _meta_body(cfg)
        supernet = find_supernet(body)
        assert supernet is not None, "the config builds a single network, not a supernet"
        self.space = space
        self.input_size = input_size
        self.costs: tuple[dict[int, Cost], ...] = tuple({} for _ in space.choices)
        rests, shapes = set(), set()
        with _BlockCounter(choice_blocks(supernet, space)) as counter:
            for turn in range(max(len(choice.options) for choice in space.choices)):
                options = [
                    choice.options[min(turn, len(choice.options) - 1)] for choice in space.choices
                ]
                supernet.set_path(space.genotype(dict(zip(space.names, options, strict=True))))
                whole = counter.run(body, input_size)
                for index, (costs, option) in enumerate(zip(self.costs, options, strict=True)):
                    costs[option] = counter.costs.get(index, Cost(0, 0))
                rests.add(whole - sum(counter.costs.values(), start=Cost(0, 0)))
                shapes.add(tuple(counter.shapes))
        assert len(rests) == len(shapes) == 1, (rests, shapes)
        [self.base] = rests

    def __call__(self, genotype: Genotype) -> Cost:
        options = self.space.values(genotype).values()
        costs = (costs[option] for costs, option in zip(self.costs, options, strict=True))
        return sum(costs, start=self.base)

    def budget(
        self, key: str, limits: tuple[float, float], quantity: Literal["macs", "parameters"]
    ) -> Budget:
        """A limit on one of the two costs.

        Args:
            key: the config key that sets it.
            limits: (least, most).
        """
        costs = tuple(
            {option: getattr(cost, quantity) for option, cost in costs.items()}
            for costs in self.costs
        )
        unit = {"macs": "MACs", "parameters": "parameters"}[quantity]
        return Budget(key, *limits, costs, getattr(self.base, quantity), unit)


def choice_blocks(supernet: Supernet, space: SearchSpace) -> dict[int, ChoiceBlock]:
    """The modules that carry out the choices of a space, by the places of the choices in it.

    A choice of a single option may have none; one behind the last output never runs.
    """
    blocks = supernet.choice_blocks
    return {index: blocks[name] for index, name in enumerate(space.names) if name in blocks}


class _BlockCounter:
    """Counts what each block costs while the body that holds it runs.

    Attributes:
        costs: of the last run, by the number of each block that took part.
        shapes: of the last run, the number of each block and the shapes of its input and output.
    """

    def __init__(self, blocks: Mapping[int, nn.Module]):
        self.blocks = blocks
        self.handles = []

    def __enter__(self) -> "_BlockCounter":
        for number, block in self.blocks.items():
            self.handles += [
                block.register_forward_pre_hook(partial(self._before, number)),
                block.register_forward_hook(partial(self._after, number)),
            ]
        return self

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()

    def run(self, body: nn.Module, input_size: tuple[int, int]) -> Cost:
        """The cost of the body as a whole."""
        self.costs, self.shapes = {}, []
        with torch.no_grad(), FlopCounterMode(display=False) as self.counter:
            body(_meta_image(body, input_size))
        return Cost(self.counter.get_total_flops() // 2, count_parameters(body))

    def _before(self, number: int, block: nn.Module, inputs) -> None:
        self.flops = self.counter.get_total_flops()

    def _after(self, number: int, block: nn.Module, inputs, output: torch.Tensor) -> None:
        macs = (self.counter.get_total_flops() - self.flops) // 2
        self.costs[number] = Cost(macs, count_parameters(block))
        self.shapes.append((number, inputs[0].shape, output.shape))


def _meta_body(cfg) -> nn.Module:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_supernet_backbone(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))).eval()


def _meta_image(body: nn.Module, size: tuple[int, int]) -> torch.Tensor:
    return torch.empty(1, body.stem.in_channels, *size, device="meta")


def _cost(body: nn.Module, input_size: tuple[int, int]) -> Cost:
    return Cost(count_macs(body, _meta_image(body, input_size)), count_parameters(body))
