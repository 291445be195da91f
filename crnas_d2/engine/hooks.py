"""Trainer hooks with which a stopped and resumed training equals an uninterrupted one."""

import logging
import random
import signal
import sys
import threading
from types import FrameType
from typing import Any

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.engine.hooks import PreciseBN
from detectron2.utils import comm

from crnas_d2.checkpoint import FINAL

logger = logging.getLogger(__name__)


class ContinuedRandomness(HookBase):
    """Save the states of the global generators of every rank with a checkpoint, each ``period``.

    The states between two steps belong to the training: what evaluations and other hooks draw
    changes nothing, because a resumed training does not repeat it. Register it before all other
    hooks, on all ranks.
    """

    def __init__(self, period: int):
        self.period = period
        self._own: dict | None = None  # of this rank
        self._all: list[dict] = []  # on the main process, of each rank

    def before_step(self) -> None:
        if self._own is not None:
            set_states(self._own)

    def after_step(self) -> None:
        self._own = get_states()
        step = self.trainer.iter + 1
        if step % self.period == 0 or step == self.trainer.max_iter:
            self.gather()

    def gather(self) -> None:
        """Collect the states of all ranks for a checkpoint; called on all of them."""
        self._all = comm.gather(self._own)

    def state_dict(self) -> dict:
        return {"states": self._all}

    def load_state_dict(self, state: dict) -> None:
        self._all = state["states"]
        if len(self._all) != comm.get_world_size():
            logger.warning(
                f"The checkpoint is of {len(self._all)} processes, this training has "
                f"{comm.get_world_size()}: its random numbers are others than those of an "
                "uninterrupted one."
            )
        else:
            self._own = self._all[comm.get_rank()]


class TrainingStopped(KeyboardInterrupt):
    """A training was stopped by a signal; the message says where it continues, and how."""


class StopOnSignal(HookBase):
    """Stop after the step in which Ctrl-C or SIGTERM came to any rank, with a checkpoint of it.

    A second Ctrl-C stops at once. Register it after all other hooks, on all ranks, and call
    :meth:`restore` when the training has ended in any way: another hook may raise after it.
    """

    def __init__(self) -> None:
        self._came: set[int] = set()
        self._before: dict[int, Any] = {}

    def before_train(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # which alone may handle signals
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if before not in (None, signal.SIG_IGN):  # a job in the background may ignore them
                self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in self._came:
            raise KeyboardInterrupt
        if not self._came and comm.is_main_process():
            print("Stopping after this step; Ctrl-C stops at once.", file=sys.stderr, flush=True)
        self._came.add(number)

    def after_step(self) -> None:
        trainer, name = self.trainer, f"model_{self.trainer.iter:07d}"
        is_last = trainer.iter + 1 == trainer.max_iter  # of which there is a checkpoint
        if is_last:
            self.restore()  # the evaluation that follows is stopped at once
        if not any(comm.all_gather(bool(self._came))):
            return
        if not is_last:
            for hook in trainer._hooks:
                if isinstance(hook, ContinuedRandomness):
                    hook.gather()
            trainer.checkpointer.save(name, iteration=trainer.iter)
        raise TrainingStopped(
            f"Stopped after iteration {trainer.iter + 1:,} of {trainer.max_iter:,}, which "
            f"{FINAL if is_last else f'{name}.pth'} in {trainer.cfg.OUTPUT_DIR} holds. The same "
            "command with --resume continues from there."
        )

    def restore(self) -> None:
        """Give both signals back to who handled them before the training."""
        while self._before:
            signal.signal(*self._before.popitem())


class RepeatedPreciseBN(PreciseBN):
    """Detectron2's hook, on the same images each time, so that a resumed training agrees.

    It replaces ``hook``, whose loader can be resumed.
    """

    def __init__(self, hook: PreciseBN):
        self.__dict__.update(vars(hook))
        self._start = self._data_loader.state_dict()

    def update_stats(self) -> None:
        self._data_iter = None
        self._data_loader.load_state_dict(self._start)
        super().update_stats()

    def state_dict(self) -> dict:
        return {"loader": self._start}

    def load_state_dict(self, state: dict) -> None:
        self._start = state["loader"]


def get_states() -> dict:
    """Return the states of the global generators as types that ``weights_only`` admits."""
    version, numbers, gauss = random.getstate()
    _, key, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = {
        "python": [version, list(numbers), gauss],
        "numpy": [torch.from_numpy(np.asarray(key, np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_states(states: dict) -> None:
    """Set what :func:`get_states` has returned."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    key, *rest = states["numpy"]
    np.random.set_state(("MT19937", key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
