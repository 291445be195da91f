"""Videos, read and written by OpenCV, which has to be installed."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from crnas_d2.data.images.pixels import ImageError

_USUAL_RATE = 25.0  # where a file states none


class VideoReader:
    """The frames of a video file, or an ImageError.

    Attributes:
        rate: frames per second.
        count: of the frames, as the file states it; 0 if it does not.
    """

    def __init__(self, file: Path):
        import cv2

        self._capture = cv2.VideoCapture(str(file))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= 1000 else _USUAL_RATE
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        was_read, self._first = self._capture.read()
        if not was_read:
            fix = "Restore the file, or convert it to MP4."
            raise ImageError(f"The video {file} cannot be used: OpenCV reads no frame of it. {fix}")

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the frames, (H, W, 3), BGR; once."""
        was_read, frame = True, self._first
        while was_read:
            yield frame
            was_read, frame = self._capture.read()
        self._capture.release()


class VideoWriter:
    """An MP4 file (MPEG-4) of ``rate`` frames per second, whose size is that of its first frame."""

    def __init__(self, file: Path, rate: float):
        self.file, self.rate = file, rate
        self._writer: Any = None
        self._count = 0

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, RGB, (H, W, 3); raise OSError if it cannot be written."""
        import cv2

        # The codec needs even sides.
        height, width = (side - side % 2 for side in frame.shape[:2])
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.file), code, self.rate, (width, height))
            if not self._writer.isOpened():
                raise OSError(None, "OpenCV cannot write a video here", str(self.file))
        self._count += 1
        self._writer.write(np.ascontiguousarray(frame[:height, :width, ::-1]))

    def close(self) -> None:
        """Finish the file; raise OSError if frames are missing, of which OpenCV says nothing."""
        if self._writer is None:
            return
        self._writer.release()
        try:
            count = VideoReader(self.file).count
        except ImageError:
            count = 0
        if count != self._count:
            why = f"{count} of {self._count} frames were written"
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({why})", str(self.file))
