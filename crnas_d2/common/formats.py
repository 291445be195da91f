"""Numbers and lists as people read them."""

from collections.abc import Iterable


def format_size(num_bytes: float | None) -> str:
    """Format a size: ``3 MiB``, ``1.5 GiB``, or ``unknown``."""
    if num_bytes is None:
        return "unknown"
    if num_bytes >= 2**30:
        return f"{num_bytes / 2**30:.1f} GiB"
    return f"{max(1, round(num_bytes / 2**20))} MiB"


def format_duration(seconds: float) -> str:
    """Format a measured duration: ``42 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"


def format_estimated_time(seconds: float | None) -> str:
    """Format an estimate: ``30 min``, ``2.5 hours``, ``3.0 days``, or ``unknown``."""
    if seconds is None:
        return "unknown"
    for unit, name, least in ((86_400, "days", 2), (3_600, "hours", 1.5)):
        if seconds >= least * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{max(1, round(seconds / 60))} min"


def format_hours(hours: float) -> str:
    """Format hours for a column: ``0.25``, ``7.5``, ``1,200``."""
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def format_quantity(value: float) -> str:
    """Format a number with a unit prefix: ``300 M`` for 300,000,000."""
    for factor, prefix in ((1e9, " G"), (1e6, " M")):
        if value >= factor:
            return f"{value / factor:.5g}{prefix}"
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.5g}"


def format_macs(macs: float) -> str:
    """Format MACs for a column: ``3.86 G``."""
    return f"{macs / 1e9:.2f} G"


def format_passes(passes: int) -> str:
    """Format image passes for a column: ``1.44 M``, or all digits of a small number."""
    return f"{passes / 1e6:.2f} M" if passes >= 1e5 else f"{passes:,}"


def format_few(names: Iterable[object], most: int = 3) -> str:
    """Return the first names, separated by commas, and an ellipsis if there are more."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (", ..." if len(texts) > most else "")


def format_cell(value: object) -> str:
    """Format metrics with two decimals, ``None`` as ``failed``, and anything else with ``str``."""
    if value is None:
        return "failed"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
