#!/usr/bin/env python
"""Measure what this project costs over plain Detectron2: ``benchmark.py NAME [NAME ...|all]``.

A benchmark compares two sides, ours first. They run alternately (A B, B A, A B, ...) after a
warm-up, so that a slow moment of the machine falls on both. Its output is a table, one row per
side and one for their ratio, and as its last line a JSON object with ``name``, ``ratio``, ``goal``
and the medians of the two sides, named as in the table and ending in their unit.

``ratio`` is the median over the pairs of runs, ours / theirs. Both runs of a pair see the same
machine, which makes it steadier than the quotient of the two medians; the two may differ a little.
Where the goal lies between its quartiles, the machine was too busy to tell: free it, raise
``--repeats``, or set ``OMP_NUM_THREADS=1`` on a CPU that others use too.

The exit status is 0 where every ratio is at most its goal, else 1.
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

# Torch, Detectron2 and this project are imported where they are used: --list and import-time can
# do without.
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # measure this checkout, installed or not

Sides = tuple[Callable[[], float], Callable[[], float]]


@dataclass(frozen=True)
class Benchmark:
    """
    Attributes:
        make: from the device to the two sides, ours first; a call of a side is one measurement.
        keys: names of the two figures, ending in their unit.
        repeats: pairs of measurements, unless ``--repeats`` says otherwise.
        warm_up: pairs before them that do not count.
    """

    make: Callable[[str], Sides]
    goal: float
    keys: tuple[str, str]
    repeats: int
    warm_up: int = 1

    @property
    def summary(self) -> str:
        return self.make.__doc__.splitlines()[0]


def supernet_step(device: str) -> Sides:
    """A training step of a supernet on one path, over one of the same network by itself.

    Ours is all that happens in a step of our trainer on one process: the draw of a path,
    ``set_path``, forward, backward, and the optimizer's walk over the parameters of all paths.
    Only the outcome of the draw is replaced, always by the same genotype.
    """
    import torch
    from detectron2.engine import SimpleTrainer
    from detectron2.modeling import build_model
    from detectron2.solver import build_lr_scheduler, build_optimizer
    from detectron2.utils.events import EventStorage

    from crnas_d2.engine import PathSampling, Trainer, load_config
    from crnas_d2.layers import active_modules
    from crnas_d2.space import Genotype

    config_file = ROOT / "configs" / "digits" / "supernet-stage.yaml"
    cfg = load_config(str(config_file), ["MODEL.DEVICE", device])
    genotype = Genotype(depths=(3, 4, 6, 3))
    batch = synthetic_batch(cfg)

    class SupernetTrainer(Trainer):
        """Ours, without a dataset and without the hooks that write files."""

        @classmethod
        def build_train_loader(cls, cfg):
            return itertools.repeat(batch)

        def build_hooks(self):
            return []

    ours = SupernetTrainer(cfg)
    hook = next(hook for hook in ours._hooks if isinstance(hook, PathSampling))
    draw = hook.path_sampler
    hook.path_sampler = lambda iteration: (draw(iteration), genotype)[1]
    hook.supernet.set_path(genotype)

    # Detectron2's own builder refuses the narrow BasicBlocks of this config. Ours returns, for a
    # fixed network, Detectron2's FPN over Detectron2's ResNet and nothing else.
    cfg.MODEL.SUPERNET.PATH_SAMPLER = "fixed"
    cfg.MODEL.GENOTYPE.DEPTHS = list(genotype.depths)
    network = build_model(cfg)
    assert not any(type(module).__module__.startswith("crnas_d2") for module in network.modules())
    path = tensors(active_modules(ours.model))
    for target, source in zip(tensors(network.modules()), path, strict=True):
        assert target.shape == source.shape
        target.copy_(source)

    optimizer = build_optimizer(cfg, network)
    build_lr_scheduler(cfg, optimizer)  # sets the learning rate of the first iteration, as in ours
    plain = SimpleTrainer(network, itertools.repeat(batch), optimizer)

    def step(trainer) -> float:
        torch.manual_seed(trainer.iter)  # both sides sample the same proposals
        with trainer.storage:
            synchronize()
            start = time.perf_counter()
            trainer.before_step()
            trainer.run_step()
            trainer.after_step()
            synchronize()
            elapsed = time.perf_counter() - start
        trainer.iter += 1
        return elapsed * 1e3

    synchronize = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    ours.storage, plain.storage = EventStorage(), EventStorage()
    for _ in range(2):  # the second loss depends on the first update too
        step(ours), step(plain)
        losses = [trainer.storage.latest()["total_loss"][0] for trainer in (ours, plain)]
        # Up to the order in which a GPU adds.
        if not math.isclose(*losses, rel_tol=0.01):
            raise RuntimeError(f"The two sides take different steps: their losses are {losses}.")
    return lambda: step(ours), lambda: step(plain)


def tensors(modules) -> list:
    """The parameters and buffers that the modules themselves hold, detached."""
    return [
        tensor.detach()
        for module in modules
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    ]


def synthetic_batch(cfg) -> list[dict]:
    """A batch of noise with six boxes per image, as Detectron2's dataset mapper makes them."""
    import torch
    from detectron2.structures import Boxes, Instances

    generator = torch.Generator().manual_seed(0)
    size = cfg.INPUT.MIN_SIZE_TRAIN[0]
    batch = []
    for _ in range(cfg.SOLVER.IMS_PER_BATCH):
        image = torch.randint(256, (3, size, size), generator=generator, dtype=torch.uint8)
        corner, extent = torch.rand((2, 6, 2), generator=generator)
        boxes = torch.cat([0.7 * corner, 0.7 * corner + 0.1 + 0.2 * extent], dim=1)
        instances = Instances((size, size), gt_boxes=Boxes(size * boxes))
        instances.gt_classes = torch.arange(6) % cfg.MODEL.ROI_HEADS.NUM_CLASSES
        batch.append({"image": image, "height": size, "width": size, "instances": instances})
    return batch


def import_time(device: str) -> Sides:
    """The import of crnas_d2 in a fresh interpreter, over what a Detectron2 project imports."""

    def seconds(modules: str) -> float:
        code = f"from time import perf_counter as t; s = t(); import {modules}; print(t() - s)"
        command = [sys.executable, "-W", "ignore", "-c", code]
        child = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        return float(child.stdout)

    theirs = "detectron2, detectron2.modeling, detectron2.data, detectron2.evaluation"
    return lambda: seconds("crnas_d2"), lambda: seconds(theirs)


BENCHMARKS = {
    "supernet-step": Benchmark(
        supernet_step, goal=1.05, keys=("supernet_step_ms", "detectron2_step_ms"), repeats=40
    ),
    "import-time": Benchmark(
        import_time, goal=1.3, keys=("crnas_d2_import_s", "detectron2_import_s"), repeats=9
    ),
}


def run(name: str, repeats: int | None, device: str) -> bool:
    """Measures one benchmark and prints its result; returns whether the goal is met."""
    this = BENCHMARKS[name]
    repeats = repeats or this.repeats
    sides = this.make(device)
    measured = np.empty((repeats, 2))
    for pair in tqdm(range(-this.warm_up, repeats), desc=name, unit="pair"):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            value = sides[side]()
            if pair >= 0:
                measured[pair, side] = value

    columns = [*measured.T, measured[:, 0] / measured[:, 1]]
    quartiles = [[float(q) for q in np.percentile(column, [25, 50, 75])] for column in columns]
    ours, theirs, ratio = (median for _, median, _ in quartiles)
    met = ratio <= this.goal
    notes = ("", "", f"  goal <= {this.goal:g}: {'met' if met else 'MISSED'}")
    print(f"{name}: {this.summary} {repeats} pairs, {device}.")
    print(f"{'':20}{'lower quartile':>16}{'median':>16}{'upper quartile':>16}")
    for key, row, note in zip((*this.keys, "ratio"), quartiles, notes, strict=True):
        print(f"{key:20}" + "".join(f"{value:16.4f}" for value in row) + note)
    figures = {this.keys[0]: ours, this.keys[1]: theirs}
    print(json.dumps({"name": name, "ratio": ratio, "goal": this.goal, **figures}), flush=True)
    return met


def default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a benchmark, or: all")
    parser.add_argument("--repeats", type=int, help="pairs of runs (default: each one's own)")
    parser.add_argument("--device", help="default: cuda where there is a GPU, else cpu")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and exit")
    args = parser.parse_args(arguments)
    if args.list:
        for name, this in BENCHMARKS.items():
            print(f"{name:16} goal {this.goal:<5g} {this.summary}")
        return 0
    known = ", ".join([*BENCHMARKS, "all"])
    if not args.names:
        parser.error(f"name a benchmark: {known}")
    for name in args.names:
        if name not in BENCHMARKS and name != "all":
            parser.error(f"unknown benchmark '{name}'; known: {known}")
    if args.repeats is not None and args.repeats < 1:
        parser.error(f"--repeats is {args.repeats}; expected at least 1")
    device = args.device or default_device()
    names = BENCHMARKS if "all" in args.names else args.names
    met = [run(name, args.repeats, device) for name in names]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
