"""Random networks of the space of a search: its baseline, and what a score is judged on."""

from random import Random

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import MACs, build_budgets, build_costs
from crnas_d2.search import sample_genotypes, sample_over_cost
from crnas_d2.space import Genotype, check_budgets

SAMPLINGS = ("random", "stratified")


def sample_networks(cfg, number: int, sampling: str = "random") -> list[Genotype]:
    """Sample different genotypes that satisfy ``SEARCH.BUDGET``, seeded by ``SEED``.

    Args:
        cfg: of a search.
        sampling: ``random``, uniformly in each choice, so that a larger number adds networks to
            those of a smaller one; or ``stratified``, evenly over the range of MACs.

    Raises:
        ValueError: not that many networks, or no space to sample from. In the channel space all
            networks have the MACs of the base, so no budget is checked and nothing stratified.
    """
    if number < 1:
        raise ValueError(f"--number is {number}; expected at least 1.")
    spec = NetworkSpec.from_config(cfg)
    if not spec.is_supernet:
        raise ValueError(
            f"MODEL.SUPERNET.SPACE is '{cfg.MODEL.SUPERNET.SPACE}' with PATH_SAMPLER "
            f"'{cfg.MODEL.SUPERNET.PATH_SAMPLER}', which is one network: there is nothing to "
            "sample from. Name the config of a search."
        )
    seed = max(cfg.SEED, 0)
    if spec.is_searched_in_training:
        if sampling == "stratified":
            raise ValueError(
                "All networks of a channel space have the same MACs, so they cannot be sampled "
                "evenly over them: use random sampling."
            )
        return [spec.space.sample(Random(f"{seed}/{index}")) for index in range(number)]
    costs = build_costs(cfg, spec)
    budgets = build_budgets(cfg, costs)
    print(*check_budgets(spec.space, budgets), sep="\n")
    if sampling == "random":
        return sample_genotypes(spec.space, budgets, number, seed)
    macs = costs.get("MACS") or MACs().table(spec, tuple(cfg.SEARCH.COST_INPUT_SIZE))
    return sample_over_cost(spec.space, budgets, macs, number, seed)
