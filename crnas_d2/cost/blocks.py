"""The number of blocks as a cost: CR-NAS's budget (section 3.2.1)."""

from crnas_d2.config import NetworkSpec
from crnas_d2.space import COST_REGISTRY, AdditiveCost, Cost, SearchSpace


@COST_REGISTRY.register("BLOCKS")
class Blocks(Cost):
    """The number of blocks, weighted by the ``block_costs`` of the family (CR-NAS, A.2)."""

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
            choice.name: {
                option: weights[choice.stage] * option if choice.field == "depths" else 0.0
                for option in choice.options
            }
            for choice in space.choices
        }
        return AdditiveCost(self.name, self.unit, space, options, base)
