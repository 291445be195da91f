"""A file of decoded images: for each, what a model gets besides it, and its bytes.

A record is a header (:data:`_HEADER`), the pickled entry, and the bytes of the image; the image and
the next record begin at a multiple of 64 bytes.
"""

import os
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import torch

_HEADER = Struct("<QQI")  # bytes of the entry, bytes of the image, checksum of both
_ALIGNMENT = 64


@dataclass(frozen=True)
class Record:
    """
    Attributes:
        start: where the bytes of the image are in the file.
        entry: the input of a model, whose ``image`` is ``None``.
        dtype, shape: of the image.
    """

    start: int
    entry: dict[str, Any]
    dtype: torch.dtype
    shape: tuple[int, ...]


def append_record(stream: BinaryIO, mapped: dict[str, Any]) -> None:
    """Write an input of a model at the end of a stream.

    Args:
        mapped: it, with an ``image``; all else must be picklable.
    """
    image = mapped["image"]
    entry = pickle.dumps(({**mapped, "image": None}, image.dtype, tuple(image.shape)))
    pixels = image.contiguous().view(-1).view(torch.uint8).numpy()
    start = stream.seek(0, os.SEEK_END)
    header = _HEADER.pack(len(entry), len(pixels), _checksum(entry, pixels))
    stream.write(header + entry)
    stream.write(bytes(-(start + len(header) + len(entry)) % _ALIGNMENT))
    stream.write(pixels)
    stream.write(bytes(-len(pixels) % _ALIGNMENT))
    stream.flush()  # whoever continues after a kill finds it


def whole_records(stream: BinaryIO) -> int:
    """Return the number of whole records, and cut off what follows them."""
    whole_end, count = 0, 0
    for entry, start, size, checksum, end in _records(stream):
        stream.seek(start)
        if _checksum(entry, stream.read(size)) != checksum:
            break
        whole_end, count = end, count + 1
    stream.truncate(whole_end)
    return count


def read_records(path: Path) -> list[Record]:
    """Read what a whole file holds, without the bytes of the images."""
    with open(path, "rb") as stream:
        return [Record(start, *pickle.loads(entry)) for entry, start, *_ in _records(stream)]


def _records(stream: BinaryIO) -> Iterator[tuple[bytes, int, int, int, int]]:
    """Yield each entry, start, size and checksum of its image, and the end of the record."""
    file_size, end = stream.seek(0, os.SEEK_END), 0
    while end + _HEADER.size <= file_size:
        stream.seek(end)
        entry_size, size, checksum = _HEADER.unpack(stream.read(_HEADER.size))
        start = _aligned(end + _HEADER.size + entry_size)
        end = _aligned(start + size)
        if end > file_size:
            return
        yield stream.read(entry_size), start, size, checksum, end


def _aligned(position: int) -> int:
    return position + -position % _ALIGNMENT


def _checksum(entry: bytes, pixels: Any) -> int:
    return zlib.crc32(pixels, zlib.crc32(entry, 1))  # that of zeros is not 0
