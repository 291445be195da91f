"""Check your own annotations, split them, and write configs to start from.

  NAME --coco annotations.json images/ --output DIR
  NAME --voc FOLDER --output DIR

PART in --archval and --test is a fraction below 1 or a number of images, held out of the training
images and stratified by category (test first, archval out of the rest); or an existing part: a
JSON file and its image folder, or the name of a VOC image set.
"""

import re
from pathlib import Path

from detectron2.data import DatasetCatalog

from crnas_d2.config import shipped_root, spell
from crnas_d2.data.prepare.coco_splits import missing_categories, save_files
from crnas_d2.data.prepare.own_dataset import check_parts, divide, read_coco_parts, read_voc_parts
from crnas_d2.data.prepare.starter_configs import starter_configs


def add_arguments(parser):
    parser.add_argument("name", metavar="NAME", help="the parts become NAME_archtrain and so on")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--coco", nargs=2, metavar=("JSON", "IMAGES"))
    source.add_argument("--voc", metavar="FOLDER", help="Annotations/, JPEGImages/, ImageSets/")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    part = {"nargs": "+", "default": ["0.2"], "metavar": "PART"}
    parser.add_argument("--archval", help="default: 0.2", **part)
    parser.add_argument("--test", help="default: 0.2; 0: none", **part)
    parser.add_argument(
        "--train", metavar="SET", help="VOC: the image set to train on (default: all the others)"
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
        if len(option) > (2 if args.coco else 1):
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
    sizes = {name: as_size(option) for name, option in options.items()}
    given = {name: option for name, option in options.items() if sizes[name] is None}
    held_out = [(name, size) for name, size in sizes.items() if size is not None]
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
    refused = [f"{kind} ({name})" for name, r in reports.items() for kind in r.refused()]
    if refused:
        raise ValueError(f"Nothing was written; fix this first: {', '.join(refused)}.")


def print_commands(folder, has_test):
    output = folder / "output"
    baseline, searched, search = (output / run for run in ("baseline", "searched", "search"))
    weights = output / "supernet" / "model_final.pth"
    train = ("train", "--config-file")
    commands = [
        (*train, folder / "supernet.yaml"),
        ("search", "--config-file", folder / "supernet.yaml")
        + ("MODEL.WEIGHTS", weights, "OUTPUT_DIR", search),
        (*train, folder / "searched.yaml"),
        (*train, folder / "baseline.yaml"),
    ]
    by_gradient = [(*train, folder / f"{run}.yaml") for run in ("channels", "mixed", "pretrained")]
    if has_test:
        runs = (f"baseline={baseline}", f"searched={searched}", "--search", search)
        commands.append(("compare", *runs, "--output", output / "report.html"))
        runs = [f"{run}={output / run}" for run in ("pretrained", "mixed")]
        by_gradient.append(
            ("compare", *runs, "--search", output / "channels")
            + ("--output", output / "channels.html")
        )
    for title, block in (
        ("Next, search blocks per stage, from scratch:", commands),
        ("Or search dilations of channels, from ImageNet weights:", by_gradient),
    ):
        print(f"\n{title}")
        for command in block:
            print(" ", spell(*command))


def edited(configs):
    """Return the existing configs with other content, which the user may have edited."""
    return [
        path
        for path, text in configs.items()
        if path.name != "data.yaml" and path.exists() and path.read_bytes() != text.encode()
    ]


def run(args):
    check(args)
    parts, held_out = read_parts(args)
    mended, reports = check_parts(parts)
    print_reports(reports)
    parts = divide(mended, held_out, args.seed)

    files = {args.output / "annotations" / f"{name}.json": p.coco for name, p in parts.items()}
    entries = {
        name: (path, part.image_root)
        for (name, part), path in zip(parts.items(), files, strict=True)
    }
    found = {
        name: {kind: {"done": d, "examples": e} for kind, (d, e) in report.findings.items()}
        for name, report in reports.items()
    }
    configs = starter_configs(
        args.name,
        entries,
        num_classes=len(parts["archtrain"].coco["categories"]),
        num_images={name: len(part.coco["images"]) for name, part in parts.items()},
        folder=args.output,
        shipped=shipped_root(),
    )
    report_file = args.output / "annotation_report.json"
    kept = edited(configs)
    configs = {path: text for path, text in configs.items() if path not in kept}
    written = save_files({**files, report_file: found, **configs}, overwrite=args.overwrite)
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
    print_commands(args.output, has_test="test" in parts)
