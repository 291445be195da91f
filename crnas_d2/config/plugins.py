"""Modules of the user that register families, spaces, searchers or costs."""

import importlib
from collections.abc import Sequence
from types import ModuleType


def import_plugins(names: Sequence[str]) -> list[ModuleType]:
    """Import the modules of ``PLUGINS``; a module that is already imported is not reloaded.

    Raises:
        ValueError: a module that cannot be imported, with its name and the reason.
    """
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    if not is_list or not all(name and isinstance(name, str) for name in names):
        raise ValueError(f"PLUGINS is {names!r}; expected a list of modules: ['my_project.vgg'].")
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except Exception as error:  # an import can raise anything
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            lost = missing is not None and f"{name}.".startswith(f"{missing}.")
            hint = " Add the folder that holds it to PYTHONPATH, or install it." if lost else ""
            raise ValueError(
                f"PLUGINS names '{name}', which cannot be imported: {type(error).__name__}: "
                f"{error}.{hint}"
            ) from error
    return modules
