"""Write a dataset with its configs, and say what follows and what that takes."""

import os
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from crnas_d2.config import spell
from crnas_d2.data.annotations.coco import save_files
from crnas_d2.data.annotations.part import Part

from .annotation_report import Report
from .chains import Chain, Step, chains, estimate_chains
from .choose_recipe import network_macs
from .recipe import Recipe
from .starter_configs import is_edited, starter_configs
from .statistics import archval_to_tell, told_apart

_SCRIPT = "run.sh"
# A step is finished if its last file is there; one that has begun is continued.
_HEAD = """\
#!/usr/bin/env bash
# Written by prepare: runs what is left of all steps, one after the other.
set -euo pipefail
cd {here}
step() {{  # LAST_FILE COMMAND ...
  local last=$1; shift
  if [ -e "$last" ]; then return; fi
  local folder; folder=$(dirname "$last")
  if [ -e "$folder/last_checkpoint" ] || [ -e "$folder/search.db" ]; then set -- "$@" --resume; fi
  echo "$*"
  "$@"
}}
"""


def write_dataset(
    name: str,
    folder: Path,
    parts: Mapping[str, Part],
    reports: Mapping[str, Report],
    recipe: Recipe,
    *,
    overwrite: bool,
) -> None:
    """Write annotations, their report, configs and a script that runs all steps; print their paths.

    Configs that the user has edited are kept.

    Raises:
        FileExistsError: a file has other content, and ``overwrite`` is not set.
    """
    files = {part: folder / "annotations" / f"{part}.json" for part in parts}
    configs = starter_configs(
        name,
        {part: (file, parts[part].image_root) for part, file in files.items()},
        recipe,
        num_classes=len(parts["archtrain"].coco["categories"]),
        macs=network_macs(recipe),
        folder=folder,
    )
    data = folder.absolute() / "data.yaml"
    kept = [path for path, text in configs.items() if path != data and is_edited(path, text)]
    configs = {path: text for path, text in configs.items() if path not in kept}
    report_file = folder / "annotation_report.json"
    chain, *_ = chains(recipe)
    configs[folder / _SCRIPT] = _script(chain, folder.absolute(), has_test="test" in parts)
    written = save_files(
        {
            **{files[part]: its.coco for part, its in parts.items()},
            report_file: {part: report.records() for part, report in reports.items()},
            **configs,
        },
        overwrite=overwrite,
        replaceable=configs.keys() - {data},
    )
    print(f"The images stay where they are. {report_file} lists every example.")
    for path, is_new in written.items():
        print(f"  {path}" + ("" if is_new else " (exists already, identical)"))
    for path in kept:
        print(f"kept: {path}, which you may have edited")
    for part, its in parts.items():
        print(f"{name}_{part}: {its}")


def print_estimates(recipe: Recipe, folder: Path, folds: Sequence[str], archval: int) -> None:
    """Print each chain of commands with what it will take.

    Args:
        folds: their folders below ``folder``; one empty name: there are none.
        archval: number of images in it.
    """
    print(f"\nPreset {recipe.preset}, device {recipe.device}: images of ", end="")
    print(f"{recipe.size[0]} x {recipe.size[1]} pixels, {recipe.batch} per step.")
    print(
        f"A search on {archval:,} images of archval tells networks apart whose AP differs by about "
        f"{told_apart(archval):.1f}; 1 AP needs about {archval_to_tell(1):,} (--archval)."
    )
    if words := recipe.describe_start():
        print(words)
    is_timed = recipe.device == "cpu" or torch.cuda.is_available()
    if is_timed:
        print("Timing a few steps of each network ...", flush=True)
    else:
        print("Times are unknown, because this machine has no GPU: repeat this on one that has.")
    has_test = (folder / folds[0] / "annotations" / "test.json").exists()
    for estimate in estimate_chains(recipe, folder / folds[0], archval, is_timed=is_timed):
        each = f" (each of {len(folds)} folds)" if len(folds) > 1 else ""
        print(f"\n{estimate.chain.title}\n\n{textwrap.indent(estimate.table(), '  ')}{each}\n")
        if warning := estimate.warning(recipe):
            print(f"{warning}\n")
        for step in estimate.chain.steps:
            print(f"  {_command(step, folder / folds[0])}")
        if len(folds) > 1:
            print(f"  and likewise for {', '.join(folds[1:])}; then")
        if has_test:
            print(f"  {_comparison(estimate.chain, folder, folds)}")
    print("\nOr, of the first chain, all steps that are left:\n")
    for fold in folds:
        print(f"  bash {shlex.quote(str(folder / fold / _SCRIPT))}")


def _command(step: Step, folder: Path) -> str:
    return spell(step.verb, "--config-file", folder / f"{step.run}.yaml")


def _comparison(chain: Chain, folder: Path, folds: Sequence[str], *flags: str) -> str:
    if len(folds) > 1:
        runs = [f"{run}={folder / 'fold*' / 'output' / run}" for run in chain.compared]
        return spell("compare", *runs, "--output", folder / "folds.html", *flags)
    output = folder / "output"
    runs = [f"{run}={output / run}" for run in chain.compared]
    report = "report" if chain.search == "search" else chain.search
    files = ("--search", output / chain.search, "--output", output / f"{report}.html")
    return spell("compare", *runs, *files, *flags)


def _script(chain: Chain, folder: Path, *, has_test: bool) -> str:
    """Return a shell script that runs the steps that are left, and compares what they made."""
    lines = [_HEAD.format(here=shlex.quote(os.getcwd()))]
    for step in chain.steps:
        last = "genotype.yaml" if step.verb == "search" else "model_final.pth"
        file = shlex.quote(str(folder / "output" / step.run / last))
        lines.append(f"step {file} {_command(step, folder)}\n")
    if has_test:
        lines.append(f"{_comparison(chain, folder, [''], '--overwrite')}\n")
    return "".join(lines)
