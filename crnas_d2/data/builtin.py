"""Register the project's datasets with Detectron2, under their default folders.

As Detectron2 does for its own datasets, the folder is settled at import: set
``DETECTRON2_DATASETS`` before.
"""

import os

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from .digits import CLASSES, DATASETS, IMAGES, digits_root, make_digits


def register_digits(root: str, *, images: dict[str, int] = IMAGES, prefix: str = "") -> None:
    """Register ``digits_archtrain``, ``digits_archval``, ``digits_train`` and ``digits_test``.

    Args:
        root: the folder of the dataset, which is made when a split is first loaded.
        images: number of images per split, see :func:`make_digits`.
        prefix: put before the names, to register a smaller set beside the default one.
    """
    image_root = os.path.join(root, "images")

    def load(name: str, json_file: str) -> list[dict]:
        make_digits(root, images=images)
        return load_coco_json(json_file, image_root, name)

    for dataset in DATASETS:
        name = prefix + dataset
        json_file = os.path.join(root, "annotations", f"{dataset}.json")
        # Bound as defaults: the loop goes on before Detectron2 calls the function.
        DatasetCatalog.register(name, lambda name=name, json_file=json_file: load(name, json_file))
        MetadataCatalog.get(name).set(
            json_file=json_file,
            image_root=image_root,
            evaluator_type="coco",
            thing_classes=list(CLASSES),
            thing_dataset_id_to_contiguous_id={i + 1: i for i in range(len(CLASSES))},
        )


register_digits(digits_root())
