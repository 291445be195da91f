"""Links of Markdown files in the repository, turned into those of the site."""

import posixpath
import re
from collections.abc import Callable, Iterator

_CODE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)[ ]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<open>\]\()(?P<target>[^()\s]+)(?P<close>\))")
_ELSEWHERE = re.compile(r"[a-z]+:|#|/")


def targets(markdown: str, path: str) -> Iterator[str]:
    """Yield the files that a file links to, as paths from the root of the repository."""
    for is_code, part in _text(markdown):
        for link in [] if is_code else _LINK.finditer(part):
            if not _ELSEWHERE.match(link["target"]):
                yield _resolved(link["target"], path)[0]


def rewritten(markdown: str, path: str, uri: str, uri_of: Callable[[str], str | None]) -> str:
    """Return the text of a page, with links that lead to pages of the site.

    Args:
        path: of the file, from the root of the repository.
        uri: of the page, from the root of the site.
        uri_of: the page, or other file, of the site for a file of the repository. A link to a file
            that has none stays as it is, so that MkDocs reports it.
    """

    def replace(link: re.Match) -> str:
        if _ELSEWHERE.match(link["target"]):
            return link[0]
        target, anchor = _resolved(link["target"], path)
        page = uri_of(target)
        if page is None:
            return link[0]
        relative = posixpath.relpath(page, posixpath.dirname(uri) or ".")
        return f"{link['open']}{relative}{anchor}{link['close']}"

    parts = _text(markdown)
    return "".join(part if is_code else _LINK.sub(replace, part) for is_code, part in parts)


def _resolved(target: str, path: str) -> tuple[str, str]:
    name, mark, anchor = target.partition("#")
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), name)), mark + anchor


def _text(markdown: str) -> Iterator[tuple[bool, str]]:
    """Yield whether a part is code, and the part."""
    end = 0
    for code in _CODE.finditer(markdown):
        yield False, markdown[end : code.start()]
        yield True, code[0]
        end = code.end()
    yield False, markdown[end:]
