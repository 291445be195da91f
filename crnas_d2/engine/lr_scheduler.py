"""Learning rate schedules: Detectron2's, and a linear one."""

from detectron2 import solver
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from fvcore.common.param_scheduler import LinearParamScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

LR_SCHEDULERS = (
    "WarmupMultiStepLR",
    "WarmupCosineLR",
    "WarmupLinearLR",
    "WarmupStepWithFixedGammaLR",
)
# Schedules that end at SOLVER.BASE_LR_END.
_WITH_END = ("WarmupCosineLR", "WarmupLinearLR")


def check_lr_scheduler(cfg) -> None:
    """Check the keys of the schedule.

    Raises:
        ValueError: an unknown schedule or warm-up, or an end above the start. The message has the
            key, its value and the expected one.
    """
    settings = cfg.SOLVER
    if settings.LR_SCHEDULER_NAME not in LR_SCHEDULERS:
        raise ValueError(
            f"SOLVER.LR_SCHEDULER_NAME is '{settings.LR_SCHEDULER_NAME}'; expected one of "
            f"{', '.join(LR_SCHEDULERS)}."
        )
    ends = settings.LR_SCHEDULER_NAME in _WITH_END
    if ends and not 0 <= settings.BASE_LR_END <= settings.BASE_LR:
        raise ValueError(
            f"SOLVER.BASE_LR_END is {settings.BASE_LR_END}; {settings.LR_SCHEDULER_NAME} needs a "
            f"value from 0 to SOLVER.BASE_LR, which is {settings.BASE_LR}."
        )
    if settings.WARMUP_METHOD not in ("constant", "linear"):
        raise ValueError(
            f"SOLVER.WARMUP_METHOD is '{settings.WARMUP_METHOD}'; expected 'constant' or 'linear'."
        )


def build_lr_scheduler(cfg, optimizer: Optimizer) -> LRScheduler:
    """Build the schedule of ``SOLVER.LR_SCHEDULER_NAME``, stepped once per iteration.

    In addition to Detectron2's schedules there is ``WarmupLinearLR``: ``SOLVER.BASE_LR`` at
    iteration 0, falling linearly to ``SOLVER.BASE_LR_END`` at ``SOLVER.MAX_ITER`` (DetNAS section
    4.1). As in the others, a warm-up replaces the first ``SOLVER.WARMUP_ITERS`` iterations.

    Raises:
        ValueError: see :func:`check_lr_scheduler`.
    """
    check_lr_scheduler(cfg)
    settings = cfg.SOLVER
    if settings.LR_SCHEDULER_NAME != "WarmupLinearLR":
        return solver.build_lr_scheduler(cfg, optimizer)
    schedule = WarmupParamScheduler(
        LinearParamScheduler(1.0, settings.BASE_LR_END / settings.BASE_LR),
        settings.WARMUP_FACTOR,
        min(settings.WARMUP_ITERS / settings.MAX_ITER, 1.0),
        settings.WARMUP_METHOD,
        settings.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=settings.MAX_ITER)
