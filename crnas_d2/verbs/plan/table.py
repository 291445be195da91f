"""The table of plans, and what its numbers count."""

from collections.abc import Iterator, Sequence

from crnas_d2.common.formats import format_hours, format_macs, format_passes, format_size

from .planner import Plan


def headers(device: str) -> tuple[str, ...]:
    """Return the names of the columns; ``device``: GPU or CPU, whose hours are counted."""
    counts = "config", "work", "MACs", "steps", "image passes"
    return (*counts, f"{device} hours", "hours", "memory", "disk")


def cells(plan: Plan) -> list[str]:
    """Return the row of a plan."""
    estimate = plan.estimate
    return [
        f"{plan.verb} {plan.file}",
        str(estimate.work),
        format_macs(plan.macs.counted),
        f"{estimate.work.steps:,}" if estimate.work.steps else "",
        format_passes(estimate.work.passes),
        format_hours(plan.gpu_hours),
        format_hours(plan.hours),
        format_size(estimate.memory),
        format_size(estimate.disk),
    ]


def total(plans: Sequence[Plan]) -> list[str]:
    """Return the last row: sums, and the most memory."""
    estimates = [plan.estimate for plan in plans]
    return [
        *("all", "", ""),
        f"{sum(estimate.work.steps for estimate in estimates):,}",
        format_passes(sum(estimate.work.passes for estimate in estimates)),
        format_hours(sum(plan.gpu_hours for plan in plans)),
        format_hours(sum(plan.hours for plan in plans)),
        format_size(max((e.memory for e in estimates if e.memory is not None), default=None)),
        format_size(sum(estimate.disk for estimate in estimates)),
    ]


def scope(plans: Sequence[Plan], how: str, device: str) -> Iterator[str]:
    """Yield sentences that say what the numbers count; ``how``: where the hours come from."""
    numbers = " or ".join(map(str, sorted({plan.num_processes for plan in plans})))
    yield (
        "MACs: multiply-adds of a forward pass for one image, as crnas-d2 analyze counts them; of "
        "a supernet, the mean path or candidate."
    )
    yield (
        f"{device} hours: {how}; without loading and decoding images. Hours: on {numbers} of them, "
        "evenly shared."
    )
    yield (
        f"Memory: of one {device}, weights, gradients, momentum and activations of the most "
        "expensive path at the largest image. Not counted: ROIAlign, anchors, losses, and what "
        "cuDNN and the allocator need."
    )
    yield "Disk: checkpoints that are kept, and the study; neither datasets nor their copies."
    yield from (f"{plan.file}: {note}." for plan in plans for note in plan.notes)
