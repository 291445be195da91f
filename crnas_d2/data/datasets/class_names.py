"""The classes of a detector by name, as a dataset has them or a checkpoint keeps them."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from crnas_d2.config.architectures import num_classes

from .registration import Entry, register_datasets

logger = logging.getLogger(__name__)

CLASSES = "classes"  # the key of a checkpoint
_OF_CLASSES = ("thing_classes", "thing_dataset_id_to_contiguous_id")  # of a dataset's metadata


@dataclass(frozen=True)
class ClassNames:
    """The classes of a detector, in the order of its outputs.

    Attributes:
        names: of the classes.
        ids: of the dataset's categories, which predictions in COCO's format refer to.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]

    def to_record(self) -> dict[str, list[Any]]:
        """Return plain data for a checkpoint or a JSON file."""
        return {"names": list(self.names), "ids": list(self.ids)}

    @classmethod
    def from_record(cls, record: Any) -> "ClassNames | None":
        """Read what :meth:`to_record` returned; ``None`` for anything else."""
        with suppress(KeyError, TypeError, ValueError):
            found = cls(tuple(map(str, record["names"])), tuple(map(int, record["ids"])))
            if len(found.names) == len(found.ids):
                return found
        return None

    @classmethod
    def numbers(cls, count: int) -> "ClassNames":
        """Return ``class 0``, ``class 1`` and so on, for a detector of which nothing is known."""
        return cls(tuple(f"class {index}" for index in range(count)), tuple(range(count)))


def dataset_classes(name: str) -> ClassNames | None:
    """Return the classes of a dataset; ``None`` if it has none, or has not been loaded."""
    metadata = MetadataCatalog.get(name)
    names = metadata.get("thing_classes")
    if not names:
        return None
    index_of = metadata.get("thing_dataset_id_to_contiguous_id")
    ids = list(range(1, len(names) + 1))
    if isinstance(index_of, Mapping) and len(index_of) == len(names):
        ids = sorted(index_of, key=lambda category: index_of[category])
    return ClassNames(tuple(names), tuple(ids))


def class_record(cfg: CfgNode) -> dict[str, dict[str, list[Any]]]:
    """Return what a checkpoint says about the classes of ``DATASETS.TRAIN``, which is loaded."""
    classes = dataset_classes(cfg.DATASETS.TRAIN[0]) if cfg.DATASETS.TRAIN else None
    return {CLASSES: classes.to_record()} if classes is not None else {}


def match_classes(names: Sequence[str], record: Any, file: str, *, needs_all: bool = True) -> None:
    """Give datasets the order of classes in which a checkpoint was trained; compare them by name.

    From then on they are loaded in that order in this process; those that are not loaded yet are
    compared when they are. A file without a record, of another version, is not compared.

    Args:
        names: of the datasets.
        record: of ``file``, see :meth:`ClassNames.to_record`.
        needs_all: whether other classes raise ValueError; else such a dataset stays as it is, e.g.
            for a training that starts from a network of other classes.
    """
    wanted = ClassNames.from_record(record)
    for name in dict.fromkeys(names) if wanted is not None else ():
        own = dataset_classes(name)
        if wanted is not None and (own is None or own.names != wanted.names):
            loader = _InOrder(name, DatasetCatalog[name], wanted.names, file, needs_all)
            if own is not None:
                loader.match()
            DatasetCatalog[name] = loader


@dataclass(eq=False)
class _InOrder:
    """Loads a dataset with its classes in the order of a checkpoint."""

    name: str
    load: Callable[[], list[Entry]]
    wanted: tuple[str, ...]
    file: str
    needs_all: bool
    place: Sequence[int] | None = None  # of each own class among the wanted ones
    # Metadata as the dataset has them, which a loader of Detectron2 asks for, and in order.
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    def __call__(self) -> list[Entry]:
        metadata = vars(MetadataCatalog.get(self.name))
        metadata.update(self.before)
        try:
            entries = self.load()
        finally:
            metadata.update(self.after)
        if self.place is None:
            self.match()
        if (place := self.place) is None or list(place) == sorted(place):
            return entries
        return [_moved(entry, place) for entry in entries]

    def match(self) -> None:
        """Compare the classes of the loaded dataset, and put them in order."""
        own = dataset_classes(self.name)
        names, theirs = own.names if own is not None else self.wanted, set(self.wanted)
        if names != self.wanted:
            ours = set(names)
            if theirs != ours or not len(names) == len(self.wanted) == len(ours):
                if not self.needs_all:
                    return
                raise ValueError(
                    f"{self.file} was trained on the classes {list(self.wanted)}, but "
                    f"'{self.name}' has {list(names)}. Name its categories like those of the "
                    "training, each once, or use other data."
                )
            logger.info("'%s' gets the order of classes of %s.", self.name, self.file)
        self.place = place = [self.wanted.index(name) for name in names]
        metadata = MetadataCatalog.get(self.name)
        self.before = {k: metadata.get(k) for k in _OF_CLASSES if metadata.get(k) is not None}
        self.after = {"thing_classes": list(self.wanted)} if self.before else {}
        if isinstance(index_of := self.before.get(_OF_CLASSES[1]), Mapping):
            self.after[_OF_CLASSES[1]] = {id_: place[index] for id_, index in index_of.items()}
        vars(metadata).update(self.after)


def _moved(entry: Entry, place: Sequence[int]) -> Entry:
    moved = {**entry, "label": place[entry["label"]]} if "label" in entry else dict(entry)
    if "annotations" in entry:
        moved["annotations"] = [
            {**each, "category_id": place[each["category_id"]]} for each in entry["annotations"]
        ]
    return moved


def find_classes(cfg: CfgNode) -> ClassNames | None:
    """Look for the classes in the datasets of a config; ``None`` if none of them is at hand.

    Nothing is generated or downloaded: of a dataset without names, an existing JSON file is read.
    """
    # What was registered before an error counts: another dataset may have gone.
    with suppress(ValueError):
        register_datasets(cfg)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if name not in DatasetCatalog:
            continue
        file = MetadataCatalog.get(name).get("json_file")
        if dataset_classes(name) is None and file and os.path.isfile(file):
            with suppress(ValueError, KeyError, TypeError, AssertionError, OSError):
                DatasetCatalog.get(name)
        found = dataset_classes(name)
        if found is not None and len(found.names) == num_classes(cfg):
            return found
    return None
