"""Masks as COCO's run-length encoding, checked before pycocotools decodes them unchecked."""

import math
from typing import Any

import numpy as np

from .image_faults import is_size


def is_rle(shape: Any) -> bool:
    """Whether ``size`` is [height, width] and the runs of ``counts`` fill such an image.

    ``counts`` is a list of runs, or their compressed text.
    """
    if not isinstance(shape, dict):
        return False
    size, runs = shape.get("size"), shape.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_size, size)):
        return False
    if isinstance(runs, str):
        runs = _decompressed(runs)
    if not isinstance(runs, list):
        return False
    return all(type(run) is int and run >= 0 for run in runs) and sum(runs) == math.prod(size)


def _decompressed(text: str) -> list[int] | None:
    """Return the runs of a text, or None if it is malformed.

    A character has six bits, the least significant first: five of a number and whether it goes on.
    The highest bit of a number is its sign. From the fourth run on, it is the difference to the run
    before the last.
    """
    codes = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # numbers of more than 35 bits
        return None
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << 5 * places, starts)
    numbers -= np.where(codes[ends] & 16, 1 << 5 * lengths, 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers.tolist()
