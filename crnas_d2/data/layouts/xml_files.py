"""XML files of annotations, in the encodings that tools write."""

import codecs
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from .folder import Folder

_FIRST = 5  # files of a folder, which tell what all are
_DECLARED = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.-]+)[^>]*\?>")


def xml_files(folder: Folder, root: str) -> list[str]:
    """Return the files whose root element has this name; of a folder's files the first decide."""
    of_folder: dict[str, list[str]] = defaultdict(list)
    for file in folder.annotations(".xml"):
        of_folder[os.path.dirname(file)].append(file)
    found = []
    for files in of_folder.values():
        if any(_root_name(folder.root / file) == root for file in files[:_FIRST]):
            found += files
    return found


def parse_xml(file: Path) -> ElementTree.Element:
    """Return the root element of a file in any encoding that Python knows.

    Raises:
        ValueError: it is no XML, or cannot be read.
    """
    try:
        data = file.read_bytes().removeprefix(codecs.BOM_UTF8)
        declared = _DECLARED.match(data)
        if declared and not declared[1].lower().startswith(b"utf"):
            # expat knows none of more than a byte per character, e.g. GBK.
            tree = ElementTree.fromstring(data[declared.end() :].decode(declared[1].decode()))
        else:
            tree = ElementTree.fromstring(data.lstrip())
    except (OSError, LookupError, ValueError, ElementTree.ParseError) as error:
        raise ValueError(f"{file} is not an XML file: {error}.") from error
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]  # without its namespace
    return tree


def _root_name(file: Path) -> str:
    with open(file, "rb") as stream:
        head = stream.read(4096).replace(b"\0", b"")  # of UTF-16
    match = re.search(rb"<([A-Za-z_][\w.-]*)", head)
    return match[1].decode() if match else ""
