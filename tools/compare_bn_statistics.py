#!/usr/bin/env python
"""Score random subnets with both values of SEARCH.BN_CALIBRATION.PARTIAL, and compare.

A greedy search runs a different network in each batch of archval. Normalizing with the statistics
of that batch costs nothing. This script compares it with calibration on whole networks, which can
be scored with both.
"""

import argparse
import time
from functools import partial

from detectron2.utils.logger import setup_logger
from tabulate import tabulate

from crnas_d2 import find_supernet, load_config
from crnas_d2.common.errors import one_line_errors
from crnas_d2.data import build_fixed_batches
from crnas_d2.engine.checks import check_config, check_search
from crnas_d2.engine.subnets import load_supernet
from crnas_d2.evaluation import SubnetEvaluator, batch_statistics, build_evaluator, calibrated
from crnas_d2.evaluation.rank_correlation import rank_correlation
from crnas_d2.search import sample_genotypes


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="config of a search")
    parser.add_argument("--number", type=int, default=24, metavar="N", help="networks to score")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args()


def main():
    args = parse_arguments()
    setup_logger(name="crnas_d2")
    if args.number < 2:
        raise ValueError(f"--number is {args.number}; expected at least 2, to be compared.")
    cfg = load_config(args.config_file, args.opts)
    check_config(cfg, ["TRAIN", "ARCHVAL"])
    check_search(cfg)
    model = load_supernet(cfg)
    calibration = build_fixed_batches(
        cfg,
        cfg.DATASETS.TRAIN,
        num_images=cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES,
        with_annotations=True,
    )
    archval = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL)
    networks = sample_genotypes(find_supernet(model).space, (), args.number, max(cfg.SEED, 0))
    scores, rows = {}, []
    for name, context in (
        ("calibration", partial(calibrated, batches=calibration)),
        ("batch", batch_statistics),
    ):
        evaluator = build_evaluator(cfg, cfg.DATASETS.ARCHVAL[0], in_search=True)
        score = SubnetEvaluator(model, archval, evaluator, context)
        score(networks[0])  # warm-up, which decodes the images
        start = time.perf_counter()
        scores[name] = [score(genotype)[cfg.SEARCH.METRIC] for genotype in networks]
        seconds = (time.perf_counter() - start) / len(networks)
        low, high = min(scores[name]), max(scores[name])
        mean = sum(scores[name]) / len(networks)
        rows.append([name, f"{mean:.2f}", f"{low:.2f} to {high:.2f}", f"{seconds:.2f}"])
    print(tabulate(rows, headers=["statistics", f"mean {cfg.SEARCH.METRIC}", "range", "s each"]))
    rank = rank_correlation(scores["calibration"], scores["batch"]).rho
    print(f"Rank correlation (Spearman) of the two over {args.number} networks: {rank:.2f}")


if __name__ == "__main__":
    with one_line_errors(__file__):
        main()
