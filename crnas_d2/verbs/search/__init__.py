"""Search the subnets of a trained supernet, or the blocks of a trained detector.

Writes genotype.yaml, model_best.pth, candidates.csv and report.html to OUTPUT_DIR.
"""

import argparse
from pathlib import Path

import torch
import torch.distributed as dist

from crnas_d2.config import load_config
from crnas_d2.engine.scores import SCORE_REGISTRY
from crnas_d2.verbs.arguments import add_trailing_overrides

from .from_detector import next_steps, write_configs
from .search import run_search
from .trained_detector import add_detector, thaw

STOPPED = "Stopped; continue with --resume."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument("--resume", action="store_true", help="continue the study in OUTPUT_DIR")
    text = "processes that evaluate candidates on this machine (default: one per GPU)"
    number = max(1, torch.cuda.device_count())
    parser.add_argument("--num-workers", type=int, default=number, help=text)
    add_detector(parser)
    add_trailing_overrides(parser)


def run(args: argparse.Namespace) -> None:
    if dist.is_torchelastic_launched():
        args.refuse("the workers of a search are no process group: start it without torchrun")
    flags = ("weights", "archval", "train", "test", "output", "budget")
    if args.detector and args.config_file:
        args.refuse("--from is instead of --config-file")
    if not args.detector and (given := [flag for flag in flags if getattr(args, flag)]):
        args.refuse(f"--{given[0]} goes with --from")
    if args.detector:
        cfg = load_config(write_configs(args), [])
    else:
        cfg = load_config(args.config_file, args.opts)
        if frozen := thaw(cfg):
            print(frozen)
    cfg.freeze()
    best = run_search(cfg, resume=args.resume, num_workers=args.num_workers)
    metric, trained = SCORE_REGISTRY.get(cfg.SEARCH.SCORE).metric(cfg), ""
    if cfg.SEARCH.FINALISTS.NUMBER:
        metric, trained = cfg.SEARCH.METRIC, " after its own training"
    print(f"Best: {best.genotype} with {metric} {best.fitness:.2f}{trained}")
    for name in ("genotype.yaml", "model_best.pth", "candidates.csv", "report.html"):
        if (path := Path(cfg.OUTPUT_DIR) / name).exists():  # a score without weights has none
            print(f"  {path}")
    for line in next_steps(cfg.OUTPUT_DIR):
        print(line)
