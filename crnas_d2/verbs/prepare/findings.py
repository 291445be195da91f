"""The findings of a check of annotations, as data and as a table."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tabulate import tabulate

REFUSED = "REFUSED: "  # prefix of an action that is left to the owner of the data
_EXAMPLES = 3


@dataclass
class Report:
    """The fixed copy of a dataset, and the errors that were found.

    ``findings`` maps each kind of error to the action taken and one example per occurrence.
    """

    coco: dict
    findings: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    def add(self, kind: str, action: str, examples: Iterable[str]) -> None:
        examples = list(examples)
        if examples:
            self.findings[kind] = (action, examples)

    def counts(self) -> dict[str, int]:
        return {kind: len(examples) for kind, (_, examples) in self.findings.items()}

    def refused(self) -> list[str]:
        """Return the kinds of errors that only the owner of the data can fix."""
        return [kind for kind, (action, _) in self.findings.items() if action.startswith(REFUSED)]

    def table(self) -> str:
        rows = []
        for kind, (action, examples) in self.findings.items():
            more = ", ..." if len(examples) > _EXAMPLES else ""
            rows.append((len(examples), kind, action, ", ".join(examples[:_EXAMPLES]) + more))
        head = ("count", "found", "done", "examples")
        widths = [None, 30, 40, 44]
        return tabulate(rows, head, maxcolwidths=widths) if rows else "Nothing found."
