"""Benchmarks: one file each, found by its name; helpers begin with an underscore.

Torch, Detectron2 and this project are imported where they are used, because ``--list`` and
import-time do not need them.
"""

from importlib import import_module
from pkgutil import iter_modules

from ._sides import Benchmark, Table

__all__ = ["BENCHMARKS", "Benchmark", "Table"]

BENCHMARKS = {
    name.replace("_", "-"): import_module(f".{name}", __name__).BENCHMARK
    for _, name, _ in iter_modules(__path__)
    if not name.startswith("_")
}
