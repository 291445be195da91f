#!/usr/bin/env python
"""Train or evaluate a detector or, for pretraining, a classifier.

Either may be a supernet, a searched network or a baseline. A channel supernet is searched while it
is trained; the training writes genotype.yaml and report.html at its end.

The flags are those of Detectron2's own train_net.py.
"""

from detectron2.engine import default_argument_parser, launch

from crnas_d2 import load_config, run_training
from crnas_d2.jobs import check_resumable, check_training, one_line_errors


def main(cfg, resume, eval_only):
    with one_line_errors(__file__):  # here, too, because this may be a process of its own
        return run_training(cfg, resume=resume, eval_only=eval_only)


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    with one_line_errors(__file__):
        cfg = load_config(args.config_file, args.opts)
        if args.resume and not args.eval_only:
            check_resumable(cfg)
        check_training(cfg, resume=args.resume, eval_only=args.eval_only)
        cfg.freeze()
        launch(
            main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(cfg, args.resume, args.eval_only),
        )
