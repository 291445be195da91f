"""Check your own annotations, split them, and write configs to start from.

  NAME --coco annotations.json images/ --output DIR
  NAME --voc FOLDER --output DIR

PART in --archval and --test is a fraction below 1 or a number of images, held out of the training
images and stratified by category (test first, archval out of the rest); or an existing part: a
JSON file and its image folder, or the name of a VOC image set.
"""

import os
import re
import textwrap
from pathlib import Path

from detectron2.data import DatasetCatalog

from crnas_d2.checkpoint import read_weights
from crnas_d2.config import spell
from crnas_d2.data.annotations.coco import missing_categories, save_files

from .chains import chains
from .choose_recipe import choose_recipe, network_macs
from .config_writer import is_edited
from .own_dataset import check_parts, divide, likely_typos, read_coco_parts, read_voc_parts
from .plan import Planner
from .recipe import DEVICES, PRESETS
from .starter_configs import starter_configs
from .statistics import Statistics, archval_to_tell, told_apart


def add_arguments(parser):
    parser.add_argument("name", metavar="NAME", help="the parts become NAME_archtrain and so on")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--coco", nargs=2, metavar=("JSON", "IMAGES"))
    source.add_argument("--voc", metavar="FOLDER", help="Annotations/, JPEGImages/, ImageSets/")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    part = {"nargs": "+", "metavar": "PART"}
    parser.add_argument(
        "--archval", help="default: 0.2; of few images 100, but at most a third", **part
    )
    parser.add_argument("--test", help="default: 0.2; 0: none", default=["0.2"], **part)
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


def check(args):
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


def as_size(option):
    """Return the number if a PART is one, else None."""
    try:
        return float(option[0]) if len(option) == 1 else None
    except ValueError:
        return None


def read_parts(args):
    """Return the existing parts, and the names and sizes of those to hold out."""
    options = {"test": args.test, "archval": args.archval}
    sizes = {name: as_size(option) for name, option in options.items() if option}
    given = {name: options[name] for name, size in sizes.items() if size is None}
    held_out = [(name, sizes.get(name)) for name in options if name not in given]
    if ("test", 0) in held_out:
        held_out.remove(("test", 0))
    if args.voc:
        image_sets = {name: option[0] for name, option in given.items()}
        return read_voc_parts(args.voc, {**image_sets, "train": args.train}), held_out
    # The images of a JSON file without a folder are in the folder of the training images.
    files = {name: (option[0], option[-1]) for name, option in given.items() if len(option) == 2}
    files |= {name: (option[0], args.coco[1]) for name, option in given.items() if len(option) == 1}
    return read_coco_parts({**files, "train": args.coco}), held_out


def print_reports(reports):
    for name, report in reports.items():
        print(f"\n{name}: {len(report.coco['images'])} images, ", end="")
        print(f"{len(report.coco['annotations'])} annotations\n{report.table()}")
    refused = [f"{kind} ({name})" for name, r in reports.items() for kind in r.refused]
    if refused:
        raise ValueError(f"Nothing was written; fix this first: {', '.join(refused)}.")


def print_plan(recipe, folder, num_images, has_test):
    """Print each chain of commands with what it will take."""
    print(f"\nPreset {recipe.preset}, device {recipe.device}: images of ", end="")
    print(f"{recipe.size[0]} x {recipe.size[1]} pixels, {recipe.batch} per step.")
    print(archval_line(num_images["archval"]))
    if "://" in recipe.start:
        print(f"The detector starts from {recipe.start}, downloaded on first use (100 MB).")
        print("Without a network, add --weights FILE: any ResNet-50 of torchvision or Detectron2.")
    planner = Planner(folder, recipe, num_images["archval"])
    if planner.is_timed:
        print("Timing a few steps of each network ...", flush=True)
    else:
        print("Times are unknown, because this machine has no GPU: repeat this on one that has.")
    for number, chain in enumerate(chains(recipe)):
        plan = planner.plan(chain)
        print(f"\n{chain.title}\n\n{textwrap.indent(plan.table(), '  ')}\n")
        if plan.warning(recipe):
            print(f"{plan.warning(recipe)}\n")
        for step in chain.steps:
            print(" ", spell(step.verb, "--config-file", folder / f"{step.run}.yaml"))
        if has_test:
            print(" ", spell("compare", *compared(chain, folder / "output", number)))


def archval_line(images):
    """Return what archval can tell apart."""
    return (
        f"A search on {images:,} images of archval tells networks apart whose AP differs by about "
        f"{told_apart(images):.1f}; 1 AP needs about {archval_to_tell(1):,} (--archval)."
    )


def compared(chain, output, number):
    runs = [f"{run}={output / run}" for run in chain.compared]
    report = "report.html" if number == 0 else f"{chain.search}.html"
    return (*runs, "--search", output / chain.search, "--output", output / report)


def edited(configs):
    """Return the existing configs that the user has edited, and that differ from the new ones."""
    existing = {
        path: path.read_text(encoding="utf-8", errors="replace")
        for path in configs
        if path.exists()
    }
    return [
        path
        for path, text in existing.items()
        if path.name != "data.yaml" and text != configs[path] and is_edited(text)
    ]


def run(args):
    check(args)
    if args.weights:
        read_weights(args.weights)
        if os.path.isfile(args.weights):  # the configs work from any folder
            args.weights = os.path.abspath(args.weights)
    parts, held_out = read_parts(args)
    mended, reports = check_parts(parts)
    print_reports(reports)
    parts = divide(mended, held_out, args.seed)

    files = {args.output / "annotations" / f"{name}.json": p.coco for name, p in parts.items()}
    entries = {
        name: (path, part.image_root)
        for (name, part), path in zip(parts.items(), files, strict=True)
    }
    found = {name: report.records() for name, report in reports.items()}
    num_images = {name: len(part.coco["images"]) for name, part in parts.items()}
    recipe = choose_recipe(
        Statistics.of([parts[name].coco for name in ("archtrain", "archval")]),
        num_images["archtrain"],
        preset=args.preset,
        device=args.device,
        weights=args.weights,
    )
    configs = starter_configs(
        args.name,
        entries,
        recipe,
        num_classes=len(parts["archtrain"].coco["categories"]),
        macs=network_macs(recipe),
        folder=args.output,
    )
    report_file = args.output / "annotation_report.json"
    kept = edited(configs)
    configs = {path: text for path, text in configs.items() if path not in kept}
    replaced = [path for path in configs if path.name != "data.yaml"]
    written = save_files(
        {**files, report_file: found, **configs}, overwrite=args.overwrite, replaceable=replaced
    )
    print(f"\nThe images stay where they are. {report_file} lists every example.")
    for path, new in written.items():
        print(f"  {path}" + ("" if new else " (exists already, identical)"))
    for path in kept:
        print(f"kept: {path}, which you may have edited")
    for name, part in parts.items():
        print(f"{args.name}_{name}: {len(part.coco['images'])} images, ", end="")
        print(f"{len(part.coco['annotations'])} annotations")
    cocos = {name: part.coco for name, part in parts.items()}
    missing = missing_categories(cocos["archval"], list(cocos.values()))
    if missing:
        print(f"No object in archval, so not scored by a search: {', '.join(missing)}")
    if typos := likely_typos(cocos.values()):
        print(
            f"WARNING: classes that look like a typo of another one: {', '.join(typos)}. Correct "
            "the annotations and prepare them again, unless these are right."
        )
    print_plan(recipe, args.output, num_images, has_test="test" in parts)
