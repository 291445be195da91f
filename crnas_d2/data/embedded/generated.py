"""Folders of generated data: made on first use, either complete or absent.

A folder gets its name only when it is complete. So after an interruption the next call starts over,
and if two processes run at once, the slower one uses the result of the other.
"""

import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crnas_d2.common.digests import user_cache
from crnas_d2.common.files import AnyPath, whole_folder
from crnas_d2.data.annotations.coco import as_json

MARKER = "made_by.json"


def default_root(name: str) -> str:
    """Return ``$DETECTRON2_DATASETS/name``, or a folder in the user's cache if it is not set."""
    datasets = os.environ.get("DETECTRON2_DATASETS")
    if datasets:
        return os.path.join(os.path.expanduser(datasets), name)
    return os.path.join(user_cache(), name)


@dataclass(frozen=True)
class GeneratedFolder:
    """How to make a folder of data, and how to recognize it.

    Attributes:
        name: of the dataset, for messages.
        settings: plain data that determine every byte; a folder with other settings is outdated.
        contents: names of the files and folders that :attr:`write` creates in it.
        write: fills the folder at the first path; the second is its final path.
    """

    name: str
    settings: dict[str, Any]
    contents: Collection[str]
    write: Callable[[Path, Path], None]

    @property
    def marker(self) -> dict[str, Any]:
        return {"maker": f"crnas_d2 {self.name}", **self.settings}

    def make(self, root: AnyPath) -> None:
        """Make the folder ``root``, unless it exists with these settings.

        A folder made by an older version or with other settings is replaced.

        Raises:
            ValueError: ``root`` contains files that were not made here; they are not touched.
        """
        # A link to a folder on another disk stays a link; its target is made.
        root = Path(root).resolve()
        if self._is_current(root):
            return
        with whole_folder(root, is_needless=lambda: self._is_current(root)) as building:
            write_json(building / MARKER, self.marker)
            self.write(building, root)

    def _is_current(self, root: Path) -> bool:
        """Whether ``root`` is complete with these settings; raise ValueError if it is not ours."""
        if not os.path.lexists(root):
            return False
        made_by = self._read_marker(root)
        if made_by == self.marker:
            return True
        ours = {MARKER, *self.contents} if made_by else set()
        found = [path.name for path in root.iterdir()] if root.is_dir() else [root.name]
        if strangers := sorted(set(found) - ours):
            raise ValueError(
                f"The {self.name} dataset belongs in {root}, which contains files that crnas_d2 "
                f"did not make: {', '.join(strangers[:5])}. Move them away, or set "
                "DETECTRON2_DATASETS to another folder."
            )
        return False

    def _read_marker(self, folder: Path) -> dict[str, Any] | None:
        try:
            made_by = json.loads((folder / MARKER).read_text())
        except (OSError, ValueError):
            return None
        ours = isinstance(made_by, dict) and made_by.get("maker") == self.marker["maker"]
        return made_by if ours else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write plain data in one line."""
    path.write_text(as_json(content))
