"""What really runs, in one block of lines at the start of a training or a search."""

from collections.abc import Sized

from detectron2.config import CfgNode
from detectron2.utils import comm


def training_summary(
    cfg: CfgNode, scaled: CfgNode, images: Sized | None, start: int = 0
) -> list[str]:
    """Return lines about a training.

    Args:
        cfg: as the user wrote it.
        scaled: for this number of processes.
        images: of ``DATASETS.TRAIN``; ``None`` if they have no length.
        start: the first iteration, above 0 in a resumed training.
    """
    solver, processes = scaled.SOLVER, comm.get_world_size()
    per_process = solver.IMS_PER_BATCH // processes
    weights = scaled.MODEL.WEIGHTS or "random weights"
    epochs = ""
    if images is not None:
        count = solver.MAX_ITER * solver.IMS_PER_BATCH / len(images)
        epochs = f", {count:.3g} epochs of {len(images):,} images"
    lines = [
        f"processes: {processes} on {scaled.MODEL.DEVICE}{_precision(solver)}",
        f"images per step: {solver.IMS_PER_BATCH} ({per_process} per process{_parts(solver)})",
        f"iterations: {solver.MAX_ITER:,}{epochs}",
        f"learning rate: {solver.BASE_LR:.4g}, {solver.LR_SCHEDULER_NAME}{_steps(solver)}",
        f"warm-up: {solver.WARMUP_ITERS:,} iterations",
        f"seed: {describe_seed(scaled)}",
        f"starts from: {f'iteration {start:,}' if start else weights}",
    ]
    if scaled is not cfg and cfg.SOLVER.REFERENCE_WORLD_SIZE not in (0, processes):
        before = cfg.SOLVER
        lines.append(
            f"scaled from SOLVER.REFERENCE_WORLD_SIZE {before.REFERENCE_WORLD_SIZE}, for which the "
            f"config says {before.IMS_PER_BATCH} images per step, {before.MAX_ITER:,} iterations, "
            f"learning rate {before.BASE_LR:.4g}, warm-up {before.WARMUP_ITERS:,}; set it to "
            f"{processes} to run these"
        )
    return lines


def _parts(solver: CfgNode) -> str:
    parts = solver.GRADIENT_ACCUMULATION
    return f", in {parts} micro-batches" if parts > 1 else ""


def _precision(solver: CfgNode) -> str:
    return f", mixed precision with {solver.AMP.PRECISION}" if solver.AMP.ENABLED else ""


def _steps(solver: CfgNode) -> str:
    if solver.LR_SCHEDULER_NAME != "WarmupMultiStepLR":
        return f" to {solver.BASE_LR_END:.4g}"
    reached = [step for step in solver.STEPS if step < solver.MAX_ITER]
    return f", times {solver.GAMMA:g} at {', '.join(f'{step:,}' for step in reached) or 'no step'}"


def describe_seed(cfg: CfgNode) -> str:
    return str(cfg.SEED) if cfg.SEED >= 0 else "none (SEED -1), so that no two runs are alike"
