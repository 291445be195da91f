"""How faults of a COCO dataset are mended in a copy."""

from collections.abc import Sequence
from typing import NamedTuple

from .coco import Record


class Fault(NamedTuple):
    """One occurrence of a kind of fault."""

    where: str  # the image, annotation or value, for messages
    record: Record = {}  # the image or annotation, if it can be mended
    right: Record = {}  # the values that it should have


def drop_images(coco: Record, faults: Sequence[Fault]) -> None:
    """Remove images with all their annotations."""
    gone = {fault.record["id"] for fault in faults}
    coco["images"] = [image for image in coco["images"] if image["id"] not in gone]
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] not in gone]


def drop(coco: Record, faults: Sequence[Fault]) -> None:
    """Remove annotations."""
    gone = {id(fault.record) for fault in faults}
    coco["annotations"] = [a for a in coco["annotations"] if id(a) not in gone]


def correct(coco: Record, faults: Sequence[Fault]) -> None:
    """Give records the values that they should have."""
    for fault in faults:
        fault.record.update(fault.right)


def renumber(coco: Record, faults: Sequence[Fault]) -> None:
    """Number all annotations from 1."""
    for number, annotation in enumerate(coco["annotations"], start=1):
        annotation["id"] = number


# In this order: what is dropped needs no correction, and only what is kept gets a number.
MENDS = (drop_images, drop, correct, renumber)
