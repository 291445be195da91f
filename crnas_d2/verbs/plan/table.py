"""The table of a plan, and what its numbers count."""

from collections.abc import Iterator, Sequence

from crnas_d2.common.formats import format_hours, format_macs, format_passes, format_size

from .planner import Plan

HEADERS = (
    *("config", "work", "MACs", "steps", "image passes"),
    *("GPU hours", "hours", "memory", "disk"),
)


def cells(plan: Plan) -> list[str]:
    """Return the row of a plan."""
    estimate = plan.estimate
    return [
        f"{plan.verb} {plan.file}",
        str(estimate.work),
        format_macs(plan.macs.counted),
        f"{estimate.work.steps:,}" if estimate.work.steps else "",
        format_passes(estimate.work.passes),
        format_hours(plan.hours),
        format_hours(plan.hours / plan.num_processes),
        format_size(estimate.memory),
        format_size(estimate.disk),
    ]


def total(plans: Sequence[Plan]) -> list[str]:
    """Return the last row: sums, and the most memory."""
    works = [plan.estimate.work for plan in plans]
    return [
        "all",
        "",
        "",
        f"{sum(work.steps for work in works):,}",
        format_passes(sum(work.passes for work in works)),
        format_hours(sum(plan.hours for plan in plans)),
        format_hours(sum(plan.hours / plan.num_processes for plan in plans)),
        format_size(max(plan.estimate.memory for plan in plans)),
        format_size(sum(plan.estimate.disk for plan in plans)),
    ]


def scope(plans: Sequence[Plan], how: str) -> Iterator[str]:
    """Yield sentences that say what the numbers count.

    Args:
        how: where the hours come from.
    """
    numbers = map(str, sorted({plan.num_processes for plan in plans}))
    yield (
        "MACs: multiply-adds of a forward pass for one image, as crnas-d2 analyze counts them; of "
        "a supernet, the mean path or candidate."
    )
    yield (
        f"GPU hours: {how}; without loading and decoding images. Hours: on {' or '.join(numbers)} "
        "of them, evenly shared."
    )
    yield (
        "Memory: of one GPU, weights, gradients, momentum and activations of the most expensive "
        "path at the largest image. Not counted: ROIAlign, anchors, losses, and "
        "what cuDNN and the allocator need."
    )
    yield "Disk: checkpoints that are kept, and the study; neither datasets nor their copies."
    for plan in plans:
        for note in plan.notes:
            yield f"{plan.file}: {note}."
