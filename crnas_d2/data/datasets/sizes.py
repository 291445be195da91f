"""How many images a dataset has, also where it is not at hand."""

from collections.abc import Mapping

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from crnas_d2.common.errors import did_you_mean
from crnas_d2.data.embedded import letters

from .registration import register_coco_format, register_image_folders

# As published; the parts of archtrain and archval are those of ``crnas-d2 prepare-archval``.
_PUBLISHED = {
    "coco_2014_train": 82_783,
    "coco_2014_val": 40_504,
    "coco_2014_minival": 5_000,
    "coco_2014_valminusminival": 35_504,
    "coco_2017_train": 118_287,
    "coco_2017_val": 5_000,
    "coco_2017_archtrain": 113_287,
    "coco_2017_archval": 5_000,
    "voc_2007_trainval": 5_011,
    "voc_2007_test": 4_952,
    "voc_2012_trainval": 11_540,
    "voc_0712_archtrain": 11_551,
    "voc_0712_archval": 5_000,
    "imagenet_train": 1_281_167,
    "imagenet_val": 50_000,
    **{
        name: sum(letters.IMAGES[split] for split in splits)
        for name, splits in letters.DATASETS.items()
    },
    **{f"letters_crops_{split}": images for split, images in letters.CROPS.items()},
}


class DatasetSizes:
    """Looks sizes up: those given, else those of the files at hand, else the published ones.

    Args:
        given: numbers of images by name of a dataset.
    """

    def __init__(self, given: Mapping[str, int] | None = None):
        self._given, self._named = dict(given or {}), set[str]()
        self._known = dict(self._given)

    def count(self, cfg: CfgNode, key: str) -> int:
        """Return the number of images of ``DATASETS.<key>``, of all its datasets together.

        Raises:
            ValueError: the size of a dataset is not known.
        """
        for each in ("TRAIN", "TEST", "ARCHVAL"):
            self._named |= set(cfg.DATASETS[each])
        for name in cfg.DATASETS[key]:
            if name not in self._known:
                found = _count(cfg, name) or _PUBLISHED.get(name)
                if found is None:
                    raise ValueError(
                        f"DATASETS.{key} names '{name}', whose files are not here and whose size "
                        f"is not known: add --images {name}=NUMBER."
                    )
                self._known[name] = found
        return sum(self._known[name] for name in cfg.DATASETS[key])

    def check_given(self) -> None:
        """Raise ValueError if a size was given for a dataset that no config has named."""
        for name in self._given:
            if name not in self._named:
                known = ", ".join(sorted(self._named)) or "none"
                near = did_you_mean(name, self._named)
                raise ValueError(f"--images names '{name}', but the configs name {known}.{near}")


def _count(cfg: CfgNode, name: str) -> int | None:
    """Return the number of images of a dataset whose files are here, else ``None``."""
    if name.startswith("letters_"):  # which would be made
        return None
    try:
        register_coco_format([entry for entry in cfg.DATASETS.COCO_FORMAT if entry[0] == name])
        register_image_folders([entry for entry in cfg.DATASETS.IMAGE_FOLDERS if entry[0] == name])
        return len(DatasetCatalog.get(name))
    except (OSError, ValueError, KeyError):
        return None
