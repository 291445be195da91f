"""Train or evaluate a detector, a supernet or, for pretraining, a classifier.

A channel supernet is searched while it is trained; the training writes genotype.yaml and
report.html at its end. The flags are those of Detectron2's own train_net.py; torchrun can start it,
too.
"""

import argparse
import multiprocessing
import os
import sys
import time

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, launch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm

from crnas_d2.checkpoint.files import RunFiles
from crnas_d2.common.errors import one_line_errors
from crnas_d2.config import load_config
from crnas_d2.config.image_size import image_sections
from crnas_d2.engine.checks import check_evaluation, check_resumable, check_training
from crnas_d2.engine.training import evaluate, train
from crnas_d2.modeling import find_supernet
from crnas_d2.report import write_found_network
from crnas_d2.verbs.arguments import positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ports = default_argument_parser().get_default("dist_url")  # another one for each user
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument("--resume", action="store_true", help="continue the run in OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS")
    add = parser.add_argument
    add("--num-gpus", type=positive_int, default=1, help="processes on this machine")
    add("--num-machines", type=positive_int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0, help="of this machine, from 0")
    parser.add_argument("--dist-url", default=ports, help="of the first process: %(default)s")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")


def run(args: argparse.Namespace) -> None:
    """Check a config, once, and run the training in all processes."""
    flags = (args.resume, args.eval_only, args.program)
    if not 0 <= args.machine_rank < args.num_machines:
        last = args.num_machines - 1
        args.refuse(f"--machine-rank is {args.machine_rank}; expected 0 to {last} (--num-machines)")
    if args.resume and args.eval_only:
        args.refuse("--eval-only evaluates MODEL.WEIGHTS: leave out --resume")
    if not dist.is_torchelastic_launched():
        machines = (args.num_gpus, args.num_machines, args.machine_rank, args.dist_url)
        try:
            launch(_run_on_rank, *machines, args=(_load_checked(args), *flags))
        except KeyboardInterrupt:
            ranks = multiprocessing.active_children()
            if not ranks:
                raise
            for rank in ranks:  # they stop after their step, with a checkpoint; the first says so
                rank.terminate()
            for rank in ranks:
                rank.join()
            sys.exit(1)
        return
    if (args.num_gpus, args.num_machines, args.machine_rank) != (1, 1, 0):
        args.refuse(
            "torchrun has started the processes: leave out --num-gpus, --num-machines and "
            "--machine-rank, which are --nproc-per-node, --nnodes and --node-rank of torchrun"
        )
    _join_torchrun()
    _run_on_rank(_load_on_first_rank(args), *flags)
    dist.destroy_process_group()


def run_training(cfg: CfgNode, *, resume: bool = False, eval_only: bool = False) -> dict | None:
    """Train or, with ``eval_only``, evaluate the model of a checked config on this rank.

    If the training has found a network, as that of a channel supernet, it writes ``genotype.yaml``
    and ``report.html``.

    Returns:
        with ``eval_only``, the results, which are empty off the main process; after a training,
        those of the last evaluation if ``TEST.EXPECTED_RESULTS`` is set, else ``None``.

    Raises:
        JobError: see :func:`train` and :func:`evaluate`.
    """
    if eval_only:
        return evaluate(cfg)
    trainer = train(cfg, resume=resume)
    supernet = find_supernet(trainer.model)
    genotype = None if supernet is None else supernet.decode()
    if supernet is not None and genotype is not None and comm.is_main_process():
        where = (cfg.OUTPUT_DIR, cfg.MODEL.SUPERNET.FAMILY, cfg.SEED)
        images = image_sections(cfg, genotype.image_size)
        for file in write_found_network(genotype, supernet.space, *where, images):
            print(f"  {file}")
    return trainer.results


def _load_checked(args: argparse.Namespace) -> CfgNode:
    cfg = load_config(args.config_file, args.opts)
    if args.eval_only:
        check_evaluation(cfg)
    else:
        if args.resume:
            check_resumable(cfg)
        check_training(cfg, resume=args.resume)
    cfg.freeze()
    return cfg


def _run_on_rank(cfg: CfgNode, resume: bool, eval_only: bool, program: str) -> None:
    with one_line_errors(program):  # here, too, because this may be a process of its own
        try:
            run_training(cfg, resume=resume, eval_only=eval_only)
        except KeyboardInterrupt as stop:
            if not comm.is_main_process():
                sys.exit(1)
            newest = [] if eval_only else RunFiles(cfg.OUTPUT_DIR).newest_first()
            more = f" {newest[0]} can be continued: the same command with --resume." * bool(newest)
            raise KeyboardInterrupt(str(stop) or f"Stopped.{more}") from stop


def _join_torchrun() -> None:
    """Join the process group that ``torchrun`` describes in the environment."""
    local_rank, local_size = (int(os.environ[f"LOCAL_{name}"]) for name in ("RANK", "WORLD_SIZE"))
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        if local_size > torch.cuda.device_count():
            raise ValueError(
                f"torchrun has started {local_size} processes on this machine, which has "
                f"{torch.cuda.device_count()} GPUs: start at most as many (--nproc-per-node)."
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if has_gpu else "gloo", timeout=DEFAULT_TIMEOUT)
    comm.create_local_process_group(local_size)
    comm.synchronize()


def _load_on_first_rank(args: argparse.Namespace) -> CfgNode:
    """Return the config that the first rank has checked; end all ranks if that fails."""
    cfg = error = None
    if comm.is_main_process():
        try:
            cfg = _load_checked(args)
        except Exception as raised:
            error = raised
    cfg, has_failed = comm.all_gather((cfg, error is not None))[0]
    if error is not None:
        raise error
    if has_failed:
        # torchrun ends all processes with the first that ends, which should be the one that says
        # why.
        time.sleep(10)
        sys.exit(1)
    return cfg
