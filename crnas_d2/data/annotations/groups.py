"""Images that belong together: copies of one photograph, frames of one video, a user's groups.

In two parts of a dataset, they would show a network in training what it is tested on.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from crnas_d2.data.images.alike import find_alike
from crnas_d2.data.images.files import ImageFile

_SUFFIX = r"(?:_(?:jpe?g|png|bmp|webp|tiff?))?"
# X_jpg.rf.HASH, as Roboflow names augmented copies of X.jpg; what scripts put before or behind a
# name, once or several times; and what file managers make of a copy.
_CHANGE = (
    r"(?:(?:aug(?:mented|mentation)?|copy|dup(?:licate)?|(?:[hv]|lr|ud)?[-_]?flip(?:ped)?|mirror(?:ed)?"
    r"|rotat(?:ed?|ion)|blur(?:red)?|nois[ey]|brightness|contrast|hue|shear(?:ed)?|jitter|cutout)"
    r"[-_ ]?\d*|rot(?:\d+|[-_ ](?:90|180|270)))"  # black_rot_12 is an illness
)
_COPY = re.compile(
    rf"(?P<before>(?:{_CHANGE}(?:[-_ ]of)?[-_ ])*)(?P<base>.+?)"
    rf"(?P<behind>(?:{_SUFFIX}\.rf\.[\w-]+|(?: -)?[-_ ]{_CHANGE}(?:\(\d+\))?)*)",
    re.IGNORECASE,
)
_FRAME = re.compile(
    rf"(?P<base>.*?)(?:[-_. ]*(?:frames?|frm|vlcsnap)[-_. ]*|[-_. ]f)\d+{_SUFFIX}"
    rf"|(?P<video>.+[._](?:avi|m4v|mkv|mov|mp4|mpe?g|webm))[-_. ]\d+{_SUFFIX}",
    re.IGNORECASE,
)
COPIES, FRAMES, ALIKE, PATTERN = (
    "copies of one image, by name",
    "frames of one video, by name",
    "images that look alike",
    "images of one group, by --group",
)


@dataclass(frozen=True)
class Groups:
    """Which images belong together; one that is alone has a group of its own.

    Attributes:
        of: a group, by the name of an image.
        copies: likewise, of images that show the same photograph.
        counts: images that are not alone, by the reason.
    """

    of: dict[str, str]
    copies: dict[str, str]
    counts: dict[str, int]


def find_groups(
    files: Mapping[str, ImageFile],
    pattern: str | None = None,
    names: Mapping[str, str] | None = None,
) -> Groups:
    """Find the images that belong together.

    Args:
        files: decoded images, by path.
        pattern: a regular expression that is searched in the names: its first group, or all that
            it matches, names what an image belongs to. It takes the place of frames by name.
        names: of the images by path, as the pattern sees them; default: the paths.

    Raises:
        ValueError: no regular expression, or one that matches no name.
    """
    sets: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in files:
        path = PurePosixPath(name)
        copy = _COPY.fullmatch(path.stem)
        is_copy = copy is not None and copy["before"] + copy["behind"] != ""
        base = copy["base"] if copy is not None and is_copy else path.stem
        # The original is beside its copies; copies of one name may be in several folders.
        sets[COPIES][str(path.parent / base)].append(name)
        if is_copy:
            sets[COPIES][base].append(name)
        frame = _FRAME.fullmatch(base)
        if frame and pattern is None:
            video = str(path.parent / (frame["base"] or frame["video"] or "."))
            sets[FRAMES][video].append(name)
    for first, other in find_alike({name: file.look for name, file in files.items()}):
        sets[ALIKE][first].extend((first, other))
    copies = _join(files, [*sets[COPIES].values(), *sets[ALIKE].values()])
    if pattern is not None:
        sets[PATTERN] = _match(pattern, names or {path: path for path in files})
    counts = {
        reason: len({name for names in each.values() if len(set(names)) > 1 for name in names})
        for reason, each in sets.items()
    }
    return Groups(
        _join(files, [names for each in sets.values() for names in each.values()]),
        copies,
        {reason: count for reason, count in counts.items() if count},
    )


def _join(names: Iterable[str], sets: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return for each name the first one that it is joined with, by a chain of sets."""
    parents = {name: name for name in names}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = name = parents[parents[name]]
        return name

    for members in sets:
        for name in members[1:]:
            first, second = sorted((root(members[0]), root(name)))
            parents[second] = first
    return {name: root(name) for name in parents}


def _match(pattern: str, names: Mapping[str, str]) -> dict[str, list[str]]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--group is '{pattern}', no regular expression: {error}.") from error
    matched: dict[str, list[str]] = defaultdict(list)
    for path, name in names.items():
        if found := expression.search(name):
            matched[(found[1] if expression.groups else found[0]) or ""].append(path)
    if not matched:
        first = next(iter(names.values()))
        raise ValueError(f"--group is '{pattern}', which is in no name of an image, e.g. {first}.")
    return matched
