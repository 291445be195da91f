"""The faults of the user's annotations: each one is counted, then mended in a copy or refused."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tabulate import tabulate

from crnas_d2.common.formats import format_few
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.faults import KINDS, MASKS, PREPARE
from crnas_d2.data.annotations.find_faults import find_faults
from crnas_d2.data.annotations.image_faults import Taken
from crnas_d2.data.annotations.mends import MENDS, Fault
from crnas_d2.data.images.files import ImageFile

_EXAMPLES = 3


@dataclass
class Report:
    """The mended copy of a dataset, and where each kind of fault was found, in words.

    Attributes:
        examples: a few faults of each kind, as they were found.
        images: the records of all images of the source, by id.
        accepted: what the user means, though it looks like a mistake, see ``Kind.accept``.
    """

    coco: Record
    findings: dict[str, list[str]] = field(default_factory=dict)
    accepted: Collection[str] = ()
    examples: dict[str, list[Fault]] = field(default_factory=dict)
    images: dict[int, Record] = field(default_factory=dict)

    def add(self, faults: Mapping[str, list[Fault]]) -> None:
        for kind, found in faults.items():
            if MASKS not in KINDS[kind].refused:
                self.findings.setdefault(kind, []).extend(fault.where for fault in found)
                self.examples[kind] = [
                    fault._replace(record=dict(fault.record)) for fault in found[:_EXAMPLES]
                ]

    def mend(self, faults: Mapping[str, list[Fault]]) -> None:
        """Count faults, and mend those that are not refused."""
        self.add(faults)
        for name, found in faults.items():
            kind = KINDS[name]
            if kind.mend and not kind.is_refused((PREPARE,), self.accepted):
                kind.mend(self.coco, found)

    @property
    def refused(self) -> list[str]:
        """The kinds of faults that only the owner of the data can mend."""
        return [kind for kind in self.findings if KINDS[kind].is_refused((PREPARE,), self.accepted)]

    def counts(self) -> dict[str, int]:
        return {kind: len(places) for kind, places in self.findings.items()}

    def records(self) -> dict[str, dict[str, Any]]:
        """Return all findings as plain data."""
        return {
            kind: {"done": self._done(kind), "examples": places}
            for kind, places in self.findings.items()
        }

    def table(self) -> str:
        rows = [
            (len(places), kind, self._done(kind), format_few(places, _EXAMPLES))
            for kind, places in self.findings.items()
        ]
        head = ("count", "found", "done", "examples")
        widths = [None, 30, 40, 44]
        return tabulate(rows, head, maxcolwidths=widths) if rows else "Nothing found."

    def _done(self, name: str) -> str:
        kind = KINDS[name]
        if not kind.is_refused((PREPARE,), self.accepted):
            return kind.mended or f"kept: {kind.fix}"
        asked = f"; or --accept {kind.accept}: {kind.mended}" if kind.accept else ""
        return f"REFUSED: {kind.fix}{asked}"


def check_annotations(
    coco: Record,
    files: Mapping[str, ImageFile],
    others: Mapping[str, Taken] | None = None,
    accepted: Collection[str] = (),
) -> Report:
    """Check a dataset against itself and against its image files, and mend a copy of it.

    Args:
        coco: as read from a COCO JSON file; it is not changed.
        files: every image file, see :func:`~crnas_d2.data.images.files.read_image_files`.
        others: the images of other parts, see :func:`images_taken`. They are dropped here, because
            an image must not be in two parts.
        accepted: kinds of faults, see :class:`Report`.

    Returns:
        the report. If it refuses something, its ``coco`` must not be used.
    """
    copies = {key: [dict(record) for record in coco[key]] for key in ("images", "annotations")}
    images = {image["id"]: image for image in coco["images"]}
    report = Report({**coco, **copies}, accepted=accepted, images=images)
    kept: dict[str, list[Fault]] = {}  # accepted, though mending others may hide it
    while True:  # with the size of an image, boxes outside it are found
        faults = find_faults(report.coco, files, others)
        kept = {kind: faults[kind] for kind in faults if KINDS[kind].accept in accepted} | kept
        if any(KINDS[kind].is_refused((PREPARE,), accepted) for kind in faults):
            break
        mendable = {KINDS[kind].mend for kind in faults}
        mend = next((mend for mend in MENDS if mend in mendable), None)
        if mend is None:
            break
        mended = {kind: found for kind, found in faults.items() if KINDS[kind].mend is mend}
        report.mend(mended)
    report.add({kind: found for kind, found in kept.items() if not KINDS[kind].mend} | faults)
    return report
