#!/usr/bin/env python
"""Measure the overhead over plain Detectron2: ``benchmark.py NAME [NAME ...|all]``.

A benchmark compares two sides, ours first. They run alternately (A B, B A, A B, ...) after a
warm-up, so that a slow phase of the machine affects both. The output is a table with one row per
side and one for their ratio. Its last line is a JSON object with ``name``, ``ratio``, ``goal`` and
the medians of the two sides, named as in the table and ending in their unit.

``ratio`` is the median over the pairs of runs, ours / theirs. Both runs of a pair see the same
machine, which makes it steadier than the quotient of the two medians; the two may differ a little.
If the goal is between its quartiles, the machine was too busy to tell: free it, raise
``--repeats``, or set ``OMP_NUM_THREADS=1`` on a shared CPU. A benchmark with several cases prints a
table of each, and its last line is that of the case with the highest ratio.

The exit status is 0 if every ratio is at most its goal, else 1. A ``goal`` of null means no goal.
"""

import argparse
import itertools
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

# Torch, Detectron2 and this project are imported where they are used, because --list and
# import-time do not need them.
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # measure this checkout, installed or not

Sides = tuple[Callable[[], float], Callable[[], float]]
Cases = dict[str, Sides]


@dataclass(frozen=True)
class Benchmark:
    """
    Attributes:
        make: builds the two sides for a device, ours first; a call of a side is one measurement.
            It may also build several cases, keyed by name.
        goal: the highest acceptable ratio; None if the ratio is only for information.
        keys: names of the two figures, ending in their unit.
        repeats: pairs of measurements, unless ``--repeats`` is given.
        warm_up: pairs before them that do not count.
    """

    make: Callable[[str], Sides | Cases]
    goal: float | None
    keys: tuple[str, str]
    repeats: int
    warm_up: int = 1

    @property
    def summary(self) -> str:
        return self.make.__doc__.splitlines()[0]


def supernet_step(device: str) -> Sides:
    """A training step of a supernet on one path, over one of the same network by itself.

    Ours is a full step of our trainer on one process: sampling of a path, ``set_path``, forward,
    backward, and the optimizer's loop over the parameters of all paths. Only the sampled path is
    replaced, always by the same genotype.
    """
    import torch
    from detectron2.engine import SimpleTrainer
    from detectron2.modeling import build_model
    from detectron2.solver import build_lr_scheduler, build_optimizer
    from detectron2.utils.events import EventStorage

    from crnas_d2.config import load_config
    from crnas_d2.engine import PathSampling, Trainer
    from crnas_d2.layers import active_modules
    from crnas_d2.space import Genotype

    cfg = load_config("crnas_d2://configs/digits/supernet-stage.yaml", ["MODEL.DEVICE", device])
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

    # Detectron2's own builder does not support the narrow BasicBlocks of this config. For a fixed
    # network ours returns Detectron2's FPN over Detectron2's ResNet and nothing else.
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

        def phases():
            trainer.before_step()
            trainer.run_step()
            trainer.after_step()

        with trainer.storage:
            elapsed = milliseconds(phases, device)
        trainer.iter += 1
        return elapsed

    ours.storage, plain.storage = EventStorage(), EventStorage()
    for _ in range(2):  # the second loss also depends on the first update
        step(ours), step(plain)
        losses = [trainer.storage.latest()["total_loss"][0] for trainer in (ours, plain)]
        # Equal except for the order in which a GPU adds.
        if not math.isclose(*losses, rel_tol=0.01):
            raise RuntimeError(f"The two sides take different steps: their losses are {losses}.")
    return lambda: step(ours), lambda: step(plain)


def tensors(modules) -> list:
    """Return the parameters and buffers of the modules themselves, detached."""
    return [
        tensor.detach()
        for module in modules
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    ]


def synthetic_batch(cfg) -> list[dict]:
    """Make a batch of noise with six boxes per image, in the format of Detectron2's mapper."""
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


# The 3x3 convolution of a res4 block of ResNet-50, on images of 800x1088 pixels.
CHANNELS, MAP, IMAGES, CHANNELS_PER_GROUP = 256, (50, 68), 2, 16


def dilation_cases() -> dict[str, tuple]:
    """Return three sets of dilations of NATS: small, medium and large."""
    from crnas_d2.space.dilations import DILATION_SETS

    sets = (DILATION_SETS["B"]["res4"], DILATION_SETS["C"]["res4"], DILATION_SETS["C"]["res5"])
    return {f"{len(dilations)} dilations": dilations for dilations in sets}


def feature_map(device: str):
    import torch

    shape = (IMAGES, CHANNELS, *MAP)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)


def mixed_conv(dilations: tuple, device: str):
    """Build a channel-mixed convolution whose replicas and shares all differ."""
    import torch

    from crnas_d2.layers.channel_mixed_conv import ChannelMixedConv2d

    torch.manual_seed(0)
    conv = ChannelMixedConv2d(
        CHANNELS, CHANNELS, dilations=dilations, channels_per_group=CHANNELS_PER_GROUP
    )
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return conv.to(device)


def mixed_conv_memory(device: str) -> Cases:
    """Memory that a channel-mixed convolution keeps for backward, over NATS's Eq. 3 written out."""
    import torch
    from torch.nn import functional as F

    def written_out(conv, x):
        shares = conv.alpha.softmax(dim=1).repeat_interleave(CHANNELS_PER_GROUP, dim=0)
        return sum(
            share.view(-1, 1, 1) * F.conv2d(x, weight, padding=dilation, dilation=dilation)
            for share, weight, dilation in zip(
                shares.unbind(1), conv.weights, conv.dilations, strict=True
            )
        )

    def kept_mib(forward, conv) -> float:
        """Count tensors that share memory once, and parameters not at all."""
        kept = {}

        def pack(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor  # kept alive: its address is unique
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            forward(conv, x)
        for parameter in conv.parameters():
            kept.pop(parameter.untyped_storage().data_ptr(), None)
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2**20

    def sides(dilations) -> Sides:
        conv = mixed_conv(dilations, device)
        with torch.no_grad():
            torch.testing.assert_close(conv(x), written_out(conv, x), rtol=0.01, atol=0.01)
        return lambda: kept_mib(type(conv).forward, conv), lambda: kept_mib(written_out, conv)

    x = feature_map(device).requires_grad_()
    return {case: sides(dilations) for case, dilations in dilation_cases().items()}


def mixed_conv_time(device: str) -> Cases:
    """Forward and backward of a channel-mixed convolution, over one plain one per dilation."""
    import torch
    from detectron2.layers import Conv2d

    def sides(dilations) -> Sides:
        mixed = mixed_conv(dilations, device)
        plain = torch.nn.ModuleList(
            Conv2d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation, bias=False)
            for dilation in dilations
        ).to(device)

        def step(network, forward) -> float:
            network.zero_grad()
            x.grad = None

            def forward_and_backward():
                outputs = forward()
                torch.autograd.backward(outputs, [gradient] * len(outputs))

            return milliseconds(forward_and_backward, device)

        return (
            lambda: step(mixed, lambda: [mixed(x)]),
            lambda: step(plain, lambda: [conv(x) for conv in plain]),
        )

    x = feature_map(device).requires_grad_()
    gradient = torch.ones_like(x)
    return {case: sides(dilations) for case, dilations in dilation_cases().items()}


def decoded_conv(device: str) -> Cases:
    """A decoded convolution at inference, over the plain one from which it was split."""
    import torch
    from detectron2.layers import Conv2d

    from crnas_d2.layers.decoded_conv import decode_conv

    def sides(dilations) -> Sides:
        plain, base = (Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False) for _ in range(2))
        groups = CHANNELS // CHANNELS_PER_GROUP
        choice = random.Random(0).choices(range(len(dilations)), k=groups)
        decoded = decode_conv(base, dilations=dilations, choice=choice)

        def step(conv) -> float:
            with torch.inference_mode():
                return milliseconds(lambda: conv(x), device)

        ours, theirs = decoded.to(device), plain.to(device)
        return lambda: step(ours), lambda: step(theirs)

    x = feature_map(device)
    return {case: sides(dilations) for case, dilations in dilation_cases().items()}


def milliseconds(function: Callable[[], object], device: str) -> float:
    import torch

    synchronize = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return (time.perf_counter() - start) * 1e3


def import_time(device: str) -> Sides:
    """Import of crnas_d2 in a fresh interpreter, over the imports of a Detectron2 project."""

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
    "mixed-conv-memory": Benchmark(
        mixed_conv_memory, goal=0.65, keys=("mixed_conv_mib", "written_out_mib"), repeats=1
    ),
    "mixed-conv-time": Benchmark(
        mixed_conv_time, goal=1.15, keys=("mixed_conv_ms", "plain_convs_ms"), repeats=9
    ),
    "decoded-conv": Benchmark(
        decoded_conv, goal=None, keys=("decoded_conv_ms", "plain_conv_ms"), repeats=25, warm_up=3
    ),
}


def run(name: str, repeats: int | None, device: str) -> bool:
    """Measure one benchmark and print its result; return whether the goal is met."""
    this = BENCHMARKS[name]
    repeats = repeats or this.repeats
    made = this.make(device)
    cases = made if isinstance(made, dict) else {"": made}
    measured = {
        case: measure(sides, repeats, this.warm_up, f"{name} {case}".strip())
        for case, sides in cases.items()
    }
    print(f"{name}: {this.summary} {repeats} pairs, {device}.")
    results = {}
    for case, values in measured.items():
        columns = [*values.T, values[:, 0] / values[:, 1]]
        quartiles = [[float(q) for q in np.percentile(column, [25, 50, 75])] for column in columns]
        results[case] = [median for _, median, _ in quartiles]
        notes = ("", "", f"  {verdict(results[case][-1], this.goal)}")
        print(f"{case:20}{'lower quartile':>16}{'median':>16}{'upper quartile':>16}")
        for key, row, note in zip((*this.keys, "ratio"), quartiles, notes, strict=True):
            print(f"{key:20}" + "".join(f"{value:16.4f}" for value in row) + note)
    # A ratio that is NaN counts as the worst.
    ours, theirs, ratio = max(
        results.values(), key=lambda result: (math.isnan(result[-1]), result[-1])
    )
    figures = {this.keys[0]: ours, this.keys[1]: theirs}
    print(json.dumps({"name": name, "ratio": ratio, "goal": this.goal, **figures}), flush=True)
    return meets(ratio, this.goal)


def measure(sides: Sides, repeats: int, warm_up: int, title: str) -> np.ndarray:
    """Measure the two sides pair by pair, ``(repeats, 2)``."""
    measured = np.empty((repeats, 2))
    for pair in tqdm(range(-warm_up, repeats), desc=title, unit="pair"):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            value = sides[side]()
            if pair >= 0:
                measured[pair, side] = value
    return measured


def meets(ratio: float, goal: float | None) -> bool:
    return goal is None or ratio <= goal


def verdict(ratio: float, goal: float | None) -> str:
    if goal is None:
        return "no goal"
    return f"goal <= {goal:g}: {'met' if meets(ratio, goal) else 'MISSED'}"


def default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str) -> None:
    import torch

    from crnas_d2.config.values import check_device

    check_device("--device", name)
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device is {name}, but there is no GPU; use cpu.")


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
            goal = "no goal" if this.goal is None else f"goal {this.goal:g}"
            print(f"{name:18} {goal:10} {this.summary}")
        return 0
    known = ", ".join([*BENCHMARKS, "all"])
    if not args.names:
        parser.error(f"name a benchmark: {known}")
    for name in args.names:
        if name not in BENCHMARKS and name != "all":
            parser.error(f"unknown benchmark '{name}'; known: {known}")
    if args.repeats is not None and args.repeats < 1:
        parser.error(f"--repeats is {args.repeats}; expected at least 1")
    from crnas_d2.jobs import one_line_errors

    device = args.device or default_device()
    names = BENCHMARKS if "all" in args.names else args.names
    with one_line_errors(__file__):
        check_device(device)
        met = [run(name, args.repeats, device) for name in names]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
