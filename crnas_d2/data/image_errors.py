"""Name the file in the error of an image that cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager

from detectron2.data import DatasetMapper


class ImageError(ValueError):
    """An image that cannot be read; the message names its file."""

    def __init__(self, message: str):
        # A DataLoader raises the error of a worker anew, with the traceback as its message, whose
        # last line is the message.
        super().__init__(message.strip().splitlines()[-1].rpartition(f"{__name__}.ImageError: ")[2])


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Raise :class:`ImageError` for any error in the body, which reads an image."""
    try:
        yield
    except Exception as error:  # decoders raise many types
        raise ImageError(
            f"The image {file} cannot be used: {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Restore the file, or leave it out."
        ) from error


class NamingMapper(DatasetMapper):
    """Detectron2's mapper of detection data, whose errors name the image."""

    def __call__(self, dataset_dict: dict) -> dict:
        with naming(dataset_dict["file_name"]):
            return super().__call__(dataset_dict)
