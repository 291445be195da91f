"""The pages of the API reference: the public names of crnas_d2 and of its folders."""

from pathlib import Path

import griffe

__all__ = ["INDEX", "public_names", "write"]

INDEX = "api/index.md"
_HEAD = """
{description}

`import crnas_d2` brings these names:

{names}

Each folder of the package has a page with its own:

{rooms}
"""


def load(root: Path) -> griffe.Module:
    """Read the sources of the package; nothing is imported."""
    return griffe.load("crnas_d2", search_paths=[root], allow_inspection=False)


def public_names(package: griffe.Module) -> dict[str, str]:
    """Return where each public name is described, e.g. ``crnas_d2.space.Genotype``."""
    return {name: f"{room.path}.{name}" for room in _rooms(package) for name in room.exports}


def write(package: griffe.Module) -> dict[str, str]:
    """Return the text of each page, by its name in the site."""
    places = public_names(package)
    rooms = _rooms(package)
    index = _HEAD.format(
        description=package.docstring.value,
        names="\n".join(
            f"- [`{name}`][{places[name]}]: {_first_line(package[_below(places[name])])}"
            for name in package.exports
        ),
        rooms="\n".join(f"- [`{r.path}`]({r.name}.md): {_first_line(r)}" for r in rooms),
    )
    pages = {INDEX: f"# API\n{index}"}
    for room in rooms:
        blocks = [f"::: {room.path}.{name}" for name in room.exports]
        head = [f"# {room.path}", room.docstring.value]
        pages[f"api/{room.name}.md"] = "\n\n".join([*head, *blocks]) + "\n"
    return pages


def _rooms(package: griffe.Module) -> list[griffe.Module]:
    return [
        room for _, room in sorted(package.modules.items()) if not room.is_alias and room.exports
    ]


def _below(path: str) -> str:
    return path.removeprefix("crnas_d2.")


def _first_line(thing: griffe.Object | griffe.Alias) -> str:
    return thing.docstring.value.partition("\n\n")[0] if thing.docstring else ""
