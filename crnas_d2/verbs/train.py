"""Train or evaluate a detector, a supernet or, for pretraining, a classifier.

A channel supernet is searched while it is trained; the training writes genotype.yaml and
report.html at its end. The flags are those of Detectron2's own train_net.py; torchrun can start it,
too.
"""

import argparse
import os

import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, launch

from crnas_d2.common.errors import one_line_errors
from crnas_d2.config import load_config
from crnas_d2.engine import training
from crnas_d2.engine.processes import from_first_rank, join_torchrun, started_by_torchrun
from crnas_d2.engine.training import check_resumable, check_training
from crnas_d2.report import write_channel_search


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ports = default_argument_parser().get_default("dist_url")  # another one for each user
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument("--resume", action="store_true", help="continue the run in OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine")
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0, help="of this machine, from 0")
    parser.add_argument("--dist-url", default=ports, help="of the first process: %(default)s")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")


def run(args: argparse.Namespace) -> None:
    if started_by_torchrun():
        if (args.num_gpus, args.num_machines, args.machine_rank) != (1, 1, 0):
            args.refuse(
                "torchrun has started the processes: leave out --num-gpus, --num-machines and "
                "--machine-rank, which are --nproc-per-node, --nnodes and --node-rank of torchrun"
            )
        join_torchrun()
        cfg = from_first_rank(lambda: _checked(args))
        _train(cfg, args.resume, args.eval_only, args.program)
        dist.destroy_process_group()
        return
    launch(
        _train,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(_checked(args), args.resume, args.eval_only, args.program),
    )


def _checked(args: argparse.Namespace) -> CfgNode:
    cfg = load_config(args.config_file, args.opts)
    if args.resume and not args.eval_only:
        check_resumable(cfg)
    check_training(cfg, resume=args.resume, eval_only=args.eval_only)
    cfg.freeze()
    return cfg


def _train(cfg, resume, eval_only, program):
    with one_line_errors(program):  # here, too, because this may be a process of its own
        run_training(cfg, resume=resume, eval_only=eval_only)


def run_training(cfg: CfgNode, *, resume: bool = False, eval_only: bool = False) -> dict | None:
    """Train or evaluate, see :func:`crnas_d2.engine.training.run_training`.

    A channel supernet is searched while it is trained: at the end there are ``genotype.yaml`` and
    ``report.html``.
    """
    return training.run_training(
        cfg, resume=resume, eval_only=eval_only, on_found=_write_channel_search
    )


def _write_channel_search(cfg, genotype, space):
    write_channel_search(cfg, genotype, space)
    for name in ("genotype.yaml", "report.html"):
        print(f"  {os.path.join(cfg.OUTPUT_DIR, name)}")
