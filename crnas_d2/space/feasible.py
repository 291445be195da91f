"""List the feasible genotypes, and explain budgets that few or none satisfy."""

import logging
from collections.abc import Sequence
from random import Random

from crnas_d2.common.formats import format_quantity

from .budget import Budget, is_feasible
from .fraction import NOTHING, FeasibleFraction, feasible_fraction, iterate_feasible, total_counts
from .genotype import Genotype
from .search_space import SearchSpace

logger = logging.getLogger(__name__)

_MOST_LISTED = 1_000  # distinct totals; with more, an error message gives their range alone
_RARE = 1e-4  # smaller fractions give a warning: 10,000 samples may all be infeasible
_DRAWN = 10_000  # networks of a conditional space
_VACUOUS = 0.999  # larger ones are those of a limit that a search could do without


def feasible_genotypes(space: SearchSpace, budgets: Sequence[Budget] = ()) -> list[Genotype]:
    """Return all feasible genotypes, in lexicographic order; raise ValueError if there is none."""
    found = [space.genotype(values) for values in iterate_feasible(space, budgets)]
    if not found:
        raise ValueError(_explain(space, budgets))
    return found


def check_budgets(space: SearchSpace, budgets: Sequence[Budget]) -> list[str]:
    """Raise ValueError for limits that no genotype satisfies; warn if almost none does.

    In a large space the feasible fraction may be an estimate. Limits that exclude each other, or
    latencies that no genotype has, then only give a warning. Return lines for the log: one per
    budget, and one for all together if there are several.
    """
    fractions = [feasible_fraction(space, (budget,)) for budget in budgets]
    together = fractions[0] if len(budgets) == 1 else feasible_fraction(space, budgets)
    if NOTHING in (*fractions, together):
        raise ValueError(_explain(space, budgets))
    lines = list(map(_describe, budgets, fractions))
    if len(budgets) > 1:
        lines.append(f"{together} of the space satisfies these limits together")
    drawn = together.value
    if budgets and space.is_conditional:
        # A search draws the depths first, each as likely; most genotypes have the largest ones.
        random = Random(0)
        samples = (space.sample(random) for _ in range(_DRAWN))
        drawn = sum(is_feasible(sample, budgets) for sample in samples) / _DRAWN
        lines.append(f"{100 * drawn:.2g} % of the networks that a search draws satisfy the limits")
    if drawn < _RARE:
        words = "Almost no genotype satisfies SEARCH.BUDGET, and a search may take long to find one"
        logger.warning("%s: %s. Widen the limits.", words, "; ".join(lines))
    return lines


def _describe(budget: Budget, fraction: FeasibleFraction) -> str:
    least, greatest = map(format_quantity, budget.cost.range)
    hint = ", so it excludes almost nothing" if _VACUOUS < fraction.value < 1 else ""
    return (
        f"{least} to {greatest} {budget.cost.unit} reachable, {fraction} of the space satisfies "
        f"{budget.limits}{hint}"
    )


def _explain(space: SearchSpace, budgets: Sequence[Budget]) -> str:
    """Return the reason why no genotype is feasible."""
    fractions = [feasible_fraction(space, (budget,)) for budget in budgets]
    if NOTHING not in fractions:
        return (
            "No genotype satisfies all limits of SEARCH.BUDGET, though some satisfy each: "
            f"{'; '.join(map(_describe, budgets, fractions))}. Widen one of them, or set it to []."
        )
    budget = budgets[fractions.index(NOTHING)]  # the simpler reason
    totals = total_counts(budget.cost, _MOST_LISTED)
    if totals is None:
        least, greatest = map(format_quantity, budget.cost.range)
        reachable = f"Reachable: {least} to {greatest} {budget.cost.unit}"
        fix = "Choose wider limits, within that range."
    else:
        reachable = f"Reachable totals: {_ranges(sorted(totals))} {budget.cost.unit}"
        fix = "Choose limits that include one of them."
    return f"No genotype satisfies {budget.limits}. {reachable}. {fix}"


def _ranges(numbers: Sequence[float]) -> str:
    """Format ``[4, 5, 6, 9]`` as ``4-6, 9`` (consecutive whole numbers are joined)."""
    runs: list[list[float]] = []
    for number in numbers:
        if not runs or number != runs[-1][-1] + 1:
            runs.append([])
        runs[-1].append(number)
    ends = [[format_quantity(end) for end in (run[0], run[-1])] for run in runs]
    parts = [first if first == last else f"{first}-{last}" for first, last in ends]
    return ", ".join(parts if len(parts) <= 12 else [*parts[:6], "...", *parts[-6:]])
