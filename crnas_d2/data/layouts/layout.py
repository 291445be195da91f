"""Layouts: how a tool writes a dataset, recognized by its files."""

from abc import ABC, abstractmethod

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import AnyPath
from crnas_d2.common.registry import Registry
from crnas_d2.data.annotations.part import Part

from .folder import Folder

LAYOUT_REGISTRY = Registry("LAYOUT", "--layout")


class Layout(ABC):
    """A way in which a tool writes a dataset; subclasses are registered in ``LAYOUT_REGISTRY``.

    Attributes:
        name: that of the registry, and then what was found, e.g. ``"YOLO, data.yaml"``.
        looked_for: what it is recognized by, for the message if nothing is recognized.
        class_attribute: which attribute of a region is its class, where a tool has several.
    """

    name = ""
    looked_for = ""

    def __init__(self, folder: Folder, found: str, class_attribute: str = ""):
        self.folder, self.class_attribute = folder, class_attribute
        self.name = f"{type(self).name}, {found}"

    @classmethod
    @abstractmethod
    def find(cls, folder: Folder) -> str:
        """Return what shows that a folder has this layout, in few words, or nothing.

        Reads little: a file of each kind, not all of them.
        """

    @abstractmethod
    def read(self) -> dict[str, Part]:
        """Return the parts, ``train``, ``val`` and ``test``, as far as they exist.

        Raises:
            ValueError: something that cannot be read, with the file and the line or the record.
        """


def find_layout(path: AnyPath, layout: str = "", class_attribute: str = "") -> Layout:
    """Recognize the layout of a dataset.

    Args:
        path: its folder, or the one file of annotations in it that counts.
        layout: a name in ``LAYOUT_REGISTRY``, if the files are those of several.
        class_attribute: see :class:`Layout`.

    Raises:
        ValueError: nothing is recognized, or two layouts are.
    """
    folder = Folder(path)
    classes = [LAYOUT_REGISTRY.get(layout)] if layout else [cls for _, cls in LAYOUT_REGISTRY]
    found = {cls: words for cls in classes if (words := cls.find(folder))}
    if not found:
        looked_for = "; ".join(f"{cls.name}: {cls.looked_for}" for cls in classes)
        broken = "".join(f" {error}" for error in dict.fromkeys(folder.broken))
        raise ValueError(
            f"No annotations are recognized among the {len(folder.files):,} files of {path}, "
            f"{len(folder.images):,} of them images. Looked for {looked_for}.{broken}"
        )
    if len(found) > 1:
        several = " and ".join(f"{cls.name} ({words})" for cls, words in found.items())
        raise invalid(
            "The layout",
            str(path),
            f"one of {several}",
            fix=f"Say which with --layout, e.g. --layout {next(iter(found)).name}",
        )
    [(cls, words)] = found.items()
    chosen: Layout = cls(folder, words, class_attribute)
    return chosen
