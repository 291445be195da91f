"""Check your own annotations, split them, and write configs to start from.

  NAME --coco annotations.json images/ --output DIR
  NAME --voc FOLDER --output DIR

PART in --archval and --test is a fraction below 1 or a number of images, held out of the training
images and stratified by category (test first, archval out of the rest); or an existing part: a
JSON file and its image folder, or the name of a VOC image set.
"""

import argparse
import os
import re
import textwrap
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog

from crnas_d2.checkpoint import read_weights
from crnas_d2.config import spell
from crnas_d2.data.annotations.coco import missing_categories, save_files
from crnas_d2.data.annotations.part import Part

from .chains import estimate_chains
from .choose_recipe import choose_recipe, network_macs
from .parts import check_parts, divide, likely_typos, read_coco_parts, read_voc_parts
from .recipe import DEVICES, PRESETS, Recipe
from .starter_configs import is_edited, starter_configs
from .statistics import Statistics, archval_to_tell, told_apart


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the parts become NAME_archtrain and so on")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--coco", nargs=2, metavar=("JSON", "IMAGES"))
    source.add_argument("--voc", metavar="FOLDER", help="Annotations/, JPEGImages/, ImageSets/")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--archval",
        nargs="+",
        metavar="PART",
        help="default: 0.2; for small datasets 100 images, at most a third",
    )
    parser.add_argument(
        "--test", nargs="+", metavar="PART", default=["0.2"], help="default: 0.2; 0: none"
    )
    parser.add_argument(
        "--train", metavar="SET", help="VOC: the image set to train on (default: all the others)"
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="quick",
        help="quick: about an hour; standard: a sound training; paper: sizes and schedules of the "
        "papers (default: quick)",
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="", help="default: gpu if this machine has one"
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="FILE",
        help="weights of a ResNet-50 to start from, instead of a download (gpu) or none (cpu)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace annotations and data.yaml"
    )


def run(args: argparse.Namespace) -> None:
    """Read, check and split the data; choose a recipe; write all files; estimate what they take."""
    _check(args)
    if args.weights:
        read_weights(args.weights)
        if os.path.isfile(args.weights):  # the configs work from any folder
            args.weights = os.path.abspath(args.weights)
    parts, held_out = _read_parts(args)
    parts, reports = check_parts(parts)
    for name, report in reports.items():
        print(f"\n{name}: {parts[name]}\n{report.table()}")
    refused = [f"{kind} ({name})" for name, report in reports.items() for kind in report.refused]
    if refused:
        raise ValueError(f"Nothing was written; fix this first: {', '.join(refused)}.")
    parts = divide(parts, held_out, args.seed)

    recipe = choose_recipe(
        Statistics.of([parts[name].coco for name in ("archtrain", "archval")]),
        parts["archtrain"].num_images,
        preset=args.preset,
        device=args.device,
        weights=args.weights,
    )
    files = {name: args.output / "annotations" / f"{name}.json" for name in parts}
    configs = starter_configs(
        args.name,
        {name: (file, parts[name].image_root) for name, file in files.items()},
        recipe,
        num_classes=len(parts["archtrain"].coco["categories"]),
        macs=network_macs(recipe),
        folder=args.output,
    )
    data = args.output.absolute() / "data.yaml"
    kept = [path for path, text in configs.items() if path != data and is_edited(path, text)]
    configs = {path: text for path, text in configs.items() if path not in kept}
    report_file = args.output / "annotation_report.json"
    written = save_files(
        {
            **{files[name]: part.coco for name, part in parts.items()},
            report_file: {name: report.records() for name, report in reports.items()},
            **configs,
        },
        overwrite=args.overwrite,
        replaceable=configs.keys() - {data},
    )
    print(f"\nThe images stay where they are. {report_file} lists every example.")
    for path, is_new in written.items():
        print(f"  {path}" + ("" if is_new else " (exists already, identical)"))
    for path in kept:
        print(f"kept: {path}, which you may have edited")
    _print_parts(args.name, parts)
    _print_estimates(recipe, args.output, parts["archval"].num_images, has_test="test" in parts)


def _check(args: argparse.Namespace) -> None:
    if not re.fullmatch(r"[\w-]+", args.name):
        args.refuse(f"NAME is '{args.name}'; expected letters, digits, _ and -")
    if f"{args.name}_archtrain" in DatasetCatalog:
        args.refuse(f"NAME is '{args.name}', but this dataset exists already; choose another")
    if args.train and args.coco:
        args.refuse("--train goes with --voc; a COCO file is the whole training set")
    for option in (args.archval, args.test):
        if option and len(option) > (2 if args.coco else 1):
            expected = "a size or JSON IMAGES" if args.coco else "a size or one image set"
            args.refuse(f"a PART is {' '.join(option)}; expected {expected}")


def _read_parts(
    args: argparse.Namespace,
) -> tuple[dict[str, Part], list[tuple[str, float | None]]]:
    """Return the existing parts, and the names and sizes of those to hold out."""
    given: dict[str, list[str]] = {}
    held_out: list[tuple[str, float | None]] = []
    for name, option in (("test", args.test), ("archval", args.archval)):
        try:
            size = float(*option) if option else None
        except (TypeError, ValueError):  # two words, or one that is no number
            given[name] = option
        else:
            if (name, size) != ("test", 0):
                held_out.append((name, size))
    if args.voc:
        image_sets = {name: option[0] for name, option in given.items()}
        return read_voc_parts(args.voc, {**image_sets, "train": args.train}), held_out
    # The images of a JSON file without a folder are in the folder of the training images.
    files = {name: (option[0], [args.coco[1], *option[1:]][-1]) for name, option in given.items()}
    return read_coco_parts({**files, "train": args.coco}), held_out


def _print_parts(dataset: str, parts: dict[str, Part]) -> None:
    for name, part in parts.items():
        print(f"{dataset}_{name}: {part}")
    cocos = [part.coco for part in parts.values()]
    if missing := missing_categories(parts["archval"].coco, cocos):
        print(f"No object in archval, so not scored by a search: {', '.join(missing)}")
    if typos := likely_typos(cocos):
        print(
            f"WARNING: classes that look like a typo of another one: {', '.join(typos)}. Correct "
            "the annotations and prepare them again, unless these are right."
        )


def _print_estimates(recipe: Recipe, folder: Path, archval: int, *, has_test: bool) -> None:
    """Print each chain of commands with what it will take."""
    print(f"\nPreset {recipe.preset}, device {recipe.device}: images of ", end="")
    print(f"{recipe.size[0]} x {recipe.size[1]} pixels, {recipe.batch} per step.")
    print(
        f"A search on {archval:,} images of archval tells networks apart whose AP differs by about "
        f"{told_apart(archval):.1f}; 1 AP needs about {archval_to_tell(1):,} (--archval)."
    )
    if "://" in recipe.start:
        print(f"The detector starts from {recipe.start}, downloaded on first use (100 MB).")
        print("Without a network, add --weights FILE: any ResNet-50 of torchvision or Detectron2.")
    is_timed = recipe.device == "cpu" or torch.cuda.is_available()
    if is_timed:
        print("Timing a few steps of each network ...", flush=True)
    else:
        print("Times are unknown, because this machine has no GPU: repeat this on one that has.")
    output = folder / "output"
    for estimate in estimate_chains(recipe, folder, archval, is_timed=is_timed):
        chain = estimate.chain
        print(f"\n{chain.title}\n\n{textwrap.indent(estimate.table(), '  ')}\n")
        if warning := estimate.warning(recipe):
            print(f"{warning}\n")
        for step in chain.steps:
            print(" ", spell(step.verb, "--config-file", folder / f"{step.run}.yaml"))
        if has_test:
            runs = [f"{run}={output / run}" for run in chain.compared]
            report = "report" if chain.search == "search" else chain.search
            files = ("--search", output / chain.search, "--output", output / f"{report}.html")
            print(" ", spell("compare", *runs, *files))
