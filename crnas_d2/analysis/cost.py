"""What a network costs: multiply-accumulate operations (MACs) and parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from detectron2.layers import ShapeSpec
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crnas_d2.layers import active_modules
from crnas_d2.modeling import build_supernet_backbone, find_supernet
from crnas_d2.space import Genotype, SearchSpace

__all__ = ["Cost", "CostTable", "body_cost", "count_macs", "count_parameters"]


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
    """The body's cost of every genotype of a space, each option measured once.

    Blocks of different choices do not see each other, so a genotype costs as much as a reference
    plus, for each choice, the difference that its option makes.
    """

    def __init__(self, cfg, space: SearchSpace, input_size: tuple[int, int]):
        body = _meta_body(cfg)
        supernet = find_supernet(body)
        assert supernet is not None, "the config builds a single network, not a supernet"
        reference = {choice.name: choice.options[0] for choice in space.choices}

        def measure(values: Mapping[str, int]) -> Cost:
            supernet.set_path(space.genotype(values))
            return _cost(body, input_size)

        self.space = space
        self.reference = measure(reference)
        self.differences = {
            (choice.name, option): measure({**reference, choice.name: option}) - self.reference
            for choice in space.choices
            for option in choice.options
        }

    def __call__(self, genotype: Genotype) -> Cost:
        differences = (self.differences[item] for item in self.space.values(genotype).items())
        return sum(differences, start=self.reference)


def _meta_body(cfg) -> nn.Module:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_supernet_backbone(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))).eval()


def _cost(body: nn.Module, input_size: tuple[int, int]) -> Cost:
    image = torch.empty(1, body.stem.in_channels, *input_size, device="meta")
    return Cost(count_macs(body, image), count_parameters(body))
