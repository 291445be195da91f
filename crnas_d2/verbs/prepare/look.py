"""A page with the user's own objects: balance and sizes of the classes, samples, and all faults."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from crnas_d2.common.progress import progress_bar
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.find_faults import are_numbers
from crnas_d2.data.annotations.part import Part
from crnas_d2.data.images.pixels import ImageError, read_pixels
from crnas_d2.report.detections import draw, fit
from crnas_d2.report.page import Page

from .annotation_report import Report

_SAMPLES, _TILE = 6, 160  # objects of each class on its sheet, and pixels of one
_SHEETS = 60  # classes with a sheet, the rarest first
_EXTREMES = 3


class _Album:
    """The objects of all parts, and pictures of them."""

    def __init__(self, parts: Mapping[str, Part], depth_range: Sequence[float]):
        self.depth_range = depth_range
        self.names: dict[int, str] = {}
        self.objects: list[tuple[Part, Record, Record]] = []  # part, image and annotation
        self.of_image: dict[tuple[int, int], list[Record]] = defaultdict(list)
        for part in parts.values():
            self.names |= {each["id"]: each["name"] for each in part.coco["categories"]}
            images = {image["id"]: image for image in part.coco["images"]}
            for each in part.coco["annotations"]:
                if each["image_id"] in images and _has_box(each):
                    self.objects.append((part, images[each["image_id"]], each))
                    self.of_image[id(part), each["image_id"]].append(each)

    def of_class(self, category: int) -> list[tuple[Part, Record, Record]]:
        """Return the objects of a class from the smallest to the largest, without crowds."""
        own = [o for o in self.objects if o[2]["category_id"] == category]
        return sorted((o for o in own if o[2].get("iscrowd", 0) != 1), key=lambda o: _size(o[2]))

    def read(self, part: Part, image: Record) -> Image.Image:
        file = part.image_root / image["file_name"]
        return Image.fromarray(read_pixels(file, "RGB", self.depth_range))

    def sheet(self, objects: Sequence[tuple[Part, Record, Record]]) -> Image.Image:
        """Return some objects, each with its surroundings, side by side."""
        sheet = Image.new("RGB", (_TILE * len(objects), _TILE), "white")
        for column, (part, image, each) in enumerate(objects):
            picture = self.read(part, image)
            left, top, width, height = each["bbox"]
            margin = 0.4 * max(width, height, 8)
            frame = (left - margin, top - margin, left + width + margin, top + height + margin)
            corner = [max(0, round(value)) for value in frame[:2]]
            other = [min(round(v), most) for v, most in zip(frame[2:], picture.size, strict=True)]
            if other[0] <= corner[0] or other[1] <= corner[1]:
                continue
            tile, factor = fit(picture.crop((*corner, *other)), _TILE - 4, _TILE - 4)
            inside = (left - corner[0], top - corner[1], width, height)
            sheet.paste(
                draw(tile, [(inside, each["category_id"], "")], factor), (_TILE * column, 0)
            )
        return sheet

    def whole(self, part: Part, image: Record, marked: Record | None = None) -> Image.Image:
        """Return an image with all its objects, or with one of them."""
        picture, factor = fit(self.read(part, image))
        annotations = [marked] if marked else self.of_image[id(part), image["id"]]
        boxes = [
            (each["bbox"], each["category_id"], self.names.get(each["category_id"], "?"))
            for each in annotations
            if _has_box(each)
        ]
        return draw(picture, boxes, factor)


def write_look(
    file: Path,
    name: str,
    parts: Mapping[str, Part],
    reports: Mapping[str, Report],
    depth_range: Sequence[float] = (),
) -> None:
    """Write the page.

    Args:
        name: of the dataset.
        parts: after they have been mended.
        reports: of the parts, with their faults.
        depth_range: ``INPUT.DEPTH_RANGE``.
    """
    page, album = Page(f"The objects of {name}"), _Album(parts, depth_range)
    page.facts({part: str(its) for part, its in parts.items()})
    _add_faults(page, album, parts, reports)
    _add_classes(page, album, parts)
    if album.objects:
        ordered = sorted(album.objects, key=lambda o: _size(o[2]))
        for heading, chosen in (
            ("The smallest objects", ordered[:_EXTREMES]),
            ("The largest objects", ordered[-_EXTREMES:]),
        ):
            page.heading(heading)
            page.pictures(dict(_pictures(album, chosen)))
        firsts = list({(id(o[0]), o[1]["id"]): o for o in album.objects}.values())
        firsts.sort(key=lambda o: -len(album.of_image[id(o[0]), o[1]["id"]]))
        firsts = firsts[:_EXTREMES]
        page.heading("The images with the most objects")
        page.pictures(dict(_pictures(album, firsts, all_objects=True)))
    page.write(file)


def _add_faults(
    page: Page, album: _Album, parts: Mapping[str, Part], reports: Mapping[str, Report]
) -> None:
    for name, report in reports.items():
        if not report.findings:
            continue
        page.heading(f"What was found in {name}")
        rows = [
            (kind, len(report.findings[kind]), record["done"])
            for kind, record in report.records().items()
        ]
        page.table(("found", "count", "done"), rows)
        for kind, faults in report.examples.items():
            pictures = {}
            for fault in faults:
                record = fault.record
                marked = record if "image_id" in record else None
                image_id = record.get("image_id" if marked else "id", -1)
                if image := report.images.get(image_id):
                    with suppress(ImageError):
                        pictures[fault.where] = album.whole(parts[name], image, marked)
            if pictures:
                page.text(kind)
                page.pictures(pictures)
        for kind, places in report.findings.items():
            page.table(("where",), [(place,) for place in places], folded=f"All: {kind}")


def _add_classes(page: Page, album: _Album, parts: Mapping[str, Part]) -> None:
    counts = {
        part: Counter(each["category_id"] for each in its.coco["annotations"])
        for part, its in parts.items()
    }
    totals = {category: sum(c[category] for c in counts.values()) for category in album.names}
    page.heading("Classes")
    ordered = sorted(totals, key=lambda category: -totals[category])
    page.table(
        ("class", *parts, "all"),
        [(album.names[c], *(count[c] for count in counts.values()), totals[c]) for c in ordered],
    )
    sizes = [_size(each) for *_, each in album.objects]
    if sizes:
        figure = Figure(figsize=(7, 2.6))
        axes = figure.add_subplot()
        low = max(1.0, min(sizes))
        high = max(1.5 * low, *sizes)
        axes.hist(sizes, bins=np.geomspace(low, high, 40).tolist(), color="#3182bd")
        axes.set(xscale="log", xlabel="size: root of width x height, pixels", ylabel="objects")
        page.figure(figure, "How large the objects are")
    page.heading("Objects of each class, from the smallest to the largest")
    rarest = sorted(ordered, key=lambda category: totals[category])[:_SHEETS]
    for category in progress_bar(rarest, desc="Drawing objects", unit="class"):
        if own := album.of_class(category):
            places = sorted({*np.linspace(0, len(own) - 1, _SAMPLES).astype(int)})
            with suppress(ImageError):
                caption = f"{album.names[category]} ({totals[category]:,})"
                page.pictures({caption: album.sheet([own[n] for n in places])})  # one in a row


def _pictures(
    album: _Album, objects: Sequence[tuple[Part, Record, Record]], *, all_objects: bool = False
) -> Iterator[tuple[str, Image.Image]]:
    for part, image, each in objects:
        with suppress(ImageError):
            words = "x".join(f"{side:g}" for side in each["bbox"][2:])
            if all_objects:
                words = f"{len(album.of_image[id(part), image['id']])} objects"
            caption = f"{image['file_name']}: {words}"
            yield caption, album.whole(part, image, None if all_objects else each)


def _size(annotation: Record) -> float:
    width, height = annotation["bbox"][2:]
    return float(max(width, 0) * max(height, 0)) ** 0.5


def _has_box(annotation: Record) -> bool:
    return are_numbers(annotation.get("bbox"), 4)
