"""The page of all config keys, from the comments of ``add_crnas_config`` and its values."""

import html
import inspect
import io
import re
import tokenize
from collections.abc import Collection

from detectron2.config import CfgNode, get_cfg

from crnas_d2 import add_crnas_config

PAGE = "CONFIG_KEYS.md"

_ASSIGNED = re.compile(r"cfg\.(?P<key>[A-Z_0-9.]+) = ")
_KEY = re.compile(r"(?<![\w.`])[A-Z][A-Z_0-9]+(?:\.[A-Z_0-9]+)+(?![\w.]*\w)")
_RULE = re.compile(r"-{5,} (?P<title>.+)")
_HEAD = (
    "# Config keys\n\nWhat this project adds to Detectron2's keys, with type and default. The "
    "texts are the comments of `add_crnas_config`. [COMMANDS.md](COMMANDS.md) says how a config is "
    "named, and [RUNS.md](RUNS.md) what is checked."
)


def keys() -> dict[str, object]:
    """Return the default of each key, and of each section a ``CfgNode``, by their dotted names."""
    theirs, ours = get_cfg(), get_cfg()
    add_crnas_config(ours)
    return {key: value for key, value in _flat(ours) if key not in dict(_flat(theirs))}


def _flat(cfg: CfgNode, prefix: str = "") -> list[tuple[str, object]]:
    found = []
    for name, value in cfg.items():
        found.append((prefix + name, value))
        if isinstance(value, CfgNode):
            found += _flat(value, f"{prefix}{name}.")
    return found


def comments() -> dict[str, str]:
    """Return the comment above each assignment in ``add_crnas_config``, by key, as one paragraph.

    Lines of dashes, which part the source, are left out.
    """
    found, above, source = {}, [], inspect.getsource(add_crnas_config)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ").strip()
            above = [] if _RULE.match(text) else [*above, text]
        elif assigned := _ASSIGNED.match(token.line.strip()):
            found.setdefault(assigned["key"], " ".join(above))
            above = []
        elif token.type == tokenize.NL and not token.line.strip():
            above = []
    return found


def write() -> str:
    """Return the page: a section for each node of the config, in the order of the source."""
    known, described = keys(), comments()
    sections: dict[str, list[str]] = {}
    for key, value in known.items():
        if isinstance(value, CfgNode):
            sections.setdefault(key, [])
        else:
            sections.setdefault(key.rpartition(".")[0], []).append(key)
    parts = [_HEAD]
    for section, found in sections.items():
        if found:
            name = section or "At the top"
            parts += [_heading(2, name), _markdown(described.get(section, ""), known)]
        for key in found:
            parts += [
                _heading(3, key),
                f"{_type(known[key])}, default <code>{html.escape(repr(known[key]))}</code>",
                _markdown(described.get(key, ""), known),
            ]
    return "\n\n".join(filter(None, parts)) + "\n"


def anchor(key: str) -> str:
    """Return the name of a key's heading within the page."""
    return key.lower().replace(".", "-").replace(" ", "-")


def _heading(level: int, key: str) -> str:
    label = key if level == 2 else key.rpartition(".")[2]  # all of it is too long for the contents
    return f'{"#" * level} {key} {{#{anchor(key)} data-toc-label="{label}"}}'


def _type(value: object) -> str:
    names = {bool: "yes or no", int: "whole number", float: "number", str: "text"}
    return names.get(type(value), type(value).__name__)


def _markdown(text: str, known: Collection[str]) -> str:
    """Return a comment with its keys as code, and links to those of this page."""

    def as_code(match: re.Match) -> str:
        key = match[0]
        return f"[`{key}`](#{anchor(key)})" if key in known else f"`{key}`"

    return _KEY.sub(as_code, html.escape(text, quote=False))
