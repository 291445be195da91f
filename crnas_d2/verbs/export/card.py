"""README.md of an exported folder: what the network is, for people."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from crnas_d2.common.formats import format_quantity
from crnas_d2.common.secrets_in_urls import hide_secrets
from crnas_d2.cost import NetworkCost, detector_cost, meta_network, runnable_size
from crnas_d2.runs.comparison import Comparison
from crnas_d2.runs.loaded_network import LoadedNetwork
from crnas_d2.runs.metrics import MAIN, PROVENANCE, read_record
from crnas_d2.runs.run import load_run

_MOST_SHOWN = 20  # classes
_STEPS = 20  # of trainings, each from the weights of the one before
# By the beginning of the name of weights; others have to be looked up.
_LICENCES = {"crnas_d2://weights/efficientnet-lite": "Apache-2.0"}
_SEARCH = ("ALGORITHM", "SCORE", "METRIC", "IMAGE_SIZES")


def write_card(
    network: LoadedNetwork,
    record: Mapping[str, Any],
    latencies: Mapping[str, Mapping[str, float]],
    folder: Path,
) -> None:
    """Write the card of a network with its provenance, and the latencies of ``--baseline``."""
    sections = {
        network.cfg.MODEL.META_ARCHITECTURE: _network(network, record),
        "Scores": _scores(network, record),
        "Cost": _costs(network.cfg, latencies),
        "Where it comes from": _origin(network),
    }
    text = "\n".join(
        f"{'##' if number else '#'} {title}\n\n" + "".join(f"- {line}\n" for line in lines)
        for number, (title, lines) in enumerate(sections.items())
    )
    (folder / "README.md").write_text(text)


def _network(network: LoadedNetwork, record: Mapping[str, Any]) -> Iterator[str]:
    cfg, names = network.cfg, network.classes.names
    if network.spec is not None:
        yield f"Body: {network.spec.family.name}, {network.spec.genotype}"
    more = f", and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    yield f"{len(names)} classes: {', '.join(names[:_MOST_SHOWN])}{more}"
    for part, datasets in record["datasets"].items():
        yield f"Data, {part}: {', '.join(datasets) or 'none named'}"
    shorter, longer = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    yield f"Images: {cfg.INPUT.FORMAT}, shorter side {shorter} pixels, longer at most {longer}"
    yield f"config.yaml needs {record['needs']}. {record['why']}".strip()


def _scores(network: LoadedNetwork, record: Mapping[str, Any]) -> Iterator[str]:
    if not (metrics := record["metrics"]):
        yield record["why_no_metrics"]
        return
    interval = _interval(network.folder, metrics)
    for name, value in metrics.items():
        if value is not None and "AP-" not in name:
            yield f"{name} {value:.2f}{interval if name == MAIN else ''}"


def _interval(run: Path, metrics: Mapping[str, float | None]) -> str:
    """Return the interval of the AP over images, if the run has the detections of these weights."""
    try:
        comparison = Comparison.of([load_run("network", run)])
        comparison.check_unchanged()
    except (ValueError, OSError, KeyError):  # e.g. datasets that are not here
        return ""
    [found] = comparison.networks
    if found.interval is None or not math.isclose(found.ap, metrics.get(MAIN) or math.nan):
        return ""
    low, high = found.interval
    return f" (95 % interval over {comparison.num_images:,} images: {low:.2f} to {high:.2f})"


def _costs(cfg: CfgNode, latencies: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    stated, proposals = tuple(cfg.SEARCH.COST_INPUT_SIZE), cfg.MODEL.RPN.POST_NMS_TOPK_TEST
    try:
        model: Any = meta_network(cfg)
        padded = runnable_size(model, stated)
        parts = detector_cost(model, padded, proposals)
    except ValueError as error:  # heads of others, whose cost is not known
        yield f"Not counted: {error}"
        return
    size = "{}x{} pixels".format(*padded)
    if padded != stated:
        size += ", padded from {}x{}".format(*stated)
    for part, cost in {**parts, "in all": sum(parts.values(), NetworkCost(0, 0))}.items():
        macs, parameters = map(format_quantity, (cost.macs, cost.parameters))
        regions = f", {proposals:,} proposals" if part == "box head" else ""
        yield f"{part}: {macs} MACs, {parameters} parameters ({size}{regions})"
    for name, times in latencies.items():
        exported, baseline = (f"{times[role]:.2f} ms" for role in ("exported", "baseline"))
        yield f"Latency of body and neck, {name}: {exported} (baseline {baseline}; latency.json)"


def _origin(network: LoadedNetwork) -> Iterator[str]:
    chain = list(weights_before(network.cfg.MODEL.WEIGHTS))
    yield f"Weights: {' from '.join(hide_secrets(each) for each in chain)}"
    first, shown = chain[-1], hide_secrets(chain[-1])
    if _config_of(Path(first).parent):
        yield f"{shown} was trained from random weights: no licence of other weights"
    else:
        known = (licence for name, licence in _LICENCES.items() if first.startswith(name))
        yield f"Licence of {shown}: {next(known, 'unknown, see where it was published')}"
    for weights in chain:
        settings = _config_of(Path(weights).parent).get("SEARCH")
        if settings and (Path(weights).parent / "candidates.csv").is_file():
            limits = {f"BUDGET.{k}": v for k, v in settings.pop("BUDGET", {}).items()}
            chosen = {**{key: settings.get(key) for key in _SEARCH}, **limits}
            said = (f"{key} {_spelled(value)}" for key, value in chosen.items() if value)
            yield f"Search in {Path(weights).parent}: {', '.join(said)}"


def _spelled(value: object) -> str:
    """Return a value of a config; of a list, its entries as they are."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def weights_before(weights: str) -> Iterator[str]:
    """Yield a file of weights, then those that its training or search started from, and so on."""
    seen: list[str] = []
    while weights and weights not in seen and len(seen) < _STEPS:
        seen.append(weights)
        yield weights
        folder = Path(weights).parent
        if (folder / PROVENANCE).is_file():
            weights = read_record(folder / PROVENANCE).get("from", {}).get("file", "")
        else:
            weights = str(_config_of(folder).get("MODEL", {}).get("WEIGHTS", ""))


def _config_of(folder: Path) -> Mapping[str, Any]:
    """Return the config of a folder as plain data, empty without one."""
    try:
        content = yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
