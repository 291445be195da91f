"""The latencies of a search: measured once, then read."""

import hashlib
import logging
import platform
from dataclasses import replace
from pathlib import Path

import torch
from detectron2.layers import ShapeSpec

from crnas_d2.modeling import build_supernet_backbone

from .cost import CostTable
from .latency_meter import CPUClock, CUDAClock, LatencyMeter
from .latency_table import LatencyTable

__all__ = ["build_meter", "open_latency_table"]

logger = logging.getLogger(__name__)

LARGE_ERROR = 0.2  # of a sum against the whole network, above which to warn


def build_meter(cfg, input_size: tuple[int, int]) -> LatencyMeter:
    """The meter of a config's supernet on ``MODEL.DEVICE``, with random weights.

    Args:
        input_size: (height, width) of the image, pixels.
    """
    device = _device(cfg)
    channels = len(cfg.MODEL.PIXEL_MEAN)
    # The numbers drawn here are not to be missing elsewhere.
    with torch.random.fork_rng(devices=[]):
        body = build_supernet_backbone(cfg, ShapeSpec(channels=channels)).to(device)
        image = torch.randn(1, channels, *input_size).to(device)
    return LatencyMeter(body, image, CUDAClock(device) if device.type == "cuda" else CPUClock())


def open_latency_table(cfg, costs: CostTable, path: str | Path) -> LatencyTable:
    """The table in ``path``, which is measured, checked and written first where there is none.

    So a search that goes on has the limits with which it began.

    Args:
        costs: of the same config; they tell whether a table is of this network and image size.

    Raises:
        ValueError: the file was measured on another device or of another network.
    """
    origin = _origin(cfg, costs)
    if Path(path).exists():
        table = LatencyTable.load(path, costs.space, origin)
    else:
        meter = build_meter(cfg, costs.input_size)
        table = meter.table(origin)
        checks = meter.check(table, table.networks_to_check())
        table = replace(table, checks=checks)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        table.save(path)
    _log(table, path)
    return table


def _log(table: LatencyTable, path: str | Path) -> None:
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
            "%s That is much: SEARCH.BUDGET.LATENCY holds for the sums. Was the device busy? Then "
            "remove the file, and begin again on an idle one.",
            message,
        )


def _origin(cfg, costs: CostTable) -> dict[str, object]:
    """On what device, and of what, a table is measured; plain JSON data."""
    # What the network is, whichever config keys say so.
    network = repr([costs.base, *costs.costs])
    return {
        "device": _device_name(_device(cfg)),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "input_size": list(costs.input_size),
        "family": cfg.MODEL.SUPERNET.FAMILY,
        "space": costs.space.kind,
        "digest of MACs and parameters": hashlib.sha256(network.encode()).hexdigest(),
    }


def _device(cfg) -> torch.device:
    device = torch.device(cfg.MODEL.DEVICE)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', on which no latency is measured; expected cpu "
            "or cuda. Set SEARCH.BUDGET.LATENCY to []."
        )
    return device


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # platform has no name of the processor on Linux
        lines = cpuinfo.read_text().splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(models, name)
    return name
