"""The faults of the user's annotations: each one is counted, then mended in a copy or refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tabulate import tabulate

from crnas_d2.common.formats import format_few
from crnas_d2.data.annotations.faults import KINDS, MASKS, MENDS, PREPARE, Fault
from crnas_d2.data.annotations.find_faults import find_faults
from crnas_d2.data.images.files import ImageFile

_EXAMPLES = 3


@dataclass
class Report:
    """The mended copy of a dataset, and where each kind of fault was found, in words."""

    coco: dict[str, Any]
    findings: dict[str, list[str]] = field(default_factory=dict)

    def add(self, faults: Mapping[str, list[Fault]]) -> None:
        for kind, found in faults.items():
            if MASKS not in KINDS[kind].refused:
                self.findings.setdefault(kind, []).extend(fault.where for fault in found)

    @property
    def refused(self) -> list[str]:
        """The kinds of faults that only the owner of the data can mend."""
        return [kind for kind in self.findings if PREPARE in KINDS[kind].refused]

    def counts(self) -> dict[str, int]:
        return {kind: len(places) for kind, places in self.findings.items()}

    def records(self) -> dict[str, dict[str, Any]]:
        """Return all findings as plain data."""
        return {
            kind: {"done": _done(kind), "examples": places}
            for kind, places in self.findings.items()
        }

    def table(self) -> str:
        rows = [
            (len(places), kind, _done(kind), format_few(places, _EXAMPLES))
            for kind, places in self.findings.items()
        ]
        head = ("count", "found", "done", "examples")
        widths = [None, 30, 40, 44]
        return tabulate(rows, head, maxcolwidths=widths) if rows else "Nothing found."


def check_annotations(
    coco: dict[str, Any],
    files: Mapping[str, ImageFile],
    others: Mapping[str, str] | None = None,
) -> Report:
    """Check a dataset against itself and against its image files, and mend a copy of it.

    Args:
        coco: as read from a COCO JSON file; it is not changed.
        files: every image file, see :func:`~crnas_d2.data.images.files.read_image_files`.
        others: the images of other parts, from digest to description. They are dropped here,
            because an image must not be in two parts.

    Returns:
        the report. If it refuses something, its ``coco`` must not be used.
    """
    copies = {key: [dict(record) for record in coco[key]] for key in ("images", "annotations")}
    report = Report({**coco, **copies})
    while True:  # with the size of an image, boxes outside it are found
        faults = find_faults(report.coco, files, others)
        if any(PREPARE in KINDS[kind].refused for kind in faults):
            break
        mendable = {KINDS[kind].mend for kind in faults}
        mend = next((mend for mend in MENDS if mend in mendable), None)
        if mend is None:
            break
        mended = {kind: found for kind, found in faults.items() if KINDS[kind].mend is mend}
        report.add(mended)
        mend(report.coco, [fault for found in mended.values() for fault in found])
    report.add(faults)
    return report


def _done(name: str) -> str:
    kind = KINDS[name]
    if PREPARE in kind.refused:
        return f"REFUSED: {kind.fix}"
    return kind.mended or f"kept: {kind.fix}"
