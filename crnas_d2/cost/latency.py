"""Latency as a cost: measured once, then read from a file."""

import logging
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from crnas_d2.config import NetworkSpec
from crnas_d2.modeling import build_body
from crnas_d2.space import COST_REGISTRY, AdditiveCost, Cost, SearchSpace

from .counted import MACs, Parameters
from .latency_meter import CPUClock, CUDAClock, LatencyMeter
from .latency_table import UNIT, LatencyTable

logger = logging.getLogger(__name__)

LATENCY_FILE = "latency.json"  # in OUTPUT_DIR
LARGE_ERROR = 0.2  # of a sum, relative to the whole network, above which to warn


@COST_REGISTRY.register("LATENCY")
class Latency(Cost):
    """Milliseconds of the body for one image, as the sum over its blocks, measured once.

    Args:
        device: on which to measure.
        path: of the table, which is read if it exists, so that a resumed search keeps its costs.
    """

    unit = UNIT
    example = "[0, 12.5]"

    def __init__(self, device: str, path: str | Path):
        self.device = torch.device(device)
        self.path = Path(path)
        if self.device.type not in ("cpu", "cuda"):
            raise ValueError(
                f"MODEL.DEVICE is '{device}', on which no latency is measured; expected cpu or "
                "cuda. Set SEARCH.BUDGET.LATENCY to [], and take LATENCY out of SEARCH.COSTS and "
                "SEARCH.SECOND_OBJECTIVE."
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"device": cfg.MODEL.DEVICE, "path": os.path.join(cfg.OUTPUT_DIR, LATENCY_FILE)}

    def table(self, spec: NetworkSpec, input_size: tuple[int, int]) -> AdditiveCost:
        """Return the latency of every genotype, see :meth:`open_table`.

        Raises:
            ValueError: the file was measured on another device or for another network.
        """
        return self.open_table(spec, input_size).cost

    def open_table(self, spec: NetworkSpec, input_size: tuple[int, int]) -> LatencyTable:
        """Return the table in the file; if there is none, measure, check and write it first."""
        origin = self._origin(spec, input_size)
        assert isinstance(spec.space, SearchSpace), spec
        if self.path.exists():
            table = LatencyTable.load(self.path, self.name, spec.space, origin)
        else:
            meter = build_meter(spec, self.device, input_size)
            table = LatencyTable(meter.measure(self.name), origin)
            checks = meter.check(table.cost, table.networks_to_check())
            table = replace(table, checks=checks)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            table.save(self.path)
        _log(table, self.path)
        return table

    def _origin(self, spec: NetworkSpec, input_size: tuple[int, int]) -> dict[str, object]:
        """Return the device and the network that a table is measured for; plain JSON data."""
        assert isinstance(spec.space, SearchSpace), spec
        # Identifies the network without a list of all config keys that shape it.
        network = [cost().table(spec, input_size).digest for cost in (MACs, Parameters)]
        return {
            "device": device_name(self.device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "input_size": list(input_size),
            "family": spec.family.name,
            "space": spec.space.kind,
            "digest of MACs and parameters": "/".join(network),
        }


def build_meter(
    spec: NetworkSpec, device: torch.device, input_size: tuple[int, int]
) -> LatencyMeter:
    """Build the meter of a supernet with random weights.

    Args:
        input_size: (height, width) of the image, pixels.
    """
    # Measuring must not change the random numbers of what follows.
    with torch.random.fork_rng(devices=[]):
        body = build_body(spec).to(device)
        image = torch.randn(1, spec.in_channels, *input_size).to(device)
    return LatencyMeter(body, image, CUDAClock(device) if device.type == "cuda" else CPUClock())


def _log(table: LatencyTable, path: str | Path) -> None:
    if not table.checks:  # a file that was written by hand
        return
    measured = [check.measured for check in table.checks]
    worst = max(check.error for check in table.checks)
    message = (
        f"Latencies of {path}: the sums are within {100 * worst:.1f} % of {len(measured)} whole "
        f"networks, which take {min(measured):.3g} to {max(measured):.3g} ms on "
        f"{table.origin['device']}."
    )
    logger.info(message)
    if worst > LARGE_ERROR:
        logger.warning(
            "%s That is a large error: SEARCH.BUDGET.LATENCY limits the sums. If the device was "
            "busy, remove the file and start again on an idle one.",
            message,
        )


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # on Linux, platform does not know the name of the processor
        lines = cpuinfo.read_text().splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(models, name)
    return name
