"""Register the project's datasets with Detectron2, under their default folders.

The folder is fixed at import, as for Detectron2's own datasets: set ``DETECTRON2_DATASETS`` before.
"""

import os

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, register_coco_instances
from detectron2.data.datasets.builtin_meta import _get_builtin_metadata
from detectron2.data.datasets.pascal_voc import CLASS_NAMES

from crnas_d2.config import spell
from crnas_d2.data.embedded import letters
from crnas_d2.data.embedded.letters_crops import letters_crops_root, make_letters_crops

from .registration import register_image_folder


def register_letters(root: str, *, prefix: str = "", **settings) -> None:
    """Register ``letters_archtrain``, ``letters_archval``, ``letters_train`` and ``letters_test``.

    Args:
        root: the folder of the dataset, which is made when a split is first loaded.
        prefix: of the names, to register a variant in addition to the default one.
        settings: of :func:`make_letters`, e.g. ``size=192, sizes=(8, 20)``.
    """
    image_root = os.path.join(root, "images")

    def load(name: str, json_file: str) -> list[dict]:
        letters.make_letters(root, **settings)
        return load_coco_json(json_file, image_root, name)

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
            thing_dataset_id_to_contiguous_id={i + 1: i for i in range(len(letters.CLASSES))},
        )


def register_splits(root: str) -> None:
    """Register the papers' parts of COCO and VOC, which ``crnas-d2 prepare-archval`` makes.

    These are ``coco_2017_archtrain``, ``coco_2017_archval``, ``voc_0712_archtrain`` and
    ``voc_0712_archval``; Detectron2 itself registers ``coco_2014_valminusminival`` and
    ``coco_2014_minival``. The metadata ``made_by`` has the command that makes a dataset's file.

    Args:
        root: the folder with ``coco``, ``VOC2007`` and ``VOC2012``.
    """
    voc_metadata = {
        "thing_classes": list(CLASS_NAMES),
        "thing_dataset_id_to_contiguous_id": {i + 1: i for i in range(len(CLASS_NAMES))},
    }

    def register(name: str, metadata: dict, json_file: str, images: str, preset: str) -> None:
        paths = (os.path.join(root, json_file), os.path.join(root, images))
        register_coco_instances(name, metadata, *paths)
        MetadataCatalog.get(name).set(made_by=spell("prepare-archval", "--preset", preset))

    for part in ("archtrain", "archval"):
        coco_file = f"coco/annotations/instances_{part}2017.json"
        coco_metadata = _get_builtin_metadata("coco")
        register(f"coco_2017_{part}", coco_metadata, coco_file, "coco/train2017", "coco2017")
        voc_file = f"voc_0712/instances_{part}.json"
        register(f"voc_0712_{part}", voc_metadata, voc_file, "", "voc0712")
    for name in ("coco_2014_valminusminival", "coco_2014_minival"):
        MetadataCatalog.get(name).set(made_by=spell("prepare-archval", "--preset", "nats-coco2014"))


def register_imagenet(root: str) -> None:
    """Register ``imagenet_train`` and ``imagenet_val``, the folders ``train`` and ``val``."""
    for split in ("train", "val"):
        register_image_folder(f"imagenet_{split}", os.path.join(root, split))


def register_letters_crops(root: str) -> None:
    """Register ``letters_crops_train`` and ``letters_crops_val``, made when one is first loaded."""
    for split in ("train", "val"):
        register_image_folder(
            f"letters_crops_{split}", os.path.join(root, split), lambda: make_letters_crops(root)
        )


register_letters(letters.letters_root())
register_letters_crops(letters_crops_root())
register_imagenet(
    os.path.join(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")), "imagenet")
)
# Where Detectron2 looks for its own.
register_splits(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
