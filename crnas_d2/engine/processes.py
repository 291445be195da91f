"""The processes of a training: those that ``torchrun`` has started, or one that starts others."""

import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm

T = TypeVar("T")

_WAIT = 10  # seconds


def started_by_torchrun() -> bool:
    return dist.is_torchelastic_launched()


def join_torchrun() -> None:
    """Join the process group that ``torchrun`` describes in the environment.

    Raises:
        ValueError: there are more processes than GPUs on this machine.
    """
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


def from_first_rank(make: Callable[[], T]) -> T:
    """Return on all ranks what ``make`` returns on the first one, which alone calls it.

    If it raises an error, the first rank raises it and the others end.
    """
    made = error = None
    if comm.is_main_process():
        try:
            made = make()
        except Exception as raised:
            error = raised
    made, has_failed = comm.all_gather((made, error is not None))[0]
    if error is not None:
        raise error
    if has_failed:
        # torchrun ends all processes with the first that ends, which should be the one that says
        # why.
        time.sleep(_WAIT)
        sys.exit(1)
    return made
