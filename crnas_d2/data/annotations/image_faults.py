"""Find what is wrong with the image files of a dataset: missing ones, sizes, twins, pixels."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from crnas_d2.data.images.files import ImageFile

from .coco import Record
from .mends import Fault

_MOST_RATIO = 400  # of the sides of an image; resized to few 100 pixels, it would have no width

Objects = Counter[tuple[str, str]]  # of an image: their class, and their box in words
Taken = tuple[str, Objects]  # an image in words, and its objects


def images_taken(coco: Record, files: Mapping[str, ImageFile], part: str) -> dict[str, Taken]:
    """Return the images of a part by the digest of their files: a description, and the objects."""
    objects = _objects_by_image(coco)
    return {
        file.digest: (f"{image['file_name']} in {part}", objects[image["id"]])
        for image in reversed(coco["images"])
        if (file := files[image["file_name"]]).digest
    }


def _objects_by_image(coco: Record) -> dict[int, Objects]:
    objects: dict[int, Objects] = defaultdict(Counter)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    for each in coco["annotations"]:
        box: Any = each.get("bbox")
        if isinstance(box, list):  # YOLO's relative numbers have many decimals in pixels
            box = [round(side, 1) if isinstance(side, float) else side for side in box]
        objects[each["image_id"]][names.get(each["category_id"], "?"), str(box)] += 1
    return objects


def find_image_faults(
    coco: Record, files: Mapping[str, ImageFile], taken: Mapping[str, Taken]
) -> Iterator[tuple[str, Fault]]:
    """Yield the kinds of faults of the files of a dataset, and where; see :func:`find_faults`."""
    objects = _objects_by_image(coco)
    first: dict[str, Taken] = {}
    for image in coco["images"]:
        name, file = image["file_name"], files[image["file_name"]]
        if file.problem == "missing":
            yield "image files that are missing", Fault(name)
        elif file.problem:
            yield "image files that cannot be decoded", Fault(f"{name} ({file.problem})")
        if not file.size:
            continue
        if file.values:
            where = f"{name} (values from {file.values[0]:g} to {file.values[1]:g})"
            yield "images of more than 8 bits per channel", Fault(where, image)
        if file.is_in_alpha:
            yield "images whose picture is in the alpha channel", Fault(name)
        elif file.has_alpha:
            yield "images with pixels that are not opaque", Fault(name, image)
        if file.pages > 1:
            yield "images with further pages", Fault(f"{name} ({file.pages})", image)
        if max(file.size) > _MOST_RATIO * min(file.size):
            where = f"{name} ({file.size[0]} x {file.size[1]})"
            yield "images that are too thin to be resized", Fault(where, image)
        stated = (image.get("width"), image.get("height"))
        if stated != file.size and all(map(is_size, stated)):
            where = f"{name}: {stated}, file {file.size}"
            yield "image sizes that are not those of the files", Fault(where)
        mine = objects[image["id"]]
        twin, its = taken.get(file.digest) or first.setdefault(file.digest, (name, mine))
        if twin == name:
            continue
        kind, where = "images with the content of another", f"{name} = {twin}"
        if its != mine:
            where = f"{name} has {_list(mine - its)}; {twin} has {_list(its - mine)}"
            # Of two parts, the copy in this one is dropped, whatever it has.
            if file.digest not in taken:
                kind += f", but other {'boxes' if _classes(its) == _classes(mine) else 'objects'}"
        yield kind, Fault(where, image)


def _classes(objects: Objects) -> Counter[str]:
    return Counter(name for name, _ in objects.elements())


def _list(objects: Objects) -> str:
    return ", ".join(map(" ".join, objects)) or "nothing else"


def is_size(value: object) -> bool:
    return type(value) is int and value > 0
