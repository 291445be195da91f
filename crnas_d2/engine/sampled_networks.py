"""Random networks of the space of a search: its baseline, and what a score is judged on."""

from random import Random

from detectron2.config import CfgNode

from crnas_d2.common.errors import invalid
from crnas_d2.config import NetworkSpec
from crnas_d2.config.image_size import search_space
from crnas_d2.cost import build_budgets, build_cost, build_costs
from crnas_d2.search import sample_genotypes, sample_over_cost
from crnas_d2.space import Genotype, check_budgets

SAMPLINGS = ("random", "stratified")


def sample_networks(cfg: CfgNode, number: int, sampling: str = "random") -> list[Genotype]:
    """Sample different genotypes that satisfy ``SEARCH.BUDGET``, seeded by ``SEED``.

    In the channel space all networks have the MACs of the base, so no budget is checked.

    Args:
        sampling: ``random``, uniformly in each choice, so that a larger number adds networks to
            those of a smaller one; or ``stratified``, evenly over the range of MACs.
    """
    if number < 1:
        raise invalid("--number", number, "at least 1")
    spec = NetworkSpec.from_config(cfg)
    if not spec.is_supernet:
        space, sampler = cfg.MODEL.SUPERNET.SPACE, cfg.MODEL.SUPERNET.PATH_SAMPLER
        raise ValueError(
            f"MODEL.SUPERNET.SPACE is '{space}' with PATH_SAMPLER '{sampler}', which is one "
            "network: there is nothing to sample from. Name the config of a search."
        )
    seed = max(cfg.SEED, 0)
    if spec.is_searched_in_training:
        if sampling == "stratified":
            raise ValueError("All networks of a channel space have the same MACs: sample randomly.")
        assert spec.space is not None
        return [spec.space.sample(Random(f"{seed}/{index}")) for index in range(number)]
    space = search_space(cfg, spec)
    costs = build_costs(cfg, spec)
    budgets = build_budgets(cfg, costs)
    print(*check_budgets(space, budgets), sep="\n")
    if sampling == "random":
        return sample_genotypes(space, budgets, number, seed)
    macs = costs.get("MACS") or build_cost(cfg, spec, "MACS")
    return sample_over_cost(space, budgets, macs, number, seed)
