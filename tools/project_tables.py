#!/usr/bin/env python
"""Write the opening table of each project's README: the rows of its paper, and what they take.

Rows and the paper's numbers are those of the section "The paper's numbers"; all else is from
``crnas-d2 plan``. Without arguments, all projects; --check changes nothing and says what differs.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from crnas_d2.common.errors import one_line_errors
from crnas_d2.common.formats import format_hours, format_macs, format_passes, format_size
from crnas_d2.data import DatasetSizes
from crnas_d2.verbs.plan.planner import Plan, Planner, macs_pace

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ("CR-NAS", "DetNAS", "NATS")
BEGIN, END = "<!-- by tools/project_tables.py -->\n", "<!-- end -->\n"
TMACS = 5.0
ROWS = ("row", "config", "theirs", "MACs", "steps", "GPU hours", "memory", "disk", "ours")
STEPS = ("config", "MACs", "steps", "image passes", "GPU hours", "memory", "disk")
_THEIRS = ("AP", "segm AP", "AP50", "of the paper")  # columns, of which a row has the first


def folder(project: str) -> Path:
    return ROOT / "projects" / project


def rows(readme: str) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of the paper: label, config, and the paper's number.

    In place of a config: "own" for a network that the reader's search finds, "none" for one without
    a recipe.
    """
    section = readme[readme.index("## The paper's numbers") :]
    for table, text in re.findall(r"^### ([^:\n]+)[^\n]*\n(.*?)(?=^##|\Z)", section, re.M | re.S):
        head: list[str] = []
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not line.startswith("|"):
                head = []
            elif not head:
                head = cells
            elif set(cells[0]) == {"-"}:
                continue
            elif head[0] == "config" and (name := next((n for n in _THEIRS if n in head), "")):
                number, kind = cells[head.index(name)], name.removesuffix("AP")
                number = _named(number, kind, "VOC" in cells[0])
                if config := re.fullmatch(r"`([\w./-]+)`", cells[0]):
                    yield table, config[1], number
                else:
                    yield f"{table}: {cells[0].partition(',')[0]}", "none", number
            elif head[:2] == ["network", "configs"] and "own" in cells[1]:
                for column, number in zip(head[2:], cells[2:], strict=True):
                    if f"{column[-4:]}: below" not in cells[1]:
                        number = _named(number.partition(" (")[0], "", "VOC" in column)
                        yield f"{table}: {cells[0]}, {column}", "own", number


def _named(number: str, kind: str, is_voc: bool) -> str:
    """Return a number with its metric, unless that is COCO's AP of boxes."""
    return f"{number} AP50" if is_voc else f"{number} {kind}".strip() if kind == "segm " else number


def plans(project: str, names: list[str]) -> dict[str, Plan]:
    """Plan configs, without a genotype that happens to be here."""
    planner = Planner(macs_pace(TMACS * 1e12), DatasetSizes())
    files = {name: folder(project) / "configs" / f"{name}.yaml" for name in names}
    return {name: planner.plan(str(f), ["MODEL.DEVICE", "cpu"]) for name, f in files.items()}


def steps(project: str) -> list[str]:
    """Return the configs that lead to the rows, in the order of their use."""
    found = []
    for kind in ("pretrain", "supernet", "search"):
        files = sorted((folder(project) / "configs" / kind).glob("*.yaml"))
        found += [f"{kind}/{file.stem}" for file in files if not file.stem.startswith("Base-")]
    return found


def numbers(plan: Plan, *, passes: bool) -> list[str]:
    work = plan.estimate.work
    return [
        format_macs(plan.macs.counted),
        f"{work.steps:,}" if work.steps else "",
        *([format_passes(work.passes)] if passes else []),
        format_hours(plan.gpu_hours),
        format_size(plan.estimate.memory),
        format_size(plan.estimate.disk),
    ]


def markdown(head: tuple[str, ...], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def opening(project: str, readme: str) -> str:
    """Return the opening tables of a README."""
    listed = list(rows(readme))
    names = [config for _, config, _ in listed if "/" in config]
    before = steps(project)
    planned = plans(project, list(dict.fromkeys([*names, *before])))
    table = [
        [
            label,
            f"`{config}`" if config in planned else config,
            theirs,
            *(numbers(planned[config], passes=False) if config in planned else [""] * 5),
            "",
        ]
        for label, config, theirs in listed
    ]
    other = [[f"`{name}`", *numbers(planned[name], passes=True)] for name in before]
    return f"{markdown(ROWS, table)}\nThe steps before them:\n\n{markdown(STEPS, other)}"


def replaced(readme: str, tables: str) -> str:
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END, 1)[1]}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projects", nargs="*", metavar="PROJECT", help=f"of {', '.join(PROJECTS)}")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args(arguments)
    for project in args.projects or PROJECTS:
        file = folder(project) / "README.md"
        readme = file.read_text()
        wanted = replaced(readme, opening(project, readme))
        if wanted == readme:
            continue
        if args.check:
            pairs = zip(readme.splitlines(), wanted.splitlines(), strict=False)
            here, there = next((a, b) for a, b in pairs if a != b)
            sys.exit(f"{file}: run tools/project_tables.py\n  is:    {here}\n  plan:  {there}")
        file.write_text(wanted)


if __name__ == "__main__":
    with one_line_errors(__file__):
        main()
