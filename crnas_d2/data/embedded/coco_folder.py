"""Write rendered scenes as image files and COCO JSON.

::

    annotations/<dataset>.json, ...
    images/<split>/000000.png, ...
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from crnas_d2.common.progress import progress_bar

from .generated import write_json
from .scenes import Scene, Scenes

logger = logging.getLogger(__name__)

CONTENTS = ("annotations", "images")  # what write_coco_folder puts into the folder


def write_coco_folder(
    folder: Path,
    scenes: Scenes,
    *,
    images: Mapping[str, int],
    datasets: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    description: str,
    shown_as: Path,
) -> None:
    """Fill an empty folder.

    Args:
        images: number of images per split.
        datasets: the splits that each JSON file lists, keyed by its name.
        description: of the data, after a dataset's name in its JSON file.
        shown_as: the final path of the folder, for messages.
    """
    listed = {split: ([], []) for split in images}
    total, name = sum(images.values()), shown_as.name
    logger.info("Making the %s dataset (%d images) in %s", name, total, shown_as)
    with progress_bar(total=total, desc=f"Making {name} in {shown_as}", unit="img") as bar:
        for number, (split, count) in enumerate(images.items()):
            (folder / "images" / split).mkdir(parents=True)
            for index in range(count):
                scene = scenes.render(split, index)
                image, annotations = _coco_records(
                    scene, f"{split}/{index:06d}.png", image_id=number * 1_000_000 + index + 1
                )
                # More compression would take twice as long and save 3 %.
                file = folder / "images" / image["file_name"]
                Image.fromarray(scene.pixels).save(file, compress_level=3)
                listed[split][0].append(image)
                listed[split][1].extend(annotations)
                bar.update()

    (folder / "annotations").mkdir()
    for dataset, splits in datasets.items():
        content = {
            "info": {"description": f"{dataset}: {description}"},
            # COCO's ids start at 1; Detectron2 warns about others.
            "categories": [{"id": i, "name": c} for i, c in enumerate(classes, start=1)],
            "images": [image for split in splits for image in listed[split][0]],
            "annotations": [annotation for split in splits for annotation in listed[split][1]],
        }
        write_json(folder / "annotations" / f"{dataset}.json", content)


def _coco_records(scene: Scene, file_name: str, *, image_id: int) -> tuple[dict, list[dict]]:
    """Return a scene as COCO's image and annotations.

    In addition to COCO's keys, ``photo``, ``crop`` and the keys of the objects' ``source`` record
    where each comes from. ``area`` is the number of visible pixels of the object, not of its box.
    """
    height, width = scene.pixels.shape[:2]
    image = {
        "id": image_id,
        "file_name": file_name,
        "width": width,
        "height": height,
        "photo": scene.photo,
        "crop": list(scene.crop),
    }
    annotations = [
        {
            # Never 0: COCO's evaluation treats an annotation with id 0 as "no match".
            "id": image_id * 10 + number,
            "image_id": image_id,
            "category_id": drawn.label + 1,
            "bbox": list(drawn.box),
            "area": drawn.area,
            "iscrowd": 0,
            **drawn.source,
        }
        for number, drawn in enumerate(scene.objects)
    ]
    return image, annotations
