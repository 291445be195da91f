"""The pages of the API reference: the public names of crnas_d2 and of its rooms."""

import ast
import re
from pathlib import Path

import griffe

INDEX = "api/index.md"
_ROLE = re.compile(r":[a-z]+:`~?(?:[\w.]+\.)?(\w+)`")
_INDEX_PAGE = """# API

{description}

The names of `crnas_d2` itself:

{names}

Each room of the package has a page:

{rooms}

{others}
"""


def load(root: Path) -> griffe.Module:
    """Read the sources of the package; nothing is imported."""
    return griffe.load("crnas_d2", search_paths=[root], allow_inspection=False)


def public_names(package: griffe.Module) -> dict[str, str]:
    """Return where each public name is described, e.g. ``crnas_d2.space.Genotype``."""
    in_rooms = {name: f"{room.path}.{name}" for room in _rooms(package) for name in _exports(room)}
    return in_rooms | _top_level(package)


def write(package: griffe.Module) -> dict[str, str]:
    """Return the text of each page, by its name in the site."""
    places, rooms = _top_level(package), _rooms(package)
    in_rooms = {f"{room.path}.{name}" for room in rooms for name in _exports(room)}
    pages = {f"api/{room.name}.md": _room_page(room) for room in rooms}
    pages[INDEX] = _INDEX_PAGE.format(
        description=package.docstring.value,
        names="\n".join(
            f"- [`{name}`][{place}]: {_first_line(_member(package, place))}"
            for name, place in places.items()
        ),
        rooms="\n".join(
            f"- [`{room.path}`]({room.name}.md): {_first_line(room)}" for room in rooms
        ),
        others="\n\n".join(f"::: {place}" for place in places.values() if place not in in_rooms),
    )
    return pages


def _room_page(room: griffe.Module) -> str:
    """Describe the public names of a room; list the modules of one that names none."""
    names = [f"::: {room.path}.{name}" for name in _exports(room)]
    modules = [f"- `{m.path}`: {_first_line(m)}" for _, m in sorted(room.modules.items())]
    text = "\n\n".join(names) if names else "\n".join(modules)
    return f"# {room.path}\n\n{room.docstring.value}\n\n{text}\n"


def _top_level(package: griffe.Module) -> dict[str, str]:
    """Return where each lazy name of the package comes from."""
    homes = ast.literal_eval(str(package["_HOMES"].value))
    return {name: f"{package.path}.{home}.{name}" for name, home in homes.items()}


def _rooms(package: griffe.Module) -> list[griffe.Module]:
    return [m for _, m in sorted(package.modules.items()) if m.is_init_module]


def _exports(room: griffe.Module) -> list[str]:
    return [str(name) for name in room.exports or ()]


def _member(package: griffe.Module, path: str) -> griffe.Object | griffe.Alias:
    return package[path.removeprefix(f"{package.path}.")]


def _first_line(thing: griffe.Object | griffe.Alias) -> str:
    line = thing.docstring.value.partition("\n\n")[0] if thing.docstring else ""
    return _ROLE.sub(r"`\1`", line)
