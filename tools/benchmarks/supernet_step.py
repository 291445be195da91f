"""See :func:`supernet_step`."""

import itertools
import math

from ._sides import Benchmark, Sides, milliseconds


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
    from crnas_d2.data.images.random_images import random_images
    from crnas_d2.engine import PathSampling, Trainer
    from crnas_d2.layers import active_modules
    from crnas_d2.space import Genotype

    cfg = load_config("crnas_d2://configs/letters/supernet-stage.yaml", ["MODEL.DEVICE", device])
    genotype = Genotype(depths=(3, 4, 6, 3))
    size = cfg.INPUT.MIN_SIZE_TRAIN[0]
    batch = random_images(cfg, cfg.SOLVER.IMS_PER_BATCH, (size, size), objects=6)

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


BENCHMARK = Benchmark(
    supernet_step, goal=1.05, keys=("supernet_step_ms", "detectron2_step_ms"), repeats=40
)
