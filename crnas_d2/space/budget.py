"""A two-sided limit on a cost that adds up over the choices of a space."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Budget"]


@dataclass(frozen=True)
class Budget:
    """``low <= sum_i weights[i] * option_i <= high``.

    Attributes:
        key: the config key that set it, for messages.
        low: least cost allowed.
        high: greatest cost allowed.
        weights: cost of one unit (one block) of each choice. CR-NAS gives every ResNet block
            the same weight (section 3.2.1: halving the resolution doubles the channels).
    """

    key: str
    low: float
    high: float
    weights: tuple[float, ...]

    def cost(self, chosen: Sequence[int]) -> float:
        return sum(weight * value for weight, value in zip(self.weights, chosen, strict=True))

    def affordable(self, options: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
        """The tuples, one option of each choice, within the limit, in lexicographic order."""
        costs = [
            [weight * value for value in values]
            for weight, values in zip(self.weights, options, strict=True)
        ]
        # The least and greatest cost of the choices from i on, to leave hopeless branches early.
        least, most = [0.0], [0.0]
        for column in reversed(costs):
            least.insert(0, least[0] + min(column))
            most.insert(0, most[0] + max(column))

        def extend(prefix: tuple[int, ...], spent: float) -> Iterator[tuple[int, ...]]:
            position = len(prefix)
            if spent + least[position] > self.high or spent + most[position] < self.low:
                return
            if position == len(options):
                yield prefix
                return
            for value, cost in zip(options[position], costs[position], strict=True):
                yield from extend((*prefix, value), spent + cost)

        yield from extend((), 0.0)

    def explain(self, options: Sequence[Sequence[int]]) -> str:
        """Says that nothing is affordable, and which totals can be reached."""
        totals = {0.0}
        for weight, values in zip(self.weights, options, strict=True):
            totals = {total + weight * value for total in totals for value in values}
        reachable = sorted(totals)
        return (
            f"No genotype has a cost within {self.key} [{self.low:g}, {self.high:g}]. "
            f"Reachable totals: {_ranges(reachable)}. Choose limits that hold one of them."
        )


def _ranges(numbers: Sequence[float]) -> str:
    """``[4, 5, 6, 9]`` as ``4-6, 9`` (consecutive whole numbers are drawn together)."""
    runs: list[list[float]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]:g}-{run[-1]:g}" if len(run) > 1 else f"{run[0]:g}" for run in runs]
    return ", ".join(parts if len(parts) <= 12 else [*parts[:6], "...", *parts[-6:]])
