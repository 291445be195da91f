"""Which costs are compared with the fitness, and the candidates that no other one dominates."""

from collections.abc import Callable, Mapping, Sequence

from crnas_d2.search import Candidate
from crnas_d2.space import AdditiveCost, Genotype


def compared_costs(
    costs: Mapping[str, AdditiveCost], candidates: Sequence[Candidate], second_objective: str
) -> list[AdditiveCost]:
    """Return the second objective or, without one, every cost in which the candidates differ."""
    if second_objective in costs:
        return [costs[second_objective]]
    return [
        cost
        for cost in costs.values()
        if len({cost(candidate.genotype) for candidate in candidates}) > 1
    ]


def pareto_front(
    candidates: Sequence[Candidate], cost: Callable[[Genotype], float]
) -> list[Candidate]:
    """Return the candidates that no other one dominates in fitness and cost.

    Args:
        candidates: the best first, all with a fitness.

    Returns:
        the cheapest first; one of each group with equal fitness and cost.
    """
    front: list[Candidate] = []
    # From cheap to expensive, the best first at equal cost: a candidate is on the front if it has
    # a higher fitness than all before it.
    for candidate in sorted(candidates, key=lambda c: (cost(c.genotype), -c.fitness)):
        if not front or candidate.fitness > front[-1].fitness:
            front.append(candidate)
    return front
