#!/usr/bin/env python
"""Search the subnets of a trained supernet; write genotype.yaml, candidates.csv, report.html."""

import argparse
from pathlib import Path

import torch

from crnas_d2 import load_config, run_search
from crnas_d2.jobs import one_line_errors


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument("--resume", action="store_true", help="continue the study in OUTPUT_DIR")
    parser.add_argument(
        "--num-workers",
        type=int,
        default=max(1, torch.cuda.device_count()),
        help="processes that evaluate candidates on this machine (default: one per GPU)",
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args()


def main():
    args = parse_arguments()
    cfg = load_config(args.config_file, args.opts)
    cfg.freeze()
    best = run_search(cfg, resume=args.resume, num_workers=args.num_workers)
    print(f"Best: {best.genotype} with {cfg.SEARCH.METRIC} {best.fitness:.2f}")
    for name in ("genotype.yaml", "model_best.pth", "candidates.csv", "report.html"):
        print(f"  {Path(cfg.OUTPUT_DIR) / name}")


if __name__ == "__main__":
    with one_line_errors(__file__, stopped="Stopped; continue with --resume."):
        main()
