"""Compare trained networks: a table, and one HTML report with pictures."""

from pathlib import Path

import optuna
from tabulate import tabulate

from crnas_d2.common.errors import JobError
from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import build_costs
from crnas_d2.data import register_coco_format
from crnas_d2.report import (
    Page,
    add_channel_search,
    add_fields,
    add_networks,
    add_retrained,
    add_search,
    network_table,
    recipe,
    search_settings,
)
from crnas_d2.runs.loaded_network import network_config
from crnas_d2.runs.receptive_fields import field_images, measure_fields
from crnas_d2.runs.run import load_run
from crnas_d2.search import evaluated, open_storage, study_url


def add_arguments(parser):
    parser.add_argument(
        "networks",
        nargs="+",
        metavar="NAME=OUTPUT_DIR",
        help="finished trainings, that of the "
        "network to compare with first; trainings with several seeds are taken together",
    )
    parser.add_argument(
        "--search",
        action="append",
        default=[],
        metavar="OUTPUT_DIR",
        help="a finished search to add to the report; may be repeated",
    )
    parser.add_argument(
        "--receptive-fields",
        type=int,
        default=16,
        metavar="N",
        help="images on which effective receptive fields are measured, 0 for none; default: "
        "%(default)s",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the HTML file to write")


def load_saved_config(folder):
    file = Path(folder) / "config.yaml"
    if not file.is_file():
        raise ValueError(f"{folder} has no run of this project: config.yaml is missing.")
    cfg = load_config(str(file), [])
    register_coco_format(cfg.DATASETS.COCO_FORMAT)
    return cfg


def load_networks(arguments):
    folders = {}
    for argument in arguments:
        name, separator, folder = argument.partition("=")
        if not (separator and name and folder):
            raise ValueError(f"'{argument}' is not of the form NAME=OUTPUT_DIR.")
        if name in folders:
            raise ValueError(
                f"'{argument}' and '{name}={folders[name]}' have one name; give each its own."
            )
        folders[name] = folder
        yield load_run(name, folder, load_saved_config(folder))


def report_search(page, folder, runs):
    cfg = load_saved_config(folder)
    cfg.OUTPUT_DIR = str(folder)  # it may have been moved
    spec = NetworkSpec.from_config(cfg)
    page.heading(f"The search in {folder}")
    if spec.is_searched_in_training:
        add_channel_search(page, folder, spec.space)
        return
    storage = open_storage(study_url(cfg))
    study = optuna.load_study(study_name=cfg.SEARCH.STUDY_NAME, storage=storage)
    candidates = evaluated(study, spec.space)
    settings = search_settings(cfg, candidates)
    add_search(page, candidates, spec.space, build_costs(cfg, spec), **settings)
    add_retrained(page, candidates, runs, cfg.SEARCH.METRIC)


def report_fields(page, runs, num_images):
    """Add the effective receptive fields of the networks; of several seeds, those of the first."""
    firsts = {}
    for run in runs:
        firsts.setdefault(recipe(run), run)
    page.heading("Effective receptive fields")
    try:
        networks = {
            run.name: (network_config(str(run.folder), None), str(run.folder))
            for run in firsts.values()
        }
        images = field_images(runs[0].cfg, [], num_images)
        add_fields(page, measure_fields(networks, images))
    except (JobError, ValueError, OSError) as error:
        page.text(f"Not measured: {error}")


def run(args):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.receptive_fields < 0:
        raise ValueError(f"--receptive-fields is {args.receptive_fields}; expected 0 or more.")
    page = Page("Networks compared")
    runs = list(load_networks(args.networks))
    add_networks(page, runs)
    if args.receptive_fields:
        report_fields(page, runs, args.receptive_fields)
    for folder in args.search:
        report_search(page, folder, runs)
    page.write(args.output)
    head, rows, same = network_table(runs)
    print(tabulate(rows, headers=head, disable_numparse=True))
    if same:
        print(same)
    print(f"\nReport: {args.output}")
