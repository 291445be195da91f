"""How this user calls a verb: the scripts of a clone, or the command ``crnas-d2``."""

import shlex
import shutil
import sys
from pathlib import Path

from .shipped import is_installed, shipped_root

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


def spell(verb: str, *arguments: object) -> str:
    """Return the shell command that runs a verb.

    That is ``crnas-d2 train ...`` if the package comes from a wheel, spelled ``python -m crnas_d2``
    where the shell does not find it. In a clone it is ``python train_net.py ...``, with the whole
    path of the script outside the clone's root.
    """
    if is_installed():
        found = shutil.which("crnas-d2")
        command = ["crnas-d2", verb] if found else [sys.executable, "-m", "crnas_d2", verb]
    elif verb in _SCRIPTS:
        command = ["python", _script(_SCRIPTS[verb])]
    else:
        command = ["python", "-m", "crnas_d2", verb]
    return shlex.join([*command, *map(str, arguments)])


def _script(name: str) -> str:
    root = shipped_root()
    try:
        here = Path.cwd()
    except OSError:  # the folder was removed
        here = None
    return name if here == root else str(root / name)
