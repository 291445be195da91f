"""Plan trainings and searches before they run: steps, hours, memory and disk.

  CONFIG ... [--search CONFIG ...] [--num-gpus N]

Needs neither data nor weights: networks are counted without values, and datasets have their
published sizes. Hours follow from --measure, which times each network on this machine, from
--seconds-per-image, or from the multiply-adds per second of a GPU.
"""

import argparse
import json
from collections.abc import Sequence

from tabulate import tabulate

from crnas_d2.config.config_file import read_config_file
from crnas_d2.data import DatasetSizes
from crnas_d2.verbs.arguments import add_overrides, positive_float, positive_int

from .planner import Pace, Planner, given_pace, macs_pace, measured_pace
from .table import cells, headers, scope, total

# What Detectron2's model zoo reports for R50-FPN on a V100 in single precision: 0.210 s for 16
# images on 8 GPUs, and 0.038 s per image in inference, are 4.9 T and 4.7 T.
_TMACS = 5.0


def _size(text: str) -> tuple[str, int]:
    name, separator, number = text.rpartition("=")
    if not (separator and name and number.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not of the form NAME=NUMBER")
    return name, int(number)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("configs", nargs="*", metavar="CONFIG", help="trainings and searches")
    text = "searches whose config is that of the training, too"
    add("--search", nargs="+", default=[], metavar="CONFIG", help=text)
    text = (
        "that share a training, or the candidates of a search; default: as in the config "
        "(SOLVER.REFERENCE_WORLD_SIZE)"
    )
    add("--num-gpus", type=positive_int, default=0, metavar="N", help=text)
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--measure", action="store_true", help="time each network on this machine")
    text = "of a training step and, if there are two, of inference; on one GPU"
    pace.add_argument("--seconds-per-image", type=positive_float, nargs="+", metavar="S", help=text)
    text = (
        "10^12 multiply-adds per second and GPU; default: %(default)s, about that of Faster R-CNN "
        "with ResNet-50 on a V100 by Detectron2's model zoo"
    )
    pace.add_argument(
        "--tmacs-per-second", type=positive_float, default=_TMACS, metavar="T", help=text
    )
    text = "size of a dataset; may be repeated"
    add("--images", type=_size, action="append", default=[], metavar="NAME=NUMBER", help=text)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--markdown", action="store_true", help="a table for a README")
    output.add_argument("--json", action="store_true", help="plain numbers")
    add_overrides(parser, "all configs", "SOLVER.IMS_PER_BATCH 8")


def run(args: argparse.Namespace) -> None:
    seconds = args.seconds_per_image
    if not args.configs and not args.search:
        args.refuse("name at least one config")
    sizes = dict(args.images)
    if twice := [name for name, number in args.images if sizes[name] != number]:
        args.refuse(f"--images gives {twice[0]} two numbers: leave out one")
    if seconds and len(seconds) > 2:
        args.refuse(f"--seconds-per-image has {len(seconds)} numbers; expected one or two")
    how = ", a training step as three forward passes"
    pace: Pace = measured_pace
    if args.measure:
        how = "from steps of each network, timed on this machine"
    elif seconds:
        pace = given_pace(*seconds)
        how = f"at {' and '.join(f'{s:g}' for s in seconds)} seconds per image{how}"
    else:
        pace = macs_pace(args.tmacs_per_second * 1e12)
        how = f"at {args.tmacs_per_second:g} T multiply-adds per second (--tmacs-per-second){how}"
    # The CPU, because load_config would warn about a missing GPU.
    overrides = args.opts if args.measure else [*args.opts, "MODEL.DEVICE", "cpu"]
    planner = Planner(pace, DatasetSizes(sizes), num_processes=args.num_gpus)
    plans = [planner.plan(file, overrides) for file in args.configs]
    plans += [planner.plan(file, overrides, searches=True) for file in args.search]
    planner.sizes.check_given()
    if args.json:
        print(json.dumps([plan.numbers() for plan in plans], indent=2))
        return
    rows = [cells(plan) for plan in plans]
    if len(plans) > 1:
        rows.append(total(plans))
    style = "github" if args.markdown else "simple"
    device = "CPU" if _all_on_cpu([*args.configs, *args.search], args.opts) else "GPU"
    columns = headers(device)
    align = ("left", "left", *["right"] * (len(columns) - 2))
    print(tabulate(rows, columns, tablefmt=style, disable_numparse=True, colalign=align))
    print("", *scope(plans, how, device), sep="\n")
    if device == "CPU" and not (args.measure or seconds):
        print("These configs run on a CPU, which has another rate: --measure times it.")


def _all_on_cpu(files: Sequence[str], opts: Sequence[str]) -> bool:
    """Whether all configs, or the overrides, name the CPU."""
    given = dict(zip(opts[::2], opts[1::2], strict=True)).get("MODEL.DEVICE")
    devices = [
        given or read_config_file(file, skipped=[]).get("MODEL", {}).get("DEVICE", "cuda")
        for file in files
    ]
    return all(str(device).startswith("cpu") for device in devices)
