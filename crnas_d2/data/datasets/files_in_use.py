"""Check the files of the datasets in use, each once for each content."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from crnas_d2.common.digests import file_state, remembered, sha256, text_digest
from crnas_d2.common.files import AnyPath
from crnas_d2.common.formats import format_few
from crnas_d2.data.annotations.coco import accepted_kinds, read_coco
from crnas_d2.data.annotations.faults import KINDS, MASKS, RESTORE, SCORING, TOLERATED, TRAINING
from crnas_d2.data.annotations.find_faults import find_faults
from crnas_d2.data.images.files import find_broken
from crnas_d2.data.images.pixels import DEEP, SCALE, THIN, WIDEN, vanishes

from .registration import Entry

logger = logging.getLogger(__name__)

_VERSION = "4"  # of the checks; with another one, files are checked anew
_EXAMPLES = 3


def check_annotation_file(
    subject: str,
    file: AnyPath,
    *,
    is_scored: bool = False,
    has_masks: bool = False,
    needs_annotations: bool = True,
) -> None:
    """Check a COCO JSON file in use; log what is harmless.

    The findings are kept in the user's cache by the digest of the file, because reading the whole
    of COCO takes half a minute.

    Args:
        subject: the key and the name of the dataset, for messages.
        is_scored: its annotations are those of an evaluation, not of a training alone.
        has_masks: masks are trained or evaluated.
        needs_annotations: whether a file with images alone (COCO's image_info) is refused.

    Raises:
        ValueError: the file is not of COCO's structure, or an evaluation or training would be
            wrong; with the file, the first ids, and the fix.
    """
    try:
        digest = sha256(file)
    except OSError as error:
        raise ValueError(f"{subject}: {file} cannot be read: {error.strerror}.") from error
    try:
        found = remembered(f"annotations {digest}", _VERSION, lambda: _find(file))
    except ValueError as error:
        raise ValueError(f"{subject}: {error}") from error
    if not found["images"]:
        raise ValueError(f"{subject}, which holds no images: {file}.")
    if not found["has annotations"] and not needs_annotations:
        return
    if not found["objects"]:
        raise ValueError(
            f"{subject}: {file} has no annotated object, apart from crowd regions; expected some "
            "to train on and to score with."
        )
    where = {TRAINING, SCORING if is_scored else "", MASKS if has_masks else ""}
    faults: dict[str, tuple[int, list[str]]] = found["faults"]
    tolerated = sum(count for name, (count, _) in faults.items() if KINDS[name].is_tolerated)
    refused: list[str] = []
    counted: dict[bool, list[str]] = {True: [], False: []}  # by whether that is usual
    for name, (count, places) in faults.items():
        kind = KINDS[name]
        # Detectron2 admits repeated ids in the published minival files of COCO 2014, where they are
        # few.
        is_known = name == "annotation ids that occur twice" and "minival" in str(file)
        is_unseen = kind.is_tolerated and tolerated <= TOLERATED * found["objects"]
        if kind.is_refused(where, found["accepted"]) and not is_known and not is_unseen:
            more = ", ..." if count > len(places) else ""
            refused.append(f"{count} {name} ({', '.join(places)}{more}): {kind.fix}")
        elif MASKS not in kind.refused:
            counted[kind.is_usual].append(f"{count} {name}")
    if refused:
        raise ValueError(f"{subject}: {file} has {'; '.join(refused)}.")
    if counted[True]:
        logger.info("%s: %s has %s.", subject, file, ", ".join(counted[True]))
    if counted[False]:
        logger.warning("%s: %s has %s: harmless here.", subject, file, ", ".join(counted[False]))


def _find(file: AnyPath) -> dict[str, Any]:
    coco = read_coco(file, needs_annotations=False)
    annotations = coco.get("annotations")
    return {
        "accepted": accepted_kinds(coco),
        "images": len(coco["images"]),
        "has annotations": annotations is not None,
        "objects": sum(annotation.get("iscrowd") != 1 for annotation in annotations or []),
        "faults": {
            kind: [len(faults), [fault.where for fault in faults[:_EXAMPLES]]]
            for kind, faults in find_faults(coco).items()
        },
    }


def check_image_files(
    subject: str,
    images: Sequence[Entry],
    *,
    depth_range: Sequence[float] = (),
    sizes: tuple[int, int] = (0, 0),
) -> None:
    """Check that images are whole, of the sizes that their annotations state, and of 8 bits.

    A file is decoded only if its end looks wrong. The result is kept like that of annotations, by
    names, sizes and modification times.

    Args:
        images: entries of a dataset in Detectron2's format; the files exist.
        depth_range: ``INPUT.DEPTH_RANGE``, with which more than 8 bits per channel are admitted.
        sizes: the shorter and the longer side to which images are resized; 0 if they are not.

    Raises:
        ValueError: broken images; with the first names.
    """
    stated = {
        image["file_name"]: (image["width"], image["height"])
        for image in images
        if "width" in image and "height" in image
    }
    identities = ((os.path.abspath(name), size, file_state(name)) for name, size in stated.items())
    digest = text_digest("\n".join(map(str, identities)))
    is_scaled = bool(depth_range)
    broken = remembered(
        f"images {digest}{' scaled' * is_scaled}",
        _VERSION,
        lambda: find_broken(stated, is_scaled=is_scaled),
    )
    deep = [place for place in broken if place.endswith(f"({DEEP})")]
    damaged = [place for place in broken if place not in deep]
    thin = (
        []
        if broken
        else [f"{name} ({THIN})" for name, size in stated.items() if vanishes(*size, *sizes)]
    )
    for found, fix in ((damaged, RESTORE), (deep, SCALE), (thin, WIDEN)):
        if found:
            raise ValueError(
                f"{subject}: {len(found)} of its {len(stated)} images cannot be used: "
                f"{format_few(found)}. {fix[0].upper()}{fix[1:]}."
            )
