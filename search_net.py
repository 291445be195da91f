#!/usr/bin/env python
"""Search the subnets of a trained supernet; write genotype.yaml, candidates.csv, report.html."""

import argparse
import hashlib
import logging
import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path

import optuna
import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import default_setup
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

from crnas_d2 import find_supernet
from crnas_d2.analysis import CostTable, Page, add_search, write_candidates
from crnas_d2.data import build_fixed_batches, register_datasets
from crnas_d2.data.coco_splits import sha256
from crnas_d2.engine import (
    StrictCheckpointer,
    Trainer,
    batch_statistics,
    calibrated,
    check_config,
    load_config,
)
from crnas_d2.evaluation import SubnetEvaluator, build_evaluator, metric_names
from crnas_d2.search import build_searcher, evaluated, open_study, run_worker, study_url
from crnas_d2.space import build_search_space, is_supernet


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
    """The checked config, and the search algorithm it names."""
    cfg = load_config(args.config_file, args.opts)
    if args.num_workers < 1:
        raise ValueError(f"--num-workers is {args.num_workers}; expected at least 1.")
    check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])
    if not is_supernet(cfg):
        raise ValueError(
            "Nothing to search: MODEL.SUPERNET.SPACE is 'none' or PATH_SAMPLER is 'fixed'. Use "
            "the config with which the supernet was trained."
        )
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("MODEL.WEIGHTS is empty: name the checkpoint of the trained supernet.")
    if len(cfg.DATASETS.ARCHVAL) != 1:
        raise ValueError(
            f"DATASETS.ARCHVAL is {cfg.DATASETS.ARCHVAL}; expected exactly one dataset."
        )
    if os.path.exists(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training, whose files a search would overwrite; "
            "choose another OUTPUT_DIR."
        )
    metrics = metric_names(cfg, cfg.DATASETS.ARCHVAL[0])
    if cfg.SEARCH.METRIC not in metrics:
        raise ValueError(
            f"SEARCH.METRIC is '{cfg.SEARCH.METRIC}'; {cfg.DATASETS.ARCHVAL[0]} gives "
            f"{', '.join(metrics)}."
        )
    partial = cfg.SEARCH.BN_CALIBRATION.PARTIAL
    if partial not in ("batch", "calibration"):
        raise ValueError(
            f"SEARCH.BN_CALIBRATION.PARTIAL is '{partial}'; expected 'batch' or 'calibration'."
        )
    searcher = build_searcher(cfg)
    cfg.freeze()
    return cfg, searcher


def describe(cfg):
    """What makes two searches the same, and their scores comparable."""
    space = build_search_space(cfg)
    model = cfg.MODEL.clone()
    model.defrost()
    del model["DEVICE"], model["WEIGHTS"]
    settings = model.dump() + cfg.INPUT.dump() + cfg.TEST.dump()
    return {
        "space": {choice.name: choice.options for choice in space.choices},
        "base": str(space.base),
        "algorithm": cfg.SEARCH.ALGORITHM,
        "greedy": dict(cfg.SEARCH.GREEDY),
        "budget": dict(cfg.SEARCH.BUDGET),
        "metric": cfg.SEARCH.METRIC,
        "weights": sha256(PathManager.get_local_path(cfg.MODEL.WEIGHTS)),
        "archval": [identify(name) for name in cfg.DATASETS.ARCHVAL],
        "archtrain": [identify(name) for name in cfg.DATASETS.TRAIN],
        "calibration": dict(cfg.SEARCH.BN_CALIBRATION),
        "seed": cfg.SEED,
        "images per batch": cfg.SEARCH.IMS_PER_BATCH,
        "digest of MODEL, INPUT and TEST": hashlib.sha256(settings.encode()).hexdigest(),
    }


def identify(dataset_name):
    """A dataset's name and, where it lies in one file, the digest of its annotations."""
    json_file = MetadataCatalog.get(dataset_name).get("json_file")
    return [dataset_name, sha256(json_file) if json_file else None]


def load_supernet(cfg):
    """The supernet with its trained weights; refuses weights that do not fit."""
    model = Trainer.build_model(cfg)
    StrictCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def work(cfg, model, after_candidate, num_workers):
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
    study = open_study(study_url(cfg), cfg.SEARCH.STUDY_NAME, describe(cfg), resume=True)
    space = evaluator.supernet.space
    run_worker(study, space, build_searcher(cfg), evaluator, cfg.SEARCH.METRIC, after_candidate)


def work_beside(cfg, rank, num_workers):
    """A further worker, in a process of its own, which ends when the first one does."""
    if cfg.MODEL.DEVICE == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="crnas_d2")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    register_datasets(cfg)

    def after_candidate():
        if not multiprocessing.parent_process().is_alive():
            sys.exit("The first worker is gone; go on with --resume.")

    work(cfg, load_supernet(cfg), after_candidate, num_workers)


def write_results(cfg, candidates, space):
    """Writes genotype, candidates and report into OUTPUT_DIR, and prints the best genotype."""
    output = Path(cfg.OUTPUT_DIR)
    height, width = cfg.SEARCH.COST_INPUT_SIZE
    cost = CostTable(cfg, space, (height, width))
    best = next(c for c in candidates if space.is_complete(c.genotype))
    best.genotype.to_yaml(
        output / "genotype.yaml",
        family=cfg.MODEL.SUPERNET.FAMILY,
        comment=f"{best.genotype}, the best of {len(candidates)} candidates\n"
        f"{cfg.SEARCH.METRIC} {best.fitness} on {cfg.DATASETS.ARCHVAL[0]}, with supernet weights",
    )
    write_candidates(output / "candidates.csv", candidates, space, cost)
    page = Page(f"Search of the {space.kind} space")
    scope = f"backbone body, {height}x{width}"
    add_search(page, candidates, space, cost, metric=cfg.SEARCH.METRIC, cost_scope=scope)
    page.write(output / "report.html")
    print(f"Best: {best.genotype} with {cfg.SEARCH.METRIC} {best.fitness:.2f}")
    for name in ("genotype.yaml", "candidates.csv", "report.html"):
        print(f"  {output / name}")


def main():
    args = parse_arguments()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        cfg, searcher = setup(args)
        model = load_supernet(cfg)
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        study = open_study(study_url(cfg), cfg.SEARCH.STUDY_NAME, describe(cfg), resume=args.resume)
    except ValueError as error:
        sys.exit(f"search_net.py: {error}")
    default_setup(cfg, args)
    # Detectron2 asks torch about tracing, and torch warns of its own answer: not in our bar.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    # A line per candidate goes to log.txt alone; the terminal has the progress bar.
    setup_logger(cfg.OUTPUT_DIR, name="crnas_d2", configure_stdout=False)

    space = find_supernet(model).space
    beside = [
        multiprocessing.get_context("spawn").Process(
            target=work_beside, args=(cfg, rank, args.num_workers)
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
            work(cfg, model, show_progress, args.num_workers)
        except ValueError as error:
            sys.exit(f"search_net.py: {error}")
        except KeyboardInterrupt:
            sys.exit("Stopped; go on with --resume.")
    for process in beside:
        process.join()

    candidates = evaluated(study, space)
    missing = searcher.propose(candidates)
    if missing:
        sys.exit(
            f"{len(missing)} candidates have no result, for a worker died (see the messages above "
            f"and {cfg.OUTPUT_DIR}/log.txt*). Go on with --resume."
        )
    if candidates[0].fitness is None:
        sys.exit(
            f"No candidate has a finite {cfg.SEARCH.METRIC}: the supernet detects nothing yet, or "
            "archval has nothing to score. Train it longer."
        )
    write_results(cfg, candidates, space)


if __name__ == "__main__":
    main()
