#!/usr/bin/env python
"""Train or evaluate a detector or, for pretraining, a classifier.

Either may be a supernet, a searched network or a baseline. A channel supernet is searched while it
is trained: at the end there are genotype.yaml and report.html.

The flags are those of Detectron2's own train_net.py.
"""

import logging
import os
import sys

from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

import crnas_d2
from crnas_d2.analysis import write_channel_search
from crnas_d2.engine import StrictCheckpointer, Trainer, check_config, load_config
from crnas_d2.evaluation import build_evaluator
from crnas_d2.modeling import decoded_genotype, find_supernet
from crnas_d2.space import build_search_space, is_channel_search, is_supernet

# What a training, or a search, leaves in its OUTPUT_DIR.
TRACES = ("last_checkpoint", "metrics.json", "search.db")


class DetectionTrainer(Trainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return build_evaluator(cfg, dataset_name)


def setup(args):
    """The checked config; refuses to start over in a folder that holds a training."""
    cfg = load_config(args.config_file, args.opts)
    if args.eval_only:
        check_config(cfg, ["TEST"])
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("--eval-only needs MODEL.WEIGHTS, the checkpoint to evaluate.")
        if not cfg.DATASETS.TEST:
            raise ValueError("--eval-only needs DATASETS.TEST, the datasets to evaluate on.")
    else:
        # The search would refuse an archval that was trained on, but days later.
        check_config(cfg, ["TRAIN", "TEST", "ARCHVAL"] if is_supernet(cfg) else ["TRAIN", "TEST"])
        if not cfg.DATASETS.TRAIN:
            raise ValueError("DATASETS.TRAIN is empty: name the datasets to train on.")
        if is_channel_search(cfg) and not cfg.DATASETS.ARCHVAL:
            raise ValueError(
                "DATASETS.ARCHVAL is empty: name the datasets that train alpha, none of whose "
                "images is in DATASETS.TRAIN."
            )
        found = [name for name in TRACES if os.path.exists(os.path.join(cfg.OUTPUT_DIR, name))]
        if found and not args.resume:
            raise ValueError(
                f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds another run already ({found[0]}): go on with "
                "--resume, or choose another OUTPUT_DIR."
            )
    cfg.freeze()
    return cfg


def main(args, cfg):
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="crnas_d2")
    # Spawned ranks register the user's datasets for themselves.
    crnas_d2.data.register_datasets(cfg)
    if args.eval_only:
        model = DetectionTrainer.build_model(cfg)
        if find_supernet(model) is not None:
            sys.exit("A supernet has no score of its own: search_net.py scores its subnets.")
        try:
            StrictCheckpointer(model, cfg.OUTPUT_DIR).load(cfg.MODEL.WEIGHTS)
        except ValueError as error:
            sys.exit(f"train_net.py: {error}")
        return DetectionTrainer.test(cfg, model)
    trainer = DetectionTrainer(cfg)
    logging.getLogger("detectron2").info("Model:\n%s", trainer.model)
    try:
        trainer.resume_or_load(resume=args.resume)
    except ValueError as error:  # weights that do not fit
        sys.exit(f"train_net.py: {error}")
    results = trainer.train()
    if is_channel_search(cfg) and comm.is_main_process():
        space = build_search_space(cfg)
        genotype = decoded_genotype(trainer.model, space)
        write_channel_search(cfg.OUTPUT_DIR, genotype, space, cfg.MODEL.SUPERNET.FAMILY)
        for name in ("genotype.yaml", "report.html"):
            print(f"  {os.path.join(cfg.OUTPUT_DIR, name)}")
    return results


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    try:
        cfg = setup(args)
    except ValueError as error:
        sys.exit(f"train_net.py: {error}")
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args, cfg),
    )
