"""Learning rate schedules: Detectron2's, and a linear one."""

from detectron2 import solver
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from fvcore.common.param_scheduler import LinearParamScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["build_lr_scheduler", "check_lr_scheduler"]

LR_SCHEDULERS = (
    "WarmupMultiStepLR",
    "WarmupCosineLR",
    "WarmupLinearLR",
    "WarmupStepWithFixedGammaLR",
)
# Those that end at SOLVER.BASE_LR_END.
_WITH_END = ("WarmupCosineLR", "WarmupLinearLR")


def check_lr_scheduler(cfg) -> None:
    """Raise ValueError for an unknown schedule, or an end that lies above its start.

    Raises:
        ValueError: naming the key, its value and what was expected.
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
    """The schedule of ``SOLVER.LR_SCHEDULER_NAME``, stepped once per iteration.

    To Detectron2's schedules it adds ``WarmupLinearLR``: ``SOLVER.BASE_LR`` at iteration 0,
    falling linearly to ``SOLVER.BASE_LR_END`` at ``SOLVER.MAX_ITER`` (DetNAS section 4.1). As
    with the others, ``SOLVER.WARMUP_ITERS`` iterations of it are replaced by a warm-up.

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
