"""The feasible fraction of a space: counted if that is fast, otherwise estimated."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from .budget import Budget
from .cost import AdditiveCost, CostBySize
from .search_space import IMAGE_SIZE, Choice, SearchSpace, num_completions

_MOST_COUNTED = 100_000  # genotypes that are counted one by one
_MOST_TOTALS = 100_000  # distinct totals of half the choices; with more, genotypes are sampled
_SAMPLES = 100_000  # the standard error of a fraction of 1e-4 is a third of it
# Relative tolerance: rounding of partial sums must not prune a prefix.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class FeasibleFraction:
    """The fraction of all genotypes that is feasible, counted or estimated by uniform samples."""

    value: float
    is_exact: bool

    def __str__(self) -> str:
        about = "" if self.is_exact else "about "
        if 0.9995 <= self.value < 1:  # which three digits would show as 100
            return f"all but {about}{100 * (1 - self.value):.2g} %"
        if self.is_exact or self.value:
            return f"{about}{100 * self.value:.3g} %"
        # Rule of three: the 95 % upper bound after so many samples without a feasible one.
        return f"less than {300 / _SAMPLES:.3g} %"


NOTHING = FeasibleFraction(0.0, True)


def feasible_fraction(space: SearchSpace, budgets: Sequence[Budget]) -> FeasibleFraction:
    """Return the fraction of all genotypes that satisfies all budgets.

    Small spaces are counted one by one. Large ones are counted by their totals if there is one
    budget without too many distinct totals, as for MACs and parameters. Otherwise (several budgets,
    latencies) 100,000 genotypes are sampled. Each takes less than about a second.
    """
    if not budgets:
        return FeasibleFraction(1.0, True)
    if not all(budget.is_reachable for budget in budgets):
        return NOTHING
    if sizes := _by_size(space, budgets):  # each has as many genotypes
        parts = [feasible_fraction(blocks, limits) for _, blocks, limits in sizes]
        value = sum(part.value for part in parts) / len(parts)
        return FeasibleFraction(value, all(part.is_exact for part in parts))
    if space.size <= _MOST_COUNTED:
        number = sum(1 for _ in iterate_feasible(space, budgets))
        return FeasibleFraction(number / space.size, True)
    if len(budgets) == 1:
        counted = _count_by_totals(budgets[0])
        if counted is not None:
            return FeasibleFraction(counted / space.size, True)
    return FeasibleFraction(_sample(space, budgets) / _SAMPLES, False)


def iterate_feasible(space: SearchSpace, budgets: Sequence[Budget]) -> Iterator[dict[str, int]]:
    """Yield the values of all feasible genotypes, in lexicographic order.

    A depth-first walk over the choices. Prefixes without a feasible completion are pruned.
    """
    if sizes := _by_size(space, budgets):
        for size, blocks, limits in sizes:
            yield from ({IMAGE_SIZE: size, **v} for v in iterate_feasible(blocks, limits))
        return
    bounds = list(map(_bounds, budgets))

    def extend(index: int, values: dict[str, int], spent: list[float]) -> Iterator[dict[str, int]]:
        if not all(admit(index, values, s) for admit, s in zip(bounds, spent, strict=True)):
            return
        if index == len(space.choices):
            # Exactly, because the bounds above allow for rounding.
            if all(budget.admits(budget.cost.of(values)) for budget in budgets):
                yield values
        elif not (choice := space.choices[index]).is_active(values):
            yield from extend(index + 1, values, spent)
        else:
            prices = [budget.cost.options[choice.name] for budget in budgets]
            for option in choice.options:
                costs = [cost + price[option] for cost, price in zip(spent, prices, strict=True)]
                yield from extend(index + 1, {**values, choice.name: option}, costs)

    yield from extend(0, {}, [budget.cost.base for budget in budgets])


def _by_size(
    space: SearchSpace, budgets: Sequence[Budget]
) -> list[tuple[int, SearchSpace, list[Budget]]]:
    """Divide a space by the image size: size, its space and its budgets; none without sizes."""
    if IMAGE_SIZE not in space.names:
        return []
    blocks, parts = replace(space, choices=space.choices[1:]), []
    for size in space.choices[0].options:
        limits = []
        for budget in budgets:
            assert isinstance(budget.cost, CostBySize), budget
            limits.append(replace(budget, cost=budget.cost.tables[size]))
        parts.append((size, blocks, limits))
    return parts


def _bounds(budget: Budget) -> Callable[[int, Mapping[str, int], float], bool]:
    """Return a check of a prefix, given its length, values and cost.

    It is whether the bounds on the cost of all completions overlap the limits.
    """
    cost, choices = budget.cost, budget.cost.space.choices
    # By index i of a choice, the least and greatest cost of the roots from i on, each with its
    # children: cumulative sums from the end.
    ends = []
    for pick in (min, max):
        of = {r.name: cost.extreme_of_group(r, c, pick)[1] for r, c in cost.space.groups}
        own = [of.get(choice.name, 0) for choice in reversed(choices)]
        ends.append(list(accumulate(own, initial=0))[::-1])
    slack = _ROUNDING * (cost.base + ends[1][0])
    # By index i, the children from i on whose root is before i: (child, least, greatest).
    prices = {name: own.values() for name, own in cost.options.items()}
    places = {choice.name: place for place, choice in enumerate(choices)}
    pending: list[list[tuple[Choice, float, float]]] = []
    for index in range(len(choices) + 1):
        open_ones = [c for c in choices[index:] if c.parent and places[c.parent] < index]
        pending.append([(c, min(prices[c.name]), max(prices[c.name])) for c in open_ones])

    def is_open(index: int, values: Mapping[str, int], spent: float) -> bool:
        least, greatest = (spent + end[index] for end in ends)
        # The root is decided, so it is known which of its children are active.
        for child, low, high in pending[index]:
            if child.is_active(values):
                least, greatest = least + low, greatest + high
        return least <= budget.high + slack and budget.low <= greatest + slack

    return is_open


def total_counts(cost: AdditiveCost, most: int) -> dict[float, int] | None:
    """Return the number of genotypes by total cost; ``None`` if there are more than ``most``."""
    if isinstance(cost, CostBySize):
        found: Counter[float] = Counter()
        for table in cost.tables.values():
            if (counts := total_counts(table, most)) is None or len(found) > most:
                return None
            found.update(counts)
        return found
    totals = {cost.base: 1}
    for root, children in cost.space.groups:
        totals = _convolved(totals, _group_counts(cost, root, children))
        if len(totals) > most:
            return None
    return totals


def _count_by_totals(budget: Budget) -> int | None:
    """Return the number of feasible genotypes; ``None`` if there are too many totals.

    Meet in the middle: totals of a first and of a last part of the choices, which fit in memory
    where the totals of both together would not.
    """
    cost = budget.cost
    columns = [_group_counts(cost, root, children) for root, children in cost.space.groups]
    first: dict[float, int] = {cost.base: 1}
    last: dict[float, int] = {0: 1}
    # Grow the part with fewer totals by the group next to it.
    while columns:
        if len(first) <= len(last):
            first = _convolved(first, columns.pop(0))
        else:
            last = _convolved(last, columns.pop())
        if max(len(first), len(last)) > _MOST_TOTALS:
            return None
    totals = sorted(last)
    # numbers[i]: how many ways the last part has to reach one of the i smallest totals.
    numbers = [0, *accumulate(last[total] for total in totals)]
    # For each total of the first part, the ways of the last part that land within the limits.
    found = 0
    for spent, number in first.items():
        below = numbers[bisect_left(totals, budget.low - spent)]
        found += number * (numbers[bisect_right(totals, budget.high - spent)] - below)
    return found


def _group_counts(cost: AdditiveCost, root: Choice, children: Sequence[Choice]) -> dict[float, int]:
    """Return the number of ways to reach each total of a root choice with its children."""
    counts: defaultdict[float, int] = defaultdict(int)
    for option in root.options:
        totals = {cost.options[root.name][option]: 1}
        for child in children:
            if option in child.active_for:
                totals = _convolved(totals, Counter(cost.options[child.name].values()))
        for total, number in totals.items():
            counts[total] += number
    return counts


def _convolved(totals: Mapping[float, int], column: Mapping[float, int]) -> dict[float, int]:
    """Return the number of ways to reach each sum of a total and a price."""
    sums: defaultdict[float, int] = defaultdict(int)
    for price, ways in column.items():
        for total, number in totals.items():
            sums[total + price] += number * ways
    return sums


def _sample(space: SearchSpace, budgets: Sequence[Budget]) -> int:
    """Return how many of ``_SAMPLES`` uniformly sampled genotypes are feasible."""
    random = Random(0)
    # (budgets, samples): the cost of each sample, to which each choice adds its price.
    totals = [[budget.cost.base] * _SAMPLES for budget in budgets]
    for root, children in space.groups:
        # Weighted by completions, so that genotypes are equally likely, not options of the root.
        weights = [num_completions(option, children) for option in root.options]
        chosen = random.choices(root.options, weights, k=_SAMPLES)
        for choice in (root, *children):
            is_root = choice is root
            options = chosen if is_root else random.choices(choice.options, k=_SAMPLES)
            # A child costs nothing in samples whose root option does not activate it.
            for sums, budget in zip(totals, budgets, strict=True):
                prices = budget.cost.options[choice.name]
                for index, (option, parent) in enumerate(zip(options, chosen, strict=True)):
                    if is_root or parent in choice.active_for:
                        sums[index] += prices[option]
    return sum(
        all(b.admits(cost) for b, cost in zip(budgets, costs, strict=True))
        for costs in zip(*totals, strict=True)
    )
