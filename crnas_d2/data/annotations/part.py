"""A part of a dataset: annotations, where their images are, and what reading them found."""

from dataclasses import dataclass, field
from pathlib import Path

from .coco import Record


@dataclass
class Part:
    """A part of a dataset, e.g. its training images.

    Attributes:
        image_root: the folder to which the names of images are relative.
        sources: the sha256 of each source file.
        findings: for each kind of fault that the reader found, where, in words.
    """

    coco: Record
    image_root: Path
    sources: dict[str, str]
    findings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def num_images(self) -> int:
        return len(self.coco["images"])

    def __str__(self) -> str:
        return f"{self.num_images} images, {len(self.coco['annotations'])} annotations"
