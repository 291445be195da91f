"""The published files that the papers split, of COCO and PASCAL VOC."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from detectron2.data.datasets.pascal_voc import CLASS_NAMES

from crnas_d2.common.digests import sha256
from crnas_d2.data.annotations.coco import Record, read_coco, subset
from crnas_d2.data.layouts.voc import voc_files, voc_part

HELD_OUT = 5000  # images of archval, in CR-NAS and in DetNAS

_ANNOTATIONS = Path("coco", "annotations")


@dataclass(frozen=True)
class Source:
    """A dataset to divide.

    Attributes:
        files: sha256 of each source file.
        target: returns the path of a part by its name.
        image_root: to which the names of images are relative.
        images: a folder that exists if the images are at hand.
    """

    coco: Record
    files: dict[str, str]
    target: Callable[[str], Path]
    image_root: Path | None
    images: Path | None


def coco2017(root: Path) -> Source:
    """Read what CR-NAS and DetNAS hold archval out of: train2017.

    It has the 118,287 images of trainval35k; with 5,000 held out, 113,287 are left.
    """
    file = _ANNOTATIONS / "instances_train2017.json"
    images = root / "coco" / "train2017"
    return Source(
        read_coco(root / file),
        {file.as_posix(): sha256(root / file)},
        lambda part: root / _ANNOTATIONS / f"instances_{part}2017.json",
        images,
        images,
    )


def voc0712(root: Path) -> Source:
    """Read what DetNAS holds archval out of: trainval 2007 + 2012 with their 16,551 images."""
    annotations, files = [], {}
    for folder in ("VOC2007", "VOC2012"):
        of_year = voc_files(root / folder, "trainval")
        annotations += of_year
        image_set = Path(folder, "ImageSets", "Main", "trainval.txt")
        files[image_set.as_posix()] = sha256(root / image_set)
        files[f"{folder}/Annotations, in the order of the image set"] = sha256(*of_year)
    coco = voc_part(annotations, root, CLASS_NAMES).coco
    return Source(
        coco,
        files,
        lambda part: root / "voc_0712" / f"instances_{part}.json",
        root,
        root / "VOC2012" / "JPEGImages",
    )


def nats_coco2014(root: Path) -> dict[Path, Record]:
    """Select as NATS does: it trains weights on train2014, alpha on val2014 without minival.

    minival consists of the 5,000 images of val2017; 35,504 of val2014 are left. Returns the content
    of each file, keyed by its path, under the names that Detectron2 has registered.

    Raises:
        ValueError: val2017 has images that are not in val2014, or has all of them.
    """
    val2014, val2017 = (_ANNOTATIONS / f"instances_val{year}.json" for year in (2014, 2017))
    coco = read_coco(root / val2014)
    ids = {image["id"] for image in coco["images"]}
    minival = {image["id"] for image in read_coco(root / val2017)["images"]}
    if not minival <= ids or minival == ids:
        raise ValueError(
            f"{root / val2017} has {len(minival)} images, {len(minival & ids)} of them in "
            f"{val2014.name} with its {len(ids)}; expected a subset of those, 5,000 of 40,504."
        )
    sources = {path.as_posix(): sha256(root / path) for path in (val2014, val2017)}
    result = {}
    for name, image_ids in (("valminusminival", ids - minival), ("minival", minival)):
        split = {
            "part": name,
            "images": len(image_ids),
            "images_divided": len(ids),
            "method": "minival: the image ids of val2017",
            "sources": sources,
        }
        path = root / _ANNOTATIONS / f"instances_{name}2014.json"
        result[path] = subset(coco, image_ids, {"split": split})
    return result


# Keyed by the name of the preset: divisions take a size and a seed, selections do not.
DIVISIONS: dict[str, Callable[[Path], Source]] = {"coco2017": coco2017, "voc0712": voc0712}
SELECTIONS = {"nats-coco2014": nats_coco2014}
