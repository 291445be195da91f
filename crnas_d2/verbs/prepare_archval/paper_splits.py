"""The papers' splits of COCO and PASCAL VOC, from the published files."""

import os
from collections.abc import Callable
from pathlib import Path

from detectron2.data.datasets.pascal_voc import CLASS_NAMES

from crnas_d2.common.digests import sha256
from crnas_d2.data.annotations.coco import read_coco, split_coco, subset
from crnas_d2.data.annotations.voc import voc_files, voc_to_coco

HELD_OUT = 5000  # images of archval, in CR-NAS and in DetNAS

# Below the folder of the datasets, images that are there if those of a preset can be compared.
IMAGES = {"coco2017": Path("coco", "train2017"), "voc0712": Path("VOC2012", "JPEGImages")}

_ANNOTATIONS = Path("coco", "annotations")


def coco2017(
    root: str | os.PathLike, size: float, *, seed: int, stratify: bool, compare: bool = False
) -> dict:
    """Split COCO as CR-NAS and DetNAS do: hold archval out of train2017.

    train2017 has the 118,287 images of trainval35k; with 5,000 held out, 113,287 are left.

    Args:
        root: the folder with ``coco``.
        compare: whether images with the content of another one are kept together.
        size, seed, stratify: see :func:`~crnas_d2.data.annotations.coco.split_coco`.

    Returns:
        the content of each file to write, keyed by its path below ``root``: archtrain, archval.
    """
    source = _ANNOTATIONS / "instances_train2017.json"
    parts = split_coco(
        read_coco(Path(root) / source),
        size,
        seed=seed,
        stratify=stratify,
        sources={source.as_posix(): sha256(Path(root) / source)},
        image_root=Path(root) / IMAGES["coco2017"] if compare else None,
    )
    names = ("archtrain", "archval")
    return {_ANNOTATIONS / f"instances_{n}2017.json": p for n, p in zip(names, parts, strict=True)}


def voc0712(
    root: str | os.PathLike, size: float, *, seed: int, stratify: bool, compare: bool = False
) -> dict:
    """Split VOC as DetNAS does: hold archval out of trainval 2007 + 2012 with their 16,551 images.

    Arguments and returns as :func:`coco2017`, with ``VOC2007`` and ``VOC2012`` below ``root``;
    image names are relative to ``root``.
    """
    files, sources = [], {}
    for folder in ("VOC2007", "VOC2012"):
        of_year = voc_files(Path(root) / folder, "trainval")
        files += of_year
        image_set = Path(folder, "ImageSets", "Main", "trainval.txt")
        sources[image_set.as_posix()] = sha256(Path(root) / image_set)
        sources[f"{folder}/Annotations, in the order of the image set"] = sha256(*of_year)
    coco = voc_to_coco(files, root, CLASS_NAMES)
    parts = split_coco(
        coco,
        size,
        seed=seed,
        stratify=stratify,
        sources=sources,
        image_root=root if compare else None,
    )
    names = ("archtrain", "archval")
    return {
        Path("voc_0712", f"instances_{n}.json"): part for n, part in zip(names, parts, strict=True)
    }


def nats_coco2014(root: str | os.PathLike) -> dict:
    """Split COCO as NATS does: weights on train2014, alpha on val2014 without minival.

    minival consists of the 5,000 images of val2017; 35,504 of val2014 are left. Returns as
    :func:`coco2017`, under the names that Detectron2 has registered.

    Raises:
        ValueError: val2017 has images that are not in val2014, or has all of them.
    """
    val2014, val2017 = (_ANNOTATIONS / f"instances_val{year}.json" for year in (2014, 2017))
    coco = read_coco(Path(root) / val2014)
    ids = {image["id"] for image in coco["images"]}
    minival = {image["id"] for image in read_coco(Path(root) / val2017)["images"]}
    if not minival <= ids or minival == ids:
        raise ValueError(
            f"{Path(root) / val2017} has {len(minival)} images, {len(minival & ids)} of them in "
            f"{val2014.name} with its {len(ids)}; expected a subset of those, 5,000 of 40,504."
        )
    sources = {path.as_posix(): sha256(Path(root) / path) for path in (val2014, val2017)}
    result = {}
    for name, image_ids in (("valminusminival", ids - minival), ("minival", minival)):
        split = {
            "part": name,
            "images": len(image_ids),
            "images_divided": len(ids),
            "method": "minival: the image ids of val2017",
            "sources": sources,
        }
        path = _ANNOTATIONS / f"instances_{name}2014.json"
        result[path] = subset(coco, image_ids, {"split": split})
    return result


# Keyed by the name of the preset: divisions take a size and a seed, selections do not.
DIVISIONS: dict[str, Callable[..., dict]] = {"coco2017": coco2017, "voc0712": voc0712}
SELECTIONS: dict[str, Callable[..., dict]] = {"nats-coco2014": nats_coco2014}
