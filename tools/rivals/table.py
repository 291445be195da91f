#!/usr/bin/env python
"""Print the benchmark of ``rivals.py`` as a table; write what it is made of to a file.

AP is over the images of all folds together, in each of which all rows must be finished to be
compared. ± is the sample standard deviation over seeds. Intervals are over images, paired, and do
not contain the noise of seeds. Costs and times are means over the folds.
"""

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

from crnas_d2.common.errors import one_line_errors
from crnas_d2.common.files import write_file
from crnas_d2.common.formats import format_quantity
from tools.rivals.results import Row, difference, read_latency, read_rows

HEAD = ("row", "AP", "seeds", "against finetuned", "MACs (body)", "parameters (body)")
TIMES = ("body, ms", "detector, ms", "CPU s")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    text = "the folds that rivals.py has run, e.g. data/cells/fold*"
    parser.add_argument("folds", nargs="+", type=Path, metavar="FOLD", help=text)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.65], help="of rivals.py")
    parser.add_argument("--output", metavar="FILE", help="for the results, JSON; default: none")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    rows: list[Row] = []
    for row in read_rows(sorted(args.folds), args.shares):
        if isinstance(row, str):
            print(row, file=sys.stderr)
        else:
            rows.append(row)
    reference = next((row for row in rows if row.name == "finetuned"), None)
    if reference is None:
        raise ValueError("The row finetuned, with which others are compared, is not finished.")
    latency = read_latency(args.folds)
    records = [record(row, reference, latency["runs"]) for row in rows]
    if args.output:
        about = {"command": shlex.join(["python", "tools/rivals/table.py", *sys.argv[1:]])}
        about |= {key: value for key, value in latency.items() if key != "runs"}
        lines = ",\n".join(f"  {json.dumps(each)}" for each in records)
        write_file(args.output, f'{json.dumps(about)[:-1]}, "rows": [\n{lines}\n]}}\n')
    for line in markdown(records):
        print(line)


def record(row: Row, reference: Row, times: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return the results of a row as plain data."""
    found = difference(row, reference) if row is not reference else None
    return {
        "row": row.name,
        "share": row.share,
        "seeds": list(row.trainings),
        "AP": row.scores,
        "AP of folds": [[run.ap for run in each.runs] for each in row.trainings.values()],
        "depths": [
            [list(run.spec.genotype.depths) for run in each.runs] for each in row.trainings.values()
        ],
        "input sizes": [[run.input_size for run in each.runs] for each in row.trainings.values()],
        "difference": found[0] if found else None,
        "interval": list(found[1]) if found else None,
        "macs": row.cost("macs"),
        "params": row.cost("parameters"),
        "body ms": row.latency(times, "body"),
        "detector ms": row.latency(times, "detector"),
        "cpu seconds": row.cpu_seconds,
    }


def markdown(records: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join((*HEAD, *TIMES))} |"
    yield "|---" * len((*HEAD, *TIMES)) + "|"
    whole = next(each for each in records if each["row"] == "finetuned")
    for each in records:
        name = each["row"] + (f", {each['share']:g}" if each["share"] else "")
        ap = f"{statistics.mean(each['AP']):.2f}"
        if len(each["AP"]) > 1:
            ap += f" ± {statistics.stdev(each['AP']):.2f}"
        against = ""
        if each["interval"]:
            low, high = each["interval"]
            against = f"{each['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
        macs = f"{format_quantity(each['macs'])} ({each['macs'] / whole['macs']:.2f})"
        costs = [macs, format_quantity(each["params"])]
        for part in ("body ms", "detector ms"):
            if each[part] and whole[part]:
                costs.append(f"{each[part]:.1f} ({each[part] / whole[part]:.2f})")
            else:
                costs.append("")
        seconds = each["cpu seconds"]
        costs.append("" if seconds is None else f"{seconds:.0f}")
        yield f"| {' | '.join([name, ap, str(len(each['AP'])), against, *costs])} |"


if __name__ == "__main__":
    with one_line_errors(__file__):
        main()
