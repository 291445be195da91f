"""How long the body takes for one image: a table of options, in a file that says its origin."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from crnas_d2.space import AdditiveCost, Genotype, SearchSpace

__all__ = ["LatencyCheck", "LatencyTable"]

logger = logging.getLogger(__name__)

UNIT = "ms"
_CHECKED = 4  # random networks in a check, beside the fastest and the slowest
_CIRCUMSTANCES = ("torch", "threads")  # of a measurement, which may be others when it is read


@dataclass(frozen=True)
class LatencyCheck:
    """One network, as the table has it and as it is.

    Attributes:
        genotype: which network.
        predicted: the sum of the table, milliseconds.
        measured: of the network as a whole, milliseconds.
    """

    genotype: Genotype
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """Of the prediction, relative to what was measured."""
        return abs(self.predicted / self.measured - 1)


@dataclass(frozen=True)
class LatencyTable:
    """The milliseconds of every genotype, and where they come from.

    Attributes:
        cost: a sum over the options of a genotype, plus what all have in common.
        origin: where it was measured, and of what: plain JSON data.
        checks: sums against whole networks, measured at the same time.
    """

    cost: AdditiveCost
    origin: Mapping[str, object] = field(default_factory=dict)
    checks: Sequence[LatencyCheck] = ()

    def networks_to_check(self) -> list[Genotype]:
        """The fastest, the slowest and a few random networks, always the same ones."""
        space = self.cost.space
        ends = [space.genotype(self.cost.extreme(pick)) for pick in (min, max)]
        random = Random(0)
        sampled = [space.sample(random) for _ in range(_CHECKED)]
        # A small space may give the same one twice.
        return list(dict.fromkeys([*ends, *sampled]))

    def save(self, path: str | Path) -> None:
        """Write a JSON file, all of it or nothing."""
        content = {
            "unit": UNIT,
            "origin": self.origin,
            "base": self.cost.base,
            "choices": self.cost.options,
            "checks": [
                {
                    "genotype": check.genotype.to_config(),
                    "predicted": check.predicted,
                    "measured": check.measured,
                }
                for check in self.checks
            ],
        }
        unfinished = Path(f"{path}.{os.getpid()}")
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
        unfinished.replace(path)

    @classmethod
    def load(
        cls, path: str | Path, name: str, space: SearchSpace, origin: Mapping[str, object]
    ) -> "LatencyTable":
        """Read what :meth:`save` wrote.

        Args:
            name: of the cost.
            space: the genotypes.
            origin: what the table is to be of. Another version of torch is only warned of, and
                another number of threads (workers share a processor) is not even that: a search
                that goes on keeps its limits.

        Raises:
            ValueError: it was measured on another device or of another network.
        """
        try:
            content = json.loads(Path(path).read_text())
            known = content["origin"]
            choices = {
                name: {int(option): float(cost) for option, cost in costs.items()}
                for name, costs in content["choices"].items()
            }
            base = float(content["base"])
            checks = [
                LatencyCheck(
                    Genotype.from_config(check["genotype"]), check["predicted"], check["measured"]
                )
                for check in content["checks"]
            ]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a table of latencies ({error!r}). Remove it to have them measured."
            ) from error
        origin = json.loads(json.dumps(origin))
        different = [
            f"{key} was {known.get(key)!r} and is {value!r}"
            for key, value in origin.items()
            if key not in _CIRCUMSTANCES and known.get(key) != value
        ]
        expected = {choice.name: set(choice.options) for choice in space.choices}
        if {name: set(costs) for name, costs in choices.items()} != expected:
            different.append(f"its choices are not those of the {space.kind} space")
        if different:
            raise ValueError(
                f"{path} holds latencies of something else: {'; '.join(different)}. Go on where "
                "they were measured, or choose another OUTPUT_DIR; removing the file has them "
                "measured again, but then no search that is under way can be resumed."
            )
        if known.get("torch") != origin.get("torch"):
            logger.warning(
                "%s was measured with torch %s; this is %s. Its latencies are kept.",
                path,
                known.get("torch"),
                origin.get("torch"),
            )
        options = {choice: choices[choice] for choice in space.names}
        return cls(AdditiveCost(name, UNIT, space, options, base), known, checks)
