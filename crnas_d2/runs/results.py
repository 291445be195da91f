"""The JSON files of ``crnas-d2 correlate``, which several processes may add to."""

import fcntl
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from crnas_d2.common.files import write_file
from crnas_d2.config import spell
from crnas_d2.space import Genotype

from .metrics import MAIN

Result = dict[str, Any]  # of a network, as JSON has it


def read_results(file: Path) -> Result:
    """Read ``{"command": ..., "runs" or "scores": [...]}``."""
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ValueError(f"{file} is no JSON file ({error}).") from error
    return content if isinstance(content, dict) else {}


def read_entries(file: Path, key: str) -> list[Result]:
    """Read the list ``key`` of a file, whose entries have a ``genotype``."""
    entries = read_results(file).get(key)
    expected = f"expected a file that {spell('correlate')} has written."
    if not (isinstance(entries, list) and all(isinstance(e, dict) for e in entries)):
        raise ValueError(f"{file} holds no list of {key}; {expected}")
    for number, entry in enumerate(entries, start=1):
        for name, is_right in (_OF_A_RUN if key == "runs" else _OF_A_SCORE).items():
            value = entry.get(name)
            if name == "result":
                name = metric_of(entry)
                name = "AP" if name == MAIN else name
                value = entry.get(name, "missing")
            if not is_right(value):
                raise ValueError(f"{file}: {name} of entry {number} is {value!r}; {expected}")
    return entries


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pretraining(value: object) -> bool:
    if not isinstance(value, Mapping):
        return value is None
    score = value.get("score", "missing")
    return isinstance(value.get("metric"), str) and (score is None or is_number(score))


_OF_A_SCORE: dict[str, Callable[[object], bool]] = {
    "genotype": lambda value: isinstance(value, Mapping),
    "fitness": is_number,
}
_OF_A_RUN: dict[str, Callable[[object], bool]] = {
    "genotype": lambda value: isinstance(value, Mapping),
    "seed": lambda value: type(value) is int,
    "result": lambda value: value is None or is_number(value),
    "macs": is_number,
    "params": is_number,
    "pretraining": _is_pretraining,
}


def genotype_of(entry: Mapping[str, Any]) -> Genotype:
    return plain(Genotype.from_config(entry["genotype"]))


def plain(genotype: Genotype) -> Genotype:
    """Leave out operations that are all the first one, as configs may do."""
    return genotype if any(genotype.ops) else replace(genotype, ops=())


def score_of(result: Mapping[str, Any], metric: str) -> float:
    """Return a result of a training, NaN if it has none; ``AP`` is what files call ``bbox/AP``."""
    score = result["AP"] if metric == MAIN else result[metric]
    return math.nan if score is None else score


def metric_of(result: Mapping[str, Any]) -> str:
    """Return what a training is judged by: the one result with a ``/``, else AP."""
    return next((key for key in result if "/" in key), MAIN)


def add_entry(
    file: Path,
    key: str,
    entry: Mapping[str, Any],
    command: str,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry, unless it is there, to ``{"command": ..., "settings": ..., key: [...]}``.

    Settings are what all entries have in common; other ones raise, see :func:`check_settings`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{file}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if settings is not None:
            check_settings(file, settings)
        if file.exists():
            content = json.loads(file.read_text())
        else:
            content = {"command": command, **({"settings": settings} if settings else {}), key: []}
        if entry in content[key]:
            return
        lines = ",\n".join(f"  {json.dumps(each)}" for each in [*content.pop(key), entry])
        head = "".join(f"{json.dumps(k)}: {json.dumps(value)}, " for k, value in content.items())
        write_file(file, f'{{{head}"{key}": [\n{lines}\n]}}\n')


def check_settings(file: Path, settings: Mapping[str, Any]) -> None:
    """Raise ValueError if a file that exists holds trainings with other settings.

    A file that says nothing about its settings is that of an earlier version.
    """
    if not file.exists():
        return
    try:
        known = read_results(file).get("settings")
    except ValueError as error:
        raise ValueError(f"{error} It is no file of results: choose another name.") from error
    if known is None:
        return
    wanted = json.loads(json.dumps(settings))  # tuples become lists
    keys = sorted(key for key in {*known, *wanted} if known.get(key) != wanted.get(key))
    if keys:
        then, now = ({k: s.get(k, "not set") for k in keys} for s in (known, wanted))
        shown = [f"{key} {then[key]}, now {now[key]}" for key in keys[:3]]
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        raise ValueError(
            f"{file} holds trainings with another setup, whose results cannot be compared: "
            f"{'; '.join(shown)}{more}. Use that setup again, or name another file."
        )
