"""Decoded training images in memory, which a process shares with the workers of its loader."""

import logging
import math
import mmap
import multiprocessing
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .pixels import Pixels

logger = logging.getLogger(__name__)

_GIB = 2**30

Key = tuple[str, int, int]  # file, and (height, width) in pixels
_FILLED = 1


class ImageCache:
    """Keeps the pixels of images, uint8 (H, W, C), in memory that forked workers share.

    Each image has its place from the start, so the limit is exact; memory is used as places are
    filled. A copy in another process that was not forked is empty.

    Attributes:
        is_complete: whether all images are kept.

    Args:
        images: those to keep; all after the first one that exceeds the limit are decoded each time.
        channels: of all images.
        limit: bytes.
    """

    def __init__(self, images: Iterable[Key] = (), *, channels: int = 3, limit: float = 0):
        self.is_complete, self._channels, end = True, channels, 0
        self._starts: dict[Key, int] = {}
        for key in images:
            size = 1 + channels * math.prod(key[1:])  # after a byte that says whether it is filled
            if key in self._starts:
                continue
            if end + size > limit:
                self.is_complete = False
                break
            self._starts[key] = end
            end += size
        self._lock = multiprocessing.Lock()
        try:
            self._memory = mmap.mmap(-1, max(1, end))
        except OSError as error:  # a system that lends no more memory than it has
            logger.warning("No %.3g GiB for DATALOADER.IMAGE_CACHE: %s.", end / _GIB, error)
            self.is_complete, self._starts = False, {}
            self._memory = mmap.mmap(-1, 1)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def nbytes(self) -> int:
        """The memory when all places are filled."""
        return len(self._memory)

    def __reduce__(self) -> tuple[type["ImageCache"], tuple[()]]:
        return ImageCache, ()

    def get(self, key: Key, decode: Callable[[], Pixels]) -> Pixels:
        """Return the pixels of an image, (H, W, C) and read-only; decode them unless they are kept.

        Args:
            decode: returns the pixels, of the size of the key.
        """
        start = self._starts.get(key)
        if start is None:
            return decode()
        shape = (*key[1:], self._channels)
        pixels: np.ndarray[Any, Any] = np.frombuffer(
            self._memory, np.uint8, math.prod(shape), offset=start + 1
        ).reshape(shape)
        with self._lock:  # a barrier: whoever sees the mark sees the pixels
            is_filled = self._memory[start] == _FILLED
        if not is_filled:
            np.copyto(pixels, decode(), casting="no")
            with self._lock:
                self._memory[start] = _FILLED
        pixels.flags.writeable = False
        return pixels
