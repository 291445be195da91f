"""Write configs with a mark that shows later whether the user has edited them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from crnas_d2.common.digests import text_digest

from .recipe import Recipe, merged

_MARK = "# Written by prepare, "


def is_edited(text: str) -> bool:
    """Whether a config is not as it was written, so that it must not be replaced."""
    mark, _, rest = text.partition("\n")
    return mark != _mark(rest)


class _Dumper(yaml.SafeDumper):
    """Writes every list on one line, as Detectron2's configs do."""

    def ignore_aliases(self, data):
        return True


_Dumper.add_representer(
    list,
    lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True),
)


class ConfigWriter:
    """Collects the texts of the configs of one dataset.

    Attributes:
        texts: by path.

    Args:
        name: of the dataset; its parts are ``<name>_archtrain`` and so on.
        folder: of the configs, absolute.
    """

    def __init__(self, name: str, recipe: Recipe, folder: Path):
        self.name, self.recipe, self.folder = name, recipe, folder
        self.texts: dict[Path, str] = {}

    def write(self, run: str, comment: str, bases: Sequence[str], *settings: Mapping) -> None:
        content = {"_BASE_": list(bases)} if bases else {}
        for some in settings:
            content = merged(content, some)
        if run not in ("data", "detector"):
            content["OUTPUT_DIR"] = str(self.folder / "output" / run)
        lines = "".join(f"# {line}\n" for line in comment.splitlines())
        # No line is broken, whatever its length.
        text = lines + yaml.dump(
            content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000
        )
        self.texts[self.folder / f"{run}.yaml"] = f"{_mark(text)}\n{text}"

    def result(self, run: str, file: str) -> str:
        return str(self.folder / "output" / run / file)

    def parts(self, *names: str, archval: bool = False) -> dict:
        data = {"TRAIN": [f"{self.name}_{part}" for part in names]}
        if archval:
            data["ARCHVAL"] = [f"{self.name}_archval"]
        return {"DATASETS": data}


def _mark(text: str) -> str:
    digest = text_digest(text, 12)
    return f"{_MARK}{digest}. Once you have edited it, it is not replaced."
