"""Compare trained networks: a table, and one HTML report with pictures."""

import argparse

import optuna
from tabulate import tabulate

from crnas_d2 import report
from crnas_d2.common.errors import JobError, invalid
from crnas_d2.common.files import check_new_file
from crnas_d2.runs.comparison import Comparison
from crnas_d2.runs.folds import FoldComparison, is_folded, load_folds
from crnas_d2.runs.loaded_network import network_config
from crnas_d2.runs.receptive_fields import field_images, measure_fields
from crnas_d2.runs.run import load_run
from crnas_d2.runs.search_result import ChannelSearchResult
from crnas_d2.runs.searches import read_search
from crnas_d2.verbs.arguments import add_overwrite, add_plugins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = (
        "finished trainings, that of the network to compare with first; trainings with several "
        "seeds are taken together; folders by a pattern, NAME='data/fold*/output/found', are those "
        "of the folds of a dataset; none to render searches again"
    )
    parser.add_argument("networks", nargs="*", metavar="NAME=OUTPUT_DIR", help=text)
    text = "a finished search to add to the report, from its folder; may be repeated"
    parser.add_argument("--search", action="append", default=[], metavar="OUTPUT_DIR", help=text)
    text = "images to measure effective receptive fields on, 0 for none; default: %(default)s"
    parser.add_argument("--receptive-fields", type=int, default=16, metavar="N", help=text)
    parser.add_argument("--output", required=True, metavar="FILE", help="the page to write: .html")
    add_overwrite(parser)
    add_plugins(parser)


def run(args: argparse.Namespace) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.receptive_fields < 0:
        raise invalid("--receptive-fields", args.receptive_fields, "0 or more")
    if not (args.networks or args.search):
        args.refuse("name finished trainings, or a search with --search")
    output = check_new_file(args.output, [".html"], overwrite=args.overwrite)
    folders = named_folders(args.networks)
    page = report.Page("Networks compared" if args.networks else "Searches")
    if any(map(is_folded, folders.values())):
        if args.search:
            args.refuse("--search goes with single trainings, not with those of folds")
        folds = FoldComparison.of([load_folds(*pair) for pair in folders.items()])
        report.add_folds(page, folds)
        page.write(output)
        head, rows = report.folds_table(folds)
        print(tabulate(rows, headers=head, disable_numparse=True))
        print(f"\nReport: {args.output}")
        return
    runs = [load_run(*pair) for pair in folders.items()]
    if runs:
        comparison = Comparison.of(runs)
        comparison.check_unchanged()
        report.add_networks(page, comparison)
        if args.receptive_fields:
            add_receptive_fields(page, comparison, args.receptive_fields)
    for folder in args.search:
        result = read_search(folder)
        page.heading(f"The search in {folder}")
        if isinstance(result, ChannelSearchResult):
            report.add_channel_search(page, result)
        else:
            report.add_search(page, result)
            report.add_retrained(page, result, runs)
    page.write(output)
    if runs:
        head, rows, same = report.comparison_table(runs)
        print(tabulate(rows, headers=head, disable_numparse=True))
        if same:
            print(same)
    print(f"\nReport: {args.output}")


def named_folders(arguments: list[str]) -> dict[str, str]:
    folders: dict[str, str] = {}
    for argument in arguments:
        name, separator, folder = argument.partition("=")
        if not (separator and name and folder):
            raise ValueError(f"'{argument}' is not of the form NAME=OUTPUT_DIR.")
        if name in folders:
            other = f"{name}={folders[name]}"
            raise ValueError(f"'{argument}' and '{other}' have one name; give each its own.")
        folders[name] = folder
    return folders


def add_receptive_fields(page: report.Page, comparison: Comparison, num_images: int) -> None:
    """Add the effective receptive fields of the networks; of several seeds, those of the first."""
    page.heading("Effective receptive fields")
    firsts = [network.runs[0] for network in comparison.networks]
    try:
        networks = {run.name: network_config(str(run.folder), None) for run in firsts}
        images = field_images(firsts[0].cfg, [], num_images)
        report.add_fields(page, measure_fields(networks, images))
    except (JobError, ValueError, OSError) as error:
        page.text(f"Not measured: {error}")
