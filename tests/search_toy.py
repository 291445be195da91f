"""A toy channel search, and what its tests watch of it."""

import contextlib
import copy

import numpy as np
import torch
import toy
from detectron2.engine import HookBase
from detectron2.utils import comm

from crnas_d2.engine import Trainer

CHANNEL = {
    "MODEL.SUPERNET.SPACE": "channel",
    "MODEL.SUPERNET.PATH_SAMPLER": "alpha",
    "MODEL.SUPERNET.CHANNEL.STAGES": ["res3", "res5"],
    "MODEL.SUPERNET.CHANNEL.DILATIONS": [[1, 2], [1, 3, [1, 3]]],
    "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 4,
    "MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1],
    "INPUT.RANDOM_FLIP": "horizontal",
    "SOLVER.MOMENTUM": 0.9,
    "SOLVER.ALPHA.START": 0.5,
}


class Killed(Exception):
    pass


class Steps(HookBase):
    """What each half of a step changes, sees and draws; may end like a kill.

    Attributes: ``(half, value)`` of each half that was run.
        changed: names of the parameters that differ after it.
        files: images of its batch.
        drawn: the number that the model would draw first.
        precisions: what a CPU multiplies in.
    """

    def __init__(self, killed_after=None):
        self.killed_after = killed_after
        self.changed, self.files, self.drawn, self.precisions = [], [], [], []

    def before_train(self):
        for name, half in self.halves().items():
            half.run_step = self.record(name, half, half.run_step)

    def after_train(self):
        # Else half and step hold each other, and torch waits for the workers of its loader.
        for half in self.halves().values():
            del half.run_step

    def halves(self):
        return {name: getattr(self.trainer._trainer, name) for name in ("weights", "alphas")}

    def record(self, name, half, run_step):
        def recorded():
            forward = half.model.forward

            def seen(batch):
                self.files.append((name, [image["file_name"] for image in batch]))
                generator = torch.Generator().set_state(torch.get_rng_state())
                self.drawn.append((name, torch.rand((), generator=generator).item()))
                self.precisions.append((name, torch.ones(1, 1).mm(torch.ones(1, 1)).dtype))
                return forward(batch)

            before = copy.deepcopy(half.model.state_dict())
            half.model.forward = seen
            run_step()
            del half.model.forward
            after = half.model.state_dict()
            parameters = {name for name, _ in half.model.named_parameters()}
            changed = {n for n in parameters if not torch.equal(before[n], after[n])}
            self.changed.append((name, changed))

        return recorded

    def after_step(self):
        if self.trainer.iter == self.killed_after:
            raise Killed


def config(datasets, folder, *overrides):
    return toy.network_config(datasets, CHANNEL, {"OUTPUT_DIR": str(folder)}, *overrides)


def train(cfg, *hooks, resume=False, seed=0):
    """Trains a search on this rank.

    Args:
        seed: of the generators that draw weights, and the order of images, on each rank others.
    """
    torch.manual_seed(seed + comm.get_rank())
    np.random.seed(seed + comm.get_rank())
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.register_hooks(list(hooks))
    with contextlib.suppress(Killed):
        trainer.train()
    return trainer


def train_at_once_and_resumed(cfg, killed_after):
    """Trains a search in ``<OUTPUT_DIR>/whole``; again in ``killed``, and resumes it there.

    Returns:
        the trainer of the uninterrupted one, and what was recorded of it.
    """
    cfg = cfg.clone()
    folder, cfg.SOLVER.CHECKPOINT_PERIOD = cfg.OUTPUT_DIR, killed_after + 1
    steps = Steps()
    cfg.OUTPUT_DIR = f"{folder}/whole"
    trainer = train(cfg, steps)
    cfg.OUTPUT_DIR = f"{folder}/killed"
    train(cfg, Steps(killed_after))
    comm.synchronize()  # the first rank alone writes checkpoints
    # Other weights than at the beginning, where they are not loaded.
    assert train(cfg, resume=True, seed=9).start_iter == killed_after + 1
    return trainer, steps


def check_resumed(folder):
    """After :func:`train_at_once_and_resumed`, both checkpoints are equal bit for bit.

    Returns:
        the checkpoint: weights, and all that training goes on from.
    """
    resumed, expected = (
        torch.load(folder / name / "model_final.pth", weights_only=True)
        for name in ("killed", "whole")
    )
    assert_same(resumed, expected)
    return expected


def assert_same(found, expected, place="state"):
    """Bit for bit, through nested dicts and lists."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_same(found[key], value, f"{place}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for index, value in enumerate(expected):
            assert_same(found[index], value, f"{place}/{index}")
    else:
        equal = torch.equal if isinstance(expected, torch.Tensor) else type(expected).__eq__
        assert equal(found, expected) is True, (place, found, expected)
