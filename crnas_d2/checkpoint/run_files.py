"""The checkpoints of one training in its OUTPUT_DIR."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from crnas_d2.common.files import PARTIAL, write_file

from .files import write_weights

FINAL = "model_final.pth"
_LAST = "last_checkpoint"  # Detectron2's file, which names the newest one
_PERIODIC = re.compile(r"model_\d{7,}\.pth")


class RunFiles:
    """``model_<iteration>.pth``, ``model_final.pth``, and ``last_checkpoint``, which names one.

    Of the periodic checkpoints, the newest ``max_to_keep`` stay; 0 for all.
    """

    def __init__(self, folder: str, max_to_keep: int = 0):
        self.folder, self.max_to_keep = Path(folder), max_to_keep

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write one file, name it in ``last_checkpoint``, and delete those beyond the limit.

        Raises OSError if it is not written; all others are as before.
        """
        for partial in self.folder.glob(f"model_*{PARTIAL}"):  # of a process that was killed
            partial.unlink()
        write_weights(content, self.folder / name)
        write_file(self.folder / _LAST, name)
        if self.max_to_keep:
            # Later ones are damaged, if the training has fallen back; it writes them again.
            found = self._periodic()
            found = found[found.index(name) :] if name in found else found
            for old in found[self.max_to_keep :]:
                (self.folder / old).unlink()

    def newest_first(self) -> list[str]:
        """Return the names of all checkpoints, first the one that ``last_checkpoint`` names."""
        found = self._periodic()
        if (self.folder / FINAL).exists():
            # A finished training may have been extended.
            times = [(self.folder / name).stat().st_mtime_ns for name in (FINAL, *found[:1])]
            found.insert(0 if times[0] >= times[-1] else len(found), FINAL)
        with suppress(OSError, UnicodeDecodeError):
            last = (self.folder / _LAST).read_text().strip()
            found.sort(key=lambda name: name != last)
        return found

    def _periodic(self) -> list[str]:
        """Return the names of periodic checkpoints, the newest first."""
        if not self.folder.is_dir():
            return []
        found = filter(_PERIODIC.fullmatch, os.listdir(self.folder))
        return sorted(found, key=lambda name: (len(name), name), reverse=True)
