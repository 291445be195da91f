"""A cost: the number of activations, the outputs of all convolutions."""

from torch import nn

from crnas_d2 import COST_REGISTRY
from crnas_d2.cost import CountedCost


@COST_REGISTRY.register("ACTIVATIONS")
class Activations(CountedCost):
    """Elements in the outputs of convolutions (Radosavovic et al., CVPR 2020)."""

    unit = "activations"
    example = "[0, 2e6]"

    def count(self, module, inputs, output):
        return output.numel() if isinstance(module, nn.Conv2d) else 0
