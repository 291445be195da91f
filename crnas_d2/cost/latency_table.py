"""A table with the latency of each option, in a file that names its device and network."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from crnas_d2.common.files import write_file
from crnas_d2.space import AdditiveCost, Genotype, SearchSpace

logger = logging.getLogger(__name__)

UNIT = "ms"
_CHECKED = 4  # random networks in a check, besides the fastest and the slowest
_CIRCUMSTANCES = ("torch", "threads")  # of a measurement; they may differ when it is read


@dataclass(frozen=True)
class LatencyCheck:
    """The predicted and the measured latency of one network.

    Attributes:
        genotype: of the network.
        predicted: the sum over the table, milliseconds.
        measured: of the network as a whole, milliseconds.
    """

    genotype: Genotype
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return abs(self.predicted / self.measured - 1)


@dataclass(frozen=True)
class LatencyTable:
    """The latency of every genotype, and where it was measured.

    Attributes:
        cost: the latency in milliseconds.
        origin: the device and the network of the measurement, plain JSON data.
        checks: sums compared with whole networks, measured at the same time.
    """

    cost: AdditiveCost
    origin: Mapping[str, object] = field(default_factory=dict)
    checks: Sequence[LatencyCheck] = ()

    def networks_to_check(self) -> list[Genotype]:
        """Return the fastest, the slowest and a few random networks, always the same ones."""
        space = self.cost.space
        ends = [space.genotype(self.cost.extreme(pick)) for pick in (min, max)]
        random = Random(0)
        sampled = [space.sample(random) for _ in range(_CHECKED)]
        # Without duplicates, which a small space may give.
        return list(dict.fromkeys([*ends, *sampled]))

    def save(self, path: str | Path) -> None:
        """Write a JSON file atomically."""
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
        write_file(path, json.dumps(content, indent=2) + "\n")

    @classmethod
    def load(
        cls, path: str | Path, name: str, space: SearchSpace, origin: Mapping[str, object]
    ) -> "LatencyTable":
        """Read what :meth:`save` wrote.

        Args:
            name: of the cost.
            space: the genotypes.
            origin: the expected device and network. Another version of torch only gives a warning,
                and another number of threads not even that (workers share a processor), because a
                resumed search must keep its costs.

        Raises:
            ValueError: it was measured on another device or for another network.
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
                f"{path} holds latencies of another device or network: {'; '.join(different)}. "
                "Continue where they were measured, or choose another OUTPUT_DIR. If you remove "
                "the file, they are measured again, but a search in progress cannot be resumed."
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
