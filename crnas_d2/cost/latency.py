"""Latency as a cost: a table that is measured once, then read from a file."""

import json
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from detectron2.config import CfgNode

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import write_file
from crnas_d2.config import NetworkSpec
from crnas_d2.space import COST_REGISTRY, AdditiveCost, Cost, Genotype, SearchSpace

from .counted import MACs, Parameters
from .latency_meter import UNIT, build_meter

logger = logging.getLogger(__name__)

LATENCY_FILE = "latency.json"  # in OUTPUT_DIR
_LARGE_ERROR = 0.2  # of a sum, relative to the whole network, above which to warn
_CHECKED = 4  # random networks in a check, besides the fastest and the slowest
_CIRCUMSTANCES = ("torch", "threads")  # of a measurement; they may differ when it is read


@dataclass(frozen=True)
class LatencyCheck:
    """The sum over the table, and the measured latency of a whole network, milliseconds."""

    genotype: Genotype
    estimated: float
    measured: float

    @property
    def error(self) -> float:
        """Relative error of the estimate."""
        return abs(self.estimated / self.measured - 1)


@dataclass(frozen=True)
class LatencyTable:
    """The latency of every genotype, and where it was measured."""

    cost: AdditiveCost  # in milliseconds
    origin: Mapping[str, Any] = field(default_factory=dict)  # device and network, JSON data
    checks: Sequence[LatencyCheck] = ()  # sums and whole networks, measured at the same time

    def networks_to_check(self) -> list[Genotype]:
        """Return the fastest, the slowest and a few random networks, always the same ones."""
        space, random = self.cost.space, Random(0)
        ends = [space.genotype(self.cost.extreme(pick)) for pick in (min, max)]
        # Without duplicates, which a small space may give.
        return list(dict.fromkeys([*ends, *(space.sample(random) for _ in range(_CHECKED))]))

    def checked(self, times: Mapping[Genotype, float]) -> "LatencyTable":
        """Return this table with the measured latencies of whole networks, milliseconds."""
        checks = [LatencyCheck(genotype, self.cost(genotype), ms) for genotype, ms in times.items()]
        return replace(self, checks=checks)

    def log(self, path: Path) -> None:
        """Log the largest error of the checks; warn if it is large."""
        if not self.checks:  # a file that was written by hand
            return
        measured = [check.measured for check in self.checks]
        worst = max(check.error for check in self.checks)
        message = (
            f"Latencies of {path}: the sums are within {100 * worst:.1f} % of {len(measured)} "
            f"whole networks, which take {min(measured):.3g} to {max(measured):.3g} ms on "
            f"{self.origin['device']}."
        )
        logger.info(message)
        if worst > _LARGE_ERROR:
            logger.warning(
                "%s That is a large error: SEARCH.BUDGET.LATENCY limits the sums. If the device "
                "was busy, remove the file and start again on an idle one.",
                message,
            )

    def save(self, path: str | Path) -> None:
        """Write a JSON file, whole or not at all."""
        checks = [{**vars(check), "genotype": check.genotype.to_config()} for check in self.checks]
        content = {"unit": UNIT, "origin": self.origin, "base": self.cost.base}
        content |= {"choices": self.cost.options, "checks": checks}
        write_file(path, json.dumps(content, indent=2) + "\n")

    @classmethod
    def load(
        cls, path: str | Path, name: str, space: SearchSpace, origin: Mapping[str, Any]
    ) -> "LatencyTable":
        """Read a file of :meth:`save`; raise ValueError if it is of another device or network.

        Another version of torch is warned of, another number of threads is not (workers share a
        processor): a resumed search must keep its costs.
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
                LatencyCheck(**{**check, "genotype": Genotype.from_config(check["genotype"])})
                for check in content["checks"]
            ]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"is not a table of latencies ({error!r}). Remove it to have them measured."
            raise ValueError(f"{path} {what}") from error
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
        if (then := known.get("torch")) != (now := origin.get("torch")):
            text = "%s was measured with torch %s; this is %s. Its latencies are kept."
            logger.warning(text, path, then, now)
        options = {choice: choices[choice] for choice in space.names}
        return cls(AdditiveCost(name, UNIT, space, options, base), known, checks)


@COST_REGISTRY.register("LATENCY")
class Latency(Cost):
    """Milliseconds of the body for one image, as the sum over its blocks, measured once.

    The table in ``path`` is read if it exists, so that a resumed search keeps its costs.
    """

    unit = UNIT
    example = "[0, 12.5]"

    def __init__(self, device: str, path: str | Path):
        self.device = torch.device(device)
        self.path = Path(path)
        if self.device.type not in ("cpu", "cuda"):
            fix = (
                "Set SEARCH.BUDGET.LATENCY to [], and take LATENCY out of SEARCH.COSTS and "
                "SEARCH.SECOND_OBJECTIVE"
            )
            but = "no latency is measured on it"
            raise invalid("MODEL.DEVICE", device, "cpu or cuda", but=but, fix=fix)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        name = LATENCY_FILE
        if cfg.SEARCH.IMAGE_SIZES:  # one file for each size
            name = name.replace(".", f"-{cfg.INPUT.MIN_SIZE_TEST}.")
        return {"device": cfg.MODEL.DEVICE, "path": os.path.join(cfg.OUTPUT_DIR, name)}

    def table(self, spec: NetworkSpec, input_size: tuple[int, int]) -> AdditiveCost:
        return self.open_table(spec, input_size).cost

    def open_table(self, spec: NetworkSpec, input_size: tuple[int, int]) -> LatencyTable:
        """Return the table in the file; if there is none, measure, check and write it first.

        Raises ValueError if the file was measured on another device or for another network.
        """
        assert isinstance(spec.space, SearchSpace), spec
        # Identifies the network without a list of all config keys that shape it.
        digests = [cost().table(spec, input_size).digest for cost in (MACs, Parameters)]
        origin = {
            "device": device_name(self.device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "input_size": list(input_size),
            "family": spec.family.name,
            "space": spec.space.kind,
            "digest of MACs and parameters": "/".join(digests),
        }
        if self.path.exists():
            table = LatencyTable.load(self.path, self.name, spec.space, origin)
        else:
            meter = build_meter(spec, self.device, input_size)
            table = LatencyTable(meter.measure(self.name), origin)
            table = table.checked(meter.time_networks(table.networks_to_check()))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            table.save(self.path)
        table.log(self.path)
        return table


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # on Linux, platform does not know the name of the processor
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
