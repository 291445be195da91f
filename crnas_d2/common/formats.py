"""Numbers as people read them."""

_GIB, _MIB = 2**30, 2**20


def format_size(num_bytes: float | None) -> str:
    if num_bytes is None:
        return "unknown"
    if num_bytes >= _GIB:
        return f"{num_bytes / _GIB:.1f} GiB"
    return f"{max(1, round(num_bytes / _MIB))} MiB"
