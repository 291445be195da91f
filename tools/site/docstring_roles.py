"""Docstrings as mkdocstrings reads them: without roles, and an entry for each argument."""

import re

import griffe
from api_reference import public_names

# Two arguments that are described together.
_TOGETHER = re.compile(
    r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+): (?P<text>.*(?:\n(?P=indent) +\S.*)*)", re.MULTILINE
)
_ROLE = re.compile(r":[a-z]+:`~?(?P<name>[\w.]+)`")


class DocstringRoles(griffe.Extension):
    """Makes a role a link, if it names something public, and code otherwise; parts arguments."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: object) -> None:
        places = public_names(pkg)

        def as_markdown(role: re.Match) -> str:
            name = role["name"].rpartition(".")[2]
            return f"[`{name}`][{places[name]}]" if name in places else f"`{name}`"

        for described in _everything(pkg):
            if described.docstring is not None:
                text = _TOGETHER.sub(_apart, described.docstring.value)
                described.docstring.value = _ROLE.sub(as_markdown, text)


def _apart(item: re.Match) -> str:
    names = item["names"].split(", ")
    return "\n".join(f"{item['indent']}{name}: {item['text']}" for name in names)


def _everything(parent: griffe.Object):
    yield parent
    for member in parent.members.values():
        if not member.is_alias:
            yield from _everything(member)
