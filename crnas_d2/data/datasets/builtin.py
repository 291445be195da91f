"""Register the project's datasets with Detectron2, under their default folders.

The folder is fixed at import, as for Detectron2's own datasets: set ``DETECTRON2_DATASETS`` before.
"""

import os
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, register_coco_instances
from detectron2.data.datasets.builtin_meta import _get_builtin_metadata
from detectron2.data.datasets.pascal_voc import CLASS_NAMES

from crnas_d2.config import spell
from crnas_d2.data.embedded import letters
from crnas_d2.data.embedded.generated import default_root

from .registration import Entry, register_image_folder


def register_letters(root: str, *, prefix: str = "", **settings: Any) -> None:
    """Register ``letters_archtrain``, ``letters_archval``, ``letters_train`` and ``letters_test``.

    Args:
        root: the folder of the dataset, which is made when a split is first loaded.
        prefix: of the names, to register a variant in addition to the default one.
        settings: of :func:`make_letters`, e.g. ``size=192, sizes=(8, 20)``.
    """
    image_root = os.path.join(root, "images")

    def load(name: str, json_file: str) -> list[Entry]:
        letters.make_letters(root, **settings)
        entries: list[Entry] = load_coco_json(json_file, image_root, name)
        return entries

    for dataset in letters.DATASETS:
        name = prefix + dataset
        json_file = os.path.join(root, "annotations", f"{dataset}.json")
        # Bound as defaults, because Detectron2 calls the function after the loop.
        DatasetCatalog.register(name, lambda name=name, json_file=json_file: load(name, json_file))
        MetadataCatalog.get(name).set(
            json_file=json_file,
            image_root=image_root,
            evaluator_type="coco",
            thing_classes=list(letters.CLASSES),
            thing_dataset_id_to_contiguous_id=_contiguous(len(letters.CLASSES)),
        )


def register_splits(root: str) -> None:
    """Register the papers' parts of COCO and VOC, which ``crnas-d2 prepare-archval`` makes.

    These are ``coco_2017_archtrain``, ``coco_2017_archval``, ``voc_0712_archtrain`` and
    ``voc_0712_archval``; Detectron2 itself registers ``coco_2014_valminusminival`` and
    ``coco_2014_minival``. The metadata ``made_by`` has the command that makes a dataset's file.

    Args:
        root: the folder with ``coco``, ``VOC2007`` and ``VOC2012``.
    """
    voc = {
        "thing_classes": list(CLASS_NAMES),
        "thing_dataset_id_to_contiguous_id": _contiguous(len(CLASS_NAMES)),
    }
    coco = _get_builtin_metadata("coco")
    presets = {"coco_2014_valminusminival": "nats-coco2014", "coco_2014_minival": "nats-coco2014"}
    for part in ("archtrain", "archval"):
        file = os.path.join(root, f"coco/annotations/instances_{part}2017.json")
        register_coco_instances(
            f"coco_2017_{part}", coco, file, os.path.join(root, "coco/train2017")
        )
        file = os.path.join(root, f"voc_0712/instances_{part}.json")
        register_coco_instances(f"voc_0712_{part}", voc, file, os.path.join(root, ""))
        presets |= {f"coco_2017_{part}": "coco2017", f"voc_0712_{part}": "voc0712"}
    for name, preset in presets.items():
        MetadataCatalog.get(name).set(made_by=spell("prepare-archval", "--preset", preset))


def _contiguous(count: int) -> dict[int, int]:
    return {index + 1: index for index in range(count)}


# Where Detectron2 looks for its own.
_ROOT = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))

register_letters(default_root("letters"))
_CROPS = default_root("letters_crops")
for _split in ("train", "val"):
    register_image_folder(
        f"letters_crops_{_split}",
        os.path.join(_CROPS, _split),
        lambda: letters.make_letters_crops(_CROPS),
    )
    register_image_folder(f"imagenet_{_split}", os.path.join(_ROOT, "imagenet", _split))
register_splits(_ROOT)
