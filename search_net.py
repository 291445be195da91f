#!/usr/bin/env python
"""Search the subnets of a trained supernet; write genotype.yaml, candidates.csv, report.html."""

import argparse
import logging
import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path

import optuna
import torch
from detectron2.engine import default_setup
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

from crnas_d2 import find_supernet
from crnas_d2.analysis import CostTable, build_budgets, write_search
from crnas_d2.data import build_fixed_batches, register_datasets
from crnas_d2.engine import (
    StrictCheckpointer,
    Trainer,
    batch_statistics,
    calibrated,
    check_config,
    check_search,
    describe_search,
    load_config,
)
from crnas_d2.evaluation import SubnetEvaluator, build_evaluator, metric_names
from crnas_d2.search import build_searcher, evaluated, open_study, run_worker, study_url
from crnas_d2.space import build_search_space, check_budgets


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument("--resume", action="store_true", help="go on with the study in OUTPUT_DIR")
    parser.add_argument(
        "--num-workers",
        type=int,
        default=max(1, torch.cuda.device_count()),
        help="processes that evaluate candidates on this machine (default: one per GPU)",
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args()


def setup(args):
    """The checked config, its budgets, and how much of the space they leave, in words."""
    cfg = load_config(args.config_file, args.opts)
    if args.num_workers < 1:
        raise ValueError(f"--num-workers is {args.num_workers}; expected at least 1.")
    check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])
    check_search(cfg)
    metrics = metric_names(cfg, cfg.DATASETS.ARCHVAL[0])
    if cfg.SEARCH.METRIC not in metrics:
        raise ValueError(
            f"SEARCH.METRIC is '{cfg.SEARCH.METRIC}'; {cfg.DATASETS.ARCHVAL[0]} gives "
            f"{', '.join(metrics)}."
        )
    budgets = build_budgets(cfg)
    reach = check_budgets(build_search_space(cfg), budgets)
    build_searcher(cfg, budgets)
    cfg.freeze()
    return cfg, budgets, reach


def load_supernet(cfg):
    """The supernet with its trained weights; refuses weights that do not fit."""
    model = Trainer.build_model(cfg)
    StrictCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def work(cfg, budgets, model, after_candidate, num_workers):
    """Evaluates candidates of the study until none is left."""
    if model.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // num_workers))
    calibration = build_fixed_batches(
        cfg,
        cfg.DATASETS.TRAIN,
        num_images=cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES,
        with_annotations=True,
    )
    calibrate = partial(calibrated, batches=calibration)
    by_batch = cfg.SEARCH.BN_CALIBRATION.PARTIAL == "batch"
    evaluator = SubnetEvaluator(
        model,
        build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL),
        build_evaluator(cfg, cfg.DATASETS.ARCHVAL[0], in_search=True),
        calibrate,
        batch_statistics if by_batch else calibrate,
        seed=cfg.SEED,
    )
    space = evaluator.supernet.space
    run_worker(
        open_search(cfg, budgets, resume=True),
        space,
        build_searcher(cfg, budgets),
        evaluator,
        cfg.SEARCH.METRIC,
        after_candidate,
        build_second_objective(cfg, space),
    )


def open_search(cfg, budgets, resume):
    """The study of this search."""
    directions = ["maximize", "minimize"] if cfg.SEARCH.SECOND_OBJECTIVE else ["maximize"]
    return open_study(
        *(study_url(cfg), cfg.SEARCH.STUDY_NAME, describe_search(cfg, budgets)),
        resume=resume,
        directions=directions,
    )


def build_second_objective(cfg, space):
    """From a genotype to ``SEARCH.SECOND_OBJECTIVE``, or ``None``."""
    if not cfg.SEARCH.SECOND_OBJECTIVE:
        return None
    cost = CostTable(cfg, space, tuple(cfg.SEARCH.COST_INPUT_SIZE))
    return lambda genotype: getattr(cost(genotype), cfg.SEARCH.SECOND_OBJECTIVE)


def work_beside(cfg, budgets, rank, num_workers):
    """A further worker, in a process of its own, which ends when the first one does."""
    if cfg.MODEL.DEVICE == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="crnas_d2")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    register_datasets(cfg)

    def after_candidate():
        if not multiprocessing.parent_process().is_alive():
            sys.exit("The first worker is gone; go on with --resume.")

    work(cfg, budgets, load_supernet(cfg), after_candidate, num_workers)


def main():
    args = parse_arguments()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        cfg, budgets, reach = setup(args)
        model = load_supernet(cfg)
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        study = open_search(cfg, budgets, args.resume)
    except ValueError as error:
        sys.exit(f"search_net.py: {error}")
    default_setup(cfg, args)
    # Detectron2 asks torch about tracing, and torch warns of its own answer: not in our bar.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    # A line per candidate goes to log.txt alone; the terminal has the progress bar.
    setup_logger(cfg.OUTPUT_DIR, name="crnas_d2", configure_stdout=False)

    space, searcher = find_supernet(model).space, build_searcher(cfg, budgets)
    for line in reach:
        print(line)
        logging.getLogger("crnas_d2").info(line)
    beside = [
        multiprocessing.get_context("spawn").Process(
            target=work_beside, args=(cfg, budgets, rank, args.num_workers)
        )
        for rank in range(1, args.num_workers)
    ]
    for process in beside:
        process.start()

    done = evaluated(study, space)
    with tqdm(total=searcher.total, initial=len(done), desc="search", unit="net") as bar:

        def show_progress():
            done = evaluated(study, space)
            if done and done[0].fitness is not None:
                bar.set_postfix_str(f"best {done[0].fitness:.2f} {done[0].genotype}")
            bar.update(len(done) - bar.n)

        try:
            work(cfg, budgets, model, show_progress, args.num_workers)
        except ValueError as error:
            sys.exit(f"search_net.py: {error}")
        except KeyboardInterrupt:
            sys.exit("Stopped; go on with --resume.")
    for process in beside:
        process.join()

    candidates = evaluated(study, space)
    missing = len(searcher.propose(candidates)) or searcher.may_ask(candidates, num_running=0)
    if missing:
        sys.exit(
            f"{int(missing)} or more candidates have no result, for a worker died (see the "
            f"messages above and {cfg.OUTPUT_DIR}/log.txt*). Go on with --resume."
        )
    if candidates[0].fitness is None:
        sys.exit(
            f"No candidate has a finite {cfg.SEARCH.METRIC}: the supernet detects nothing yet, or "
            "archval has nothing to score. Train it longer."
        )
    best = write_search(cfg, candidates, space)
    print(f"Best: {best.genotype} with {cfg.SEARCH.METRIC} {best.fitness:.2f}")
    for name in ("genotype.yaml", "candidates.csv", "report.html"):
        print(f"  {Path(cfg.OUTPUT_DIR) / name}")


if __name__ == "__main__":
    main()
