"""Check the objects of datasets in use, whatever registered them, against what the model takes."""

from collections.abc import Iterator, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.structures import BoxMode

from crnas_d2.common.formats import format_few

from .registration import Entry

_UPRIGHT = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
_ROTATED = "boxes other than four numbers, upright and in pixels"
_BOX_FIX = "rotated boxes are not supported: write the upright ones around them"


def check_objects(
    cfg: CfgNode, subject: str, images: Sequence[Entry], *, trains: bool = True
) -> None:
    """Raise ValueError for objects on which a training or an evaluation fails hours later.

    These are boxes that are not upright, masks that do not fit ``INPUT.MASK_FORMAT`` or their
    image, and another number of key points than the model has.

    Args:
        subject: the key and the name of the dataset, for messages.
        images: entries of a dataset in Detectron2's format.
        trains: they are trained on, where crowd regions are left out.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for image in images:
        for annotation in image.get("annotations", ()):
            if trains and annotation.get("iscrowd", 0):
                continue
            for kind in _unfit(cfg, image, annotation, trains):
                found.setdefault(kind, []).append(str(image["file_name"]))
    for (what, fix), files in found.items():
        raise ValueError(f"{subject}, which has {len(files)} {what} ({format_few(files)}): {fix}.")


def _unfit(
    cfg: CfgNode, image: Entry, annotation: dict[str, Any], trains: bool
) -> Iterator[tuple[str, str]]:
    """Yield what of an object does not fit, and what to do."""
    if annotation["bbox_mode"] not in _UPRIGHT or len(annotation["bbox"]) != 4:
        yield _ROTATED, _BOX_FIX
    mask = annotation.get("segmentation")
    if cfg.MODEL.MASK_ON and isinstance(mask, dict):
        if trains and cfg.INPUT.MASK_FORMAT == "polygon":
            yield (
                "masks as RLE, but INPUT.MASK_FORMAT is 'polygon'",
                "set it to 'bitmask', which takes both",
            )
        size = [image[side] for side in ("height", "width") if side in image]
        if size and list(mask["size"]) != size:
            yield "masks of another size than their image", "write those of the image"
    if cfg.MODEL.KEYPOINT_ON:
        expected = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        if len(annotation.get("keypoints", ())) != 3 * expected:
            yield (
                "objects with another number of key points than "
                f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS, which is {expected}",
                "set it to theirs, and write x, y, visibility for each; 0, 0, 0 if it is not seen",
            )
