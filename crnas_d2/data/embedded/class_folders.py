"""Write scenes of one object each as image files with a folder per class, as in ImageNet."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from crnas_d2.common.progress import progress_bar

from .scenes import Scenes

logger = logging.getLogger(__name__)


def write_class_folders(
    folder: Path,
    scenes: Scenes,
    *,
    images: Mapping[str, int],
    sources: Mapping[str, str],
    classes: Sequence[str],
    shown_as: Path,
) -> None:
    """Fill an empty folder with ``<split>/<class>/000000.png`` and so on.

    Args:
        images: number of images per split.
        sources: the split of ``scenes`` from which each split is rendered.
        shown_as: the final path of the folder, for messages.
    """
    total, name = sum(images.values()), shown_as.name
    logger.info("Making the %s dataset (%d images) in %s", name, total, shown_as)
    with progress_bar(total=total, desc=f"Making {name} in {shown_as}", unit="img") as bar:
        for split, count in images.items():
            for index in range(count):
                scene = scenes.render(sources[split], index)
                (drawn,) = scene.objects
                file = folder / split / classes[drawn.label] / f"{index:06d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(scene.pixels).save(file, compress_level=3)
                bar.update()
