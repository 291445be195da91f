"""Whether the memory of the GPU suffices, before a training starts."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

from crnas_d2.config import NetworkSpec
from crnas_d2.config.architectures import find_architecture
from crnas_d2.cost import most_expensive_path
from crnas_d2.data.images.random_images import largest_batch
from crnas_d2.modeling import find_supernet

from .hooks import get_states, set_states
from .step_trainer import StepTrainer, total_loss

logger = logging.getLogger(__name__)

_GIB = 2**30
# Architectures whose inputs can be made up.
_KNOWN = ("GeneralizedRCNN", "ProposalNetwork", "RetinaNet", "ImageClassifier")


@dataclass
class GpuMemory:
    """Memory in bytes of a GPU."""

    device: torch.device

    def restart(self) -> None:
        """Return what is cached; measure the peak anew."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int:
        """The most that this process has used since :meth:`restart`."""
        return torch.cuda.max_memory_allocated(self.device)

    def total(self) -> int:
        return torch.cuda.mem_get_info(self.device)[1]

    def of_others(self) -> int:
        """What other processes use, and the driver for this one."""
        free, total = torch.cuda.mem_get_info(self.device)
        return total - free - torch.cuda.memory_reserved(self.device)


def find_memory(device: torch.device) -> GpuMemory | None:
    """Return the memory to check; ``None`` for a CPU, which can swap."""
    return GpuMemory(device) if device.type == "cuda" else None


def check_peak_memory(
    cfg: CfgNode, model: nn.Module, steps: Sequence[StepTrainer], images: Iterable[dict] = ()
) -> None:
    """Run one step of the most expensive path on the largest images, and undo it.

    The state of the optimizers for all parameters is added, which they only have after all paths
    were sampled. Gradients of other paths are not: they are freed before each step. The model and
    the random generators do not change. On a CPU nothing is checked.

    Args:
        cfg: scaled to the number of processes.
        model: without DistributedDataParallel around it.
        steps: of the training, the weights first.
        images: Detectron2's dicts of the training; none if they are not known.

    Raises:
        ValueError: the GPU has too little memory.
    """
    memory = find_memory(next(model.parameters()).device)
    if memory is None:
        return
    if cfg.MODEL.META_ARCHITECTURE not in _KNOWN or cfg.MODEL.KEYPOINT_ON:
        logger.info("The peak of the memory is not checked: inputs of the model are not known.")
        return
    parts, supernet = cfg.SOLVER.GRADIENT_ACCUMULATION, find_supernet(model)
    number = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size() // parts
    # The loaders of a channel search do not group images by orientation.
    grouped = cfg.DATALOADER.ASPECT_RATIO_GROUPING and len(steps) == 1
    batch = largest_batch(cfg, images, number=number, grouped=grouped)
    height, width = batch[0]["image"].shape[1:]
    what = f"{number} {'image' if number == 1 else 'images'} of {height}x{width} pixels"
    memory.restart()
    with _unchanged(model):
        who = "the network"
        if supernet is not None and supernet.has_paths:
            specs = (getattr(module, "spec", None) for module in model.modules())
            spec = next(spec for spec in specs if isinstance(spec, NetworkSpec))
            path, _ = most_expensive_path(spec, (height, width))
            supernet.set_path(path)
            who = f"the most expensive path, {path},"
        try:
            _run(model, steps, batch, passes=min(parts, 2))
        except torch.OutOfMemoryError as error:
            raise ValueError(_explain(cfg, who, what, number, memory)) from error
    peak, total = memory.peak() / _GIB, memory.total() / _GIB
    logger.info("Memory: %s takes %.1f of %.1f GiB for %s.", who.rstrip(","), peak, total, what)
    memory.restart()


def _run(model: nn.Module, steps: Sequence[StepTrainer], batch: list[dict], *, passes: int) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    state = sum(_missing_state(step.optimizer) for step in steps)
    kept = [torch.empty(state, dtype=torch.uint8, device=trained[0].device)]
    # From the second micro-batch on, there are gradients during the forward pass. (backward() would
    # tell DistributedDataParallel that a path has run.)
    for _ in range(passes):
        loss = total_loss(steps[0].forward(model, batch))
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        kept += [gradient for gradient in gradients if gradient is not None]
        del loss, gradients
    if passes == 1:  # the optimizer adds the weight decay to a copy of all gradients
        kept += [torch.empty_like(gradient) for gradient in kept[1:]]


def _missing_state(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes that the state of SGD or Adam will still grow by."""
    missing = 0
    for group in optimizer.param_groups:
        copies = 2 if "betas" in group else int(group.get("momentum", 0) > 0)
        missing += copies * sum(p.nbytes for p in group["params"] if p not in optimizer.state)
    return missing


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Restore what a step changes, apart from weights: it takes none of the optimizer."""
    supernet = find_supernet(model)
    path = None if supernet is None else supernet.path
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    attributes = dict(vars(model))  # dense detectors count their positive anchors in one
    states = get_states()
    try:
        with EventStorage(1):  # in which the model notes its losses
            yield
    finally:
        set_states(states)
        vars(model).clear()
        vars(model).update(attributes)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
        if supernet is not None and path is not None:
            supernet.set_path(path)
        elif supernet is not None:
            supernet.path = None  # each step of a training sets its own


def _explain(cfg: CfgNode, who: str, what: str, number: int, memory: GpuMemory) -> str:
    parts = cfg.SOLVER.GRADIENT_ACCUMULATION
    divisor = next((n for n in range(2, number + 1) if number % n == 0), 1)
    changes = {
        f"set SOLVER.GRADIENT_ACCUMULATION to {parts * divisor}": number > 1,
        "set SOLVER.AMP.ENABLED to True": not cfg.SOLVER.AMP.ENABLED,
        "lower INPUT.MIN_SIZE_TRAIN and MAX_SIZE_TRAIN": not find_architecture(cfg).classifies,
        "use a GPU with more memory": True,
    }
    advice = ", or ".join(change for change, helps in changes.items() if helps)
    peak, total, others = memory.peak() / _GIB, memory.total() / _GIB, memory.of_others() / _GIB
    return (
        f"The memory of the GPU is too small for {who} in a step on {what}: the step needs more "
        f"than {peak:.1f} GiB; the GPU has {total:.1f} GiB, of which the driver and other "
        f"processes use {others:.1f} GiB. {advice[0].upper()}{advice[1:]}."
    )
