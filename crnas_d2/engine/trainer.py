"""Training of supernets and of single networks."""

import logging
import weakref
from collections.abc import Iterable, Iterator, Sized
from contextlib import nullcontext
from importlib.util import find_spec as find_module
from pathlib import Path

import torch
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.hooks import PreciseBN
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler

from crnas_d2.checkpoint import FINAL, TrainingCheckpointer, describe_network
from crnas_d2.data import build_test_loader, build_train_loader, class_record
from crnas_d2.evaluation import build_evaluator
from crnas_d2.layers import resolve_norm
from crnas_d2.modeling import MixedSupernet, SinglePathSupernet, find_supernet

from .alternating_trainer import AlternatingTrainer, build_alternating_trainer
from .found_network import found_network, replace_norms
from .gradient_exchange import GradientExchange, PathParameters
from .hooks import ContinuedRandomness, RepeatedPreciseBN
from .path_samplers import AlphaProgress, PathSampling, build_path_sampler
from .peak_memory import check_peak_memory
from .solver import build_lr_scheduler, build_optimizer
from .step_trainer import StepTrainer, step_settings

logger = logging.getLogger(__name__)

# Detectron2's dense detectors keep a running mean of the number of positive anchors here, which is
# not a tensor.
_NORMALIZER = "loss_normalizer"


class Trainer(DefaultTrainer):
    """Detectron2's default trainer, for models of which only a part runs in each step.

    A channel supernet is searched while it is trained, see :class:`AlternatingTrainer`.
    """

    def __init__(self, cfg):
        # The steps of DefaultTrainer.__init__, which fixes the arguments of DDP. Here DDP needs
        # find_unused_parameters, because parameters off the path get no gradient in a step.
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        steps = step_settings(cfg)
        model = self.build_model(cfg)
        supernet = find_supernet(model)
        optimizer = self.build_optimizer(cfg, model)
        is_mixed = isinstance(supernet, MixedSupernet)
        is_single_path = isinstance(supernet, SinglePathSupernet)
        data_loader = None if is_mixed else self.build_train_loader(cfg)
        ddp_args = {} if cfg.MODEL.DEVICE.startswith("cuda") else {"device_ids": None}
        model = create_ddp_model(
            model,
            broadcast_buffers=False,
            find_unused_parameters=is_single_path,
            **ddp_args,
        )
        if is_mixed:
            self._trainer = build_alternating_trainer(cfg, model, optimizer, steps)
        else:
            self._trainer = StepTrainer(model, data_loader, optimizer, **steps)
        if isinstance(model, DistributedDataParallel) and supernet is not None:
            used = PathParameters(model.module, supernet) if is_single_path else self._trainer.used
            GradientExchange(used).register(model)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = TrainingCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            inherit=cfg.MODEL.INHERIT,
            network=describe_network(cfg),
            max_to_keep=cfg.SOLVER.CHECKPOINT_MAX_TO_KEEP,
            record=class_record(cfg),
            trainer=weakref.proxy(self),
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        if not is_mixed:  # whose steps have random numbers of their own
            self.register_hooks([ContinuedRandomness(cfg.SOLVER.CHECKPOINT_PERIOD)])
        # Before the other hooks, so that they see the path that will run.
        if is_single_path:
            sampler = build_path_sampler(cfg, supernet.space)
            self.register_hooks([PathSampling(supernet, sampler)])
        if is_mixed:
            # Before the writers, which write what is in the storage.
            self.register_hooks([AlphaProgress(supernet)])
        self.register_hooks(self.build_hooks())

    def state_dict(self) -> dict:
        """Return all that a resumed training needs to equal an uninterrupted one."""
        state = super().state_dict()
        if hasattr(self.data_loader, "state_dict") and "alpha" not in state["_trainer"]:
            state["loader"] = self.data_loader.state_dict()
        if hasattr(self.plain_model, _NORMALIZER):
            state[_NORMALIZER] = getattr(self.plain_model, _NORMALIZER)
        return state

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        if "loader" in state:
            self.data_loader.load_state_dict(state["loader"])
        elif not isinstance(self._trainer, AlternatingTrainer):
            logger.warning("The checkpoint is of an older version: the images start over.")
        if _NORMALIZER in state:
            setattr(self.plain_model, _NORMALIZER, state[_NORMALIZER])

    @property
    def train_images(self) -> Sized | None:
        """The images of ``DATASETS.TRAIN``; ``None`` if they have no length."""
        images = getattr(self.data_loader, "dataset", None)
        return images if isinstance(images, Sized) else None

    def _train_entries(self, steps: list[StepTrainer]) -> Iterator[dict]:
        """Yield Detectron2's dicts of all images, as far as the loaders tell them."""
        for step in steps:
            yield from getattr(getattr(step.data_loader, "dataset", None), "images", ())

    @property
    def plain_model(self) -> nn.Module:
        """The model without DistributedDataParallel around it."""
        is_wrapped = isinstance(self.model, DistributedDataParallel)
        return self.model.module if is_wrapped else self.model

    def train(self) -> dict | None:
        """Train up to ``SOLVER.MAX_ITER``; return the results of the last evaluation, if expected.

        On a GPU, its memory is checked first, see :func:`check_peak_memory`.

        On a CPU, scripted losses (RetinaNet's) are not optimized: torch would do that after their
        first calls in a process, so a resumed training would round them in another way.
        """
        if self.start_iter >= self.max_iter and self.checkpointer.resumed != FINAL:
            # It was killed between its last steps and the end, or the final file is damaged.
            self.checkpointer.save(Path(FINAL).stem, iteration=self.start_iter - 1)
        if self.start_iter < self.max_iter:
            runner = self._trainer
            is_mixed = isinstance(runner, AlternatingTrainer)
            steps = [runner.weights, runner.alphas] if is_mixed else [runner]
            check_peak_memory(self.cfg, self.plain_model, steps, self._train_entries(steps))
        on_cpu = self.cfg.MODEL.DEVICE == "cpu"
        with torch.jit.optimized_execution(False) if on_cpu else nullcontext():
            return super().train()

    def checkpoint_size(self) -> int:
        """Return the approximate size of a checkpoint in bytes."""
        return checkpoint_size(self.cfg, self.plain_model)

    def build_writers(self) -> list[EventWriter]:
        _end_line(Path(self.cfg.OUTPUT_DIR) / "metrics.json")
        writers = super().build_writers()
        if find_module("tensorboard") is not None:
            return writers
        logger.info("No files for TensorBoard, which is not installed (pip install tensorboard).")
        return [writer for writer in writers if not isinstance(writer, TensorboardXWriter)]

    def build_hooks(self) -> list[HookBase | None]:
        return [
            RepeatedPreciseBN(hook) if isinstance(hook, PreciseBN) else hook
            for hook in super().build_hooks()
        ]

    @classmethod
    def build_model(cls, cfg) -> nn.Module:
        """Build the model of ``cfg``; each ``SyncBN`` becomes the version for this process."""
        cfg = cfg.clone()
        cfg.defrost()
        replace_norms(cfg, lambda norm: resolve_norm(norm, cfg.MODEL.DEVICE))
        return build_model(cfg)

    @classmethod
    def build_train_loader(cls, cfg) -> Iterable[list[dict]]:
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name: str) -> Iterable[list[dict]]:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name: str) -> DatasetEvaluator:
        return build_evaluator(cfg, dataset_name)

    @classmethod
    def build_optimizer(cls, cfg, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return build_lr_scheduler(cfg, optimizer)

    @staticmethod
    def auto_scale_workers(cfg, num_workers: int):
        """Scale to another number of processes as Detectron2 does, and what it does not know.

        With ``SOLVER.REFERENCE_WORLD_SIZE`` set, images per process, learning rate per image and
        the total number of images stay the same: batch size and learning rates grow with the
        number of processes; iterations, steps and periods shrink. Cosine and linear schedules are
        functions of iteration / ``MAX_ITER``, so they keep their shape.

        Alpha is trained in as many epochs, so with fewer processes in more steps. A step of Adam is
        about as long as its learning rate, whatever the gradient is. So that alpha can move as far
        in total, the rate grows with the number of processes, too.
        """
        scaled = DefaultTrainer.auto_scale_workers(cfg, num_workers)
        if scaled is not cfg:
            frozen = scaled.is_frozen()
            scaled.defrost()
            factor = num_workers / cfg.SOLVER.REFERENCE_WORLD_SIZE
            scaled.SOLVER.BASE_LR_END *= factor
            scaled.SOLVER.ALPHA.BASE_LR *= factor
            if frozen:
                scaled.freeze()
        return scaled

    @classmethod
    def test(cls, cfg, model: nn.Module, evaluators=None) -> dict:
        """Score a single network on ``DATASETS.TEST``; a supernet has no score of its own.

        Of a channel supernet, the network is scored that its search has found so far.
        """
        supernet = find_supernet(model)
        if isinstance(supernet, SinglePathSupernet):
            if cfg.DATASETS.TEST:
                logger.info("A supernet is not evaluated: a search scores its subnets.")
            return {}
        if isinstance(supernet, MixedSupernet) and cfg.DATASETS.TEST:
            logger.info("Scoring the network of the strongest dilations, with BN calibrated.")
            with found_network(cfg, model) as found:
                return super().test(cfg, found, evaluators)
        return super().test(cfg, model, evaluators)


def checkpoint_size(cfg, model: nn.Module) -> int:
    """Return the approximate size of a checkpoint in bytes: the weights and their momentum."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    return weights + (cfg.SOLVER.MOMENTUM > 0) * sum(parameter.nbytes for parameter in trained)


def _end_line(path: Path) -> None:
    """End the last line of a file, if a killed process has left half of one."""
    if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with path.open("a") as stream:
            stream.write("\n")
