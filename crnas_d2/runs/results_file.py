"""The JSON files of ``crnas-d2 correlate``, which several processes may add to."""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path

from crnas_d2.common.files import write_file


def add_entry(
    path: Path, key: str, entry: Mapping, command: str, settings: Mapping | None = None
) -> None:
    """Add an entry, unless it is there, to ``{"command": ..., "settings": ..., key: [...]}``.

    Args:
        settings: what all entries have in common; see :func:`check_settings`.

    Raises:
        ValueError: the file holds entries with other settings.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if settings is not None:
            check_settings(path, settings)
        content = {"command": command, **({"settings": settings} if settings else {}), key: []}
        if path.exists():
            content = json.loads(path.read_text())
        if entry in content[key]:
            return
        content[key].append(entry)
        head = "".join(
            f"{json.dumps(name)}: {json.dumps(value)}, "
            for name, value in content.items()
            if name != key
        )
        lines = ",\n".join(f"  {json.dumps(each)}" for each in content[key])
        write_file(path, f'{{{head}"{key}": [\n{lines}\n]}}\n')


def check_settings(path: Path, settings: Mapping) -> None:
    """Raise ValueError if a file holds trainings with other settings than these.

    A file that says nothing about its settings is that of an earlier version.
    """
    if not path.exists():
        return
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a file of results ({error}): choose another name."
        ) from error
    known = content.get("settings") if isinstance(content, dict) else None
    if known is None:
        return
    wanted = json.loads(json.dumps(settings))  # tuples become lists
    keys = sorted(key for key in {*known, *wanted} if known.get(key) != wanted.get(key))
    if keys:
        shown = [f"{key} {_value(known, key)}, now {_value(wanted, key)}" for key in keys[:3]]
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        raise ValueError(
            f"{path} holds trainings by another recipe, whose results cannot be compared: "
            f"{'; '.join(shown)}{more}. Use that recipe again, or name another file."
        )


def _value(settings: Mapping, key: str) -> str:
    return str(settings[key]) if key in settings else "not set"
