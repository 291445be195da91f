"""See :func:`import_time`."""

import subprocess
import sys

from ._sides import ROOT, Benchmark, Sides


def import_time(device: str) -> Sides:
    """Import of crnas_d2 in a fresh interpreter, over the imports of a Detectron2 project."""

    def seconds(modules: str) -> float:
        code = f"from time import perf_counter as t; s = t(); import {modules}; print(t() - s)"
        command = [sys.executable, "-W", "ignore", "-c", code]
        child = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        return float(child.stdout)

    theirs = "detectron2, detectron2.modeling, detectron2.data, detectron2.evaluation"
    return lambda: seconds("crnas_d2"), lambda: seconds(theirs)


BENCHMARK = Benchmark(
    import_time, goal=1.3, keys=("crnas_d2_import_s", "detectron2_import_s"), repeats=9
)
