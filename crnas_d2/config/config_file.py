"""Read a config file with the files that it inherits from, as plain data."""

import os
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager

from crnas_d2.common.plain_yaml import read_yaml

from .installation import is_shipped_name, shipped_file

_BASE = "_BASE_"
_FOUND = "genotype.yaml"  # that a search leaves in its OUTPUT_DIR


def read_config_file(
    file: str, above: tuple[str, ...] = (), *, skipped: list[str] | None = None
) -> dict[str, Any]:
    """Read a YAML config; values of a file replace those of its ``_BASE_``, a file or a list.

    Raise ValueError for a missing file, one that is no config, an unknown ``crnas_d2://`` name, or
    files that inherit from each other.

    Args:
        above: the files that inherit from this one.
        skipped: gets each ``genotype.yaml`` not there yet, which is left out; default: an error.
    """
    local = _find(file, above)
    if local in above:
        raise ValueError(f"{above[-1]} inherits from {file}, which inherits from it: a cycle.")
    content, bases = _read(file, local)
    merged: dict[str, Any] = {}
    for base in bases:
        is_url = "://" in base
        if skipped is not None and Path(base).name == _FOUND:
            path = shipped_file(base) if is_shipped_name(base) else base
            if not os.path.isfile(path) and (not is_url or is_shipped_name(base)):
                skipped.append(base if is_url else os.path.normpath(base))
                continue
        _merge(read_config_file(base, (*above, local), skipped=skipped), merged)
    _merge(content, merged)
    return merged


def inherited_files(file: str) -> list[str]:
    """Return the files that a config names in ``_BASE_``."""
    return _read(file, _find(file, ()))[1]


def _read(file: str, local: str) -> tuple[dict[str, Any], list[str]]:
    """Return the values of one file and the files that it inherits from."""
    content = read_yaml(local)
    if not isinstance(content, dict):
        found = "empty" if content is None else f"a {type(content).__name__}, not sections"
        raise ValueError(f"{file} is {found}; expected the keys of a config, KEY: VALUE.")
    bases = content.pop(_BASE, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(base and isinstance(base, str) for base in bases):
        raise ValueError(f"{file}: {_BASE} is {bases!r}; expected a file, or a list of files.")
    bases = [os.path.expanduser(base) for base in bases]
    folder = os.path.dirname(file)
    return content, [base if "://" in base else os.path.join(folder, base) for base in bases]


def _find(file: str, above: tuple[str, ...]) -> str:
    """Return the absolute path of a file, which is downloaded if it is a URL."""
    path = file if "://" in file else os.path.abspath(file)
    inherits = f"{above[-1]} inherits from {path}" if above else ""
    what = f"{inherits or f'The config file is {file}'}, which"
    if is_shipped_name(file):
        try:
            path = str(shipped_file(file))
        except ValueError as error:
            raise ValueError(f"{inherits}{'. ' if above else ''}{error}") from error
    elif "://" in file:
        try:
            path = PathManager.get_local_path(file)
        except Exception as error:  # of the network, of any kind
            raise ValueError(f"{what} cannot be downloaded: {error}") from error
    if os.path.isdir(path):
        raise ValueError(f"{what} is a folder; expected a YAML file.")
    if not os.path.isfile(path):
        hint = " A search leaves it in its OUTPUT_DIR: run that first."
        raise ValueError(f"{what} does not exist.{hint if Path(path).name == _FOUND else ''}")
    return path


def _merge(content: dict[str, Any], base: dict[str, Any]) -> None:
    """Put the values of ``content`` over those of ``base``, in place."""
    for key, value in content.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(value, base[key])
        else:
            base[key] = value
