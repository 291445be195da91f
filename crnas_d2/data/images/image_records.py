"""A file of decoded images: for each, what a model gets besides it, and its bytes.

A record is a header (:data:`_HEADER`), the pickled entry, and the bytes of the image; the image and
the next record begin at a multiple of 64 bytes.
"""

import os
import pickle
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO

import torch

_HEADER = Struct("<QQI")  # bytes of the entry, bytes of the image, checksum of both
_ALIGNMENT = 64


@dataclass(frozen=True)
class Record:
    """
    Attributes:
        entry: the input of a model, whose ``image`` is ``None``.
        dtype, shape: of the image.
        start, size: where its bytes are in the file.
    """

    entry: dict
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    size: int


def append_record(stream: BinaryIO, mapped: dict) -> None:
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
    end, count = 0, 0
    file_size = stream.seek(0, os.SEEK_END)
    while (header := _read_header(stream, end)) is not None:
        entry_size, size, checksum = header
        start, following = _layout(end, entry_size, size)
        if following > file_size:
            break
        entry = stream.read(entry_size)
        stream.seek(start)
        if _checksum(entry, stream.read(size)) != checksum:
            break
        end, count = following, count + 1
    stream.truncate(end)
    return count


def read_records(path: Path) -> list[Record]:
    """Read what a whole file holds, without the bytes of the images."""
    records, end = [], 0
    with open(path, "rb") as stream:
        while (header := _read_header(stream, end)) is not None:
            entry_size, size, _ = header
            entry, dtype, shape = pickle.loads(stream.read(entry_size))
            start, end = _layout(end, entry_size, size)
            records.append(Record(entry, dtype, shape, start, size))
    return records


def _read_header(stream: BinaryIO, start: int) -> tuple[int, int, int] | None:
    stream.seek(start)
    header = stream.read(_HEADER.size)
    return _HEADER.unpack(header) if len(header) == _HEADER.size else None


def _layout(start: int, entry_size: int, size: int) -> tuple[int, int]:
    """Return where the image of a record starts, and the record that follows it."""
    image = _aligned(start + _HEADER.size + entry_size)
    return image, _aligned(image + size)


def _aligned(position: int) -> int:
    return position + -position % _ALIGNMENT


def _checksum(entry: bytes, pixels) -> int:
    return zlib.crc32(pixels, zlib.crc32(entry, 1))  # that of zeros is not 0
