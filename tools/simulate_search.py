#!/usr/bin/env python
"""Simulate a search with 1 to 1,000 workers: hours, speed-up, idle share, load of the storage.

The searcher, its study and the steps of a worker are the real ones; only evaluations take virtual
time: measured ones (``--search``, the folder of a finished search) or given ones (``--seconds``).
``--storage`` measures a storage first; without it, the storage costs nothing. The figures are
printed, and written to ``--output`` as simulation.csv and simulation.png.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this checkout, installed or not

_WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the search")
    parser.add_argument("--workers", type=int, nargs="+", default=_WORKERS, metavar="N")
    times = parser.add_mutually_exclusive_group(required=True)
    times.add_argument("--search", metavar="FOLDER", help="a finished search with its times")
    times.add_argument("--seconds", type=float, help="mean seconds of an evaluation")
    parser.add_argument(
        "--spread", type=float, default=0.15, help="standard deviation over mean of --seconds"
    )
    parser.add_argument("--storage", metavar="URL", help="as SEARCH.STORAGE; timed beforehand")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", metavar="FOLDER", help="default: files are not written")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs of the config")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    import optuna

    from crnas_d2 import load_config
    from tools.simulation import search_simulation as simulation
    from tools.simulation.storage_load import measure_load
    from tools.simulation.virtual_clock import StorageLoad

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.search is not None:
        seconds = simulation.times_like(simulation.measured_seconds(args.search), args.seed)
    else:
        seconds = simulation.times_with_spread(args.seconds, args.spread, args.seed)
    cfg = load_config(args.config_file, args.opts)
    searcher = simulation.simulated_searcher(cfg)
    load = measure_load(args.storage, searcher) if args.storage else StorageLoad()
    if args.storage:
        print(
            f"Storage: {load.operations} operations per candidate of {1e3 * load.operation:.2f} "
            f"ms each, and {1e3 * load.per_running:.3f} ms more per running candidate."
        )
    simulations = simulation.simulate_search(searcher, args.workers, seconds, load, args.seed)
    print(simulation.simulation_table(simulations))
    if args.output:
        folder = Path(args.output)
        folder.mkdir(parents=True, exist_ok=True)
        simulation.write_simulations(simulations, folder / "simulation.csv")
        title = f"{Path(args.config_file).stem}: {searcher.name}"
        simulation.draw_simulations(simulations, title).savefig(
            folder / "simulation.png", dpi=150, facecolor="white"
        )
        print(f"Written: {folder}/simulation.csv, {folder}/simulation.png")


def main(arguments: list[str] | None = None) -> None:
    from crnas_d2.common.errors import one_line_errors

    args = parse(arguments)
    with one_line_errors(__file__):
        run(args)


if __name__ == "__main__":
    main()
