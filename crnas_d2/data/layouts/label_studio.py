"""Label Studio: a JSON list of tasks with their results, or its short form JSON-MIN."""

import os
import re
from typing import Any

from crnas_d2.common.errors import invalid
from crnas_d2.data.annotations.coco import Record
from crnas_d2.data.annotations.part import Part
from crnas_d2.data.images.pictures import IMAGES

from .collector import POINTS, POLYGONS, ROTATED, ROUND, Collector, progress
from .folder import Folder, json_files, part_of, plain_name
from .layout import LAYOUT_REGISTRY, Layout
from .shapes import ellipse, polygon, rotated

_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # Label Studio names an uploaded file so


@LAYOUT_REGISTRY.register("LabelStudio")
class LabelStudio(Layout):
    looked_for = "a .json list of tasks, each with data and annotations"

    @classmethod
    def find(cls, folder: Folder) -> str:
        return ", ".join(json_files(folder, _is_label_studio))

    def read(self) -> dict[str, Part]:
        collector = Collector(self.folder)
        for file in json_files(self.folder, _is_label_studio, strict=True):
            part = part_of(os.path.splitext(file)[0])
            for number, task in enumerate(progress(collector.read_json(file, part))):
                name = task.get("id", number) if isinstance(task, dict) else number
                with collector.problem_of(f"{file}: task {name}"):
                    self._read(task, part, file, collector)
        collector.note_unused()
        return collector.parts()

    def _read(self, task: Record, part: str, file: str, collector: Collector) -> None:
        name, results = _task(task)
        if results is None:  # not labelled yet: its image is one without annotations
            return
        bases = [os.path.dirname(file), "images", ""]
        path = plain_name(name)
        where, base = os.path.split(path)
        uploaded = _UPLOADED.fullmatch(base)  # as it was exported, or as the user has it
        names = [path, os.path.join(where, uploaded[1])] if uploaded else [path]
        hits = (n for n in names if self.folder.find_image(n, bases)[0])
        found = collector.find_image(part, next(hits, path), bases)
        size = next(((r["original_width"], r["original_height"]) for r in results), (0, 0))
        image = collector.add_image(part, found, size, file)
        merged: dict[Any, Record] = {}
        for number, result in enumerate(results):
            # Two results of one id are the shape and the label of one object.
            key = result.get("id", number)
            values = {**merged.get(key, {}).get("value", {}), **result["value"]}
            merged[key] = {**merged.get(key, {}), **result, "value": values}
        for result in merged.values():
            kind, shape = _shape(result)
            label = _label(result["value"]) if shape or kind else ""
            if kind:
                collector.note(part, kind, f"{label} in {found}")
            if shape:
                collector.add_object(image, label, shape)


def _is_label_studio(content: Any) -> bool:
    task = content[0] if isinstance(content, list) and content else None
    if not isinstance(task, dict):
        return False
    is_task = isinstance(task.get("data"), dict) and {"annotations", "completions"} & task.keys()
    return bool(is_task) or {"annotator", "annotation_id"} <= task.keys()


def _task(task: Record) -> tuple[str, list[Record] | None]:
    """Return the image of a task and its results; ``None``: it is not labelled."""
    if "data" in task:
        data = task["data"]
        finished = task.get("annotations", task.get("completions")) or []
        finished = [a for a in finished if not a.get("was_cancelled")]
        finished = [a for a in finished if a.get("ground_truth")] or finished
        if len(finished) > 1:
            fix = "Delete the others in Label Studio, or mark one as the ground truth"
            raise invalid("the number of its annotations", len(finished), "one", fix=fix)
        # A relation between two objects is none itself.
        results = finished[0]["result"] if finished else None
        results = results and [r for r in results if r.get("type") != "relation"]
    else:  # JSON-MIN
        data = task
        lists = [value for value in task.values() if isinstance(value, list)]
        results = [{**v, "value": v} for some in lists for v in some if isinstance(v, dict)]
    names = [value for value in data.values() if isinstance(value, str)]
    images = [n for n in names if plain_name(n).lower().endswith(IMAGES)]
    if len(images) != 1:
        raise invalid("the number of its images", len(images), "one")
    return images[0], results


def _label(value: Record) -> str:
    labels = [name for key, names in value.items() if key.endswith("labels") for name in names]
    if len(labels) != 1:
        raise invalid("the labels of an object", labels, "one")
    return str(labels[0])


def _shape(result: Record) -> tuple[str, Record | None]:
    """Return the kind of finding of a result, and what it is as an object; sizes are percent."""
    value = result["value"]
    if result.get("image_rotation"):
        raise invalid("image_rotation", result["image_rotation"], "0: the image as its file is")
    if "rle" in value or "brushlabels" in value:
        raise ValueError(
            "brush labels are not read; export the task as COCO (brush masks become polygons there)"
        )
    if not {"points", "x", "vertices"} & value.keys():
        return "", None  # a choice or a text about the image
    if "keypointlabels" in value or "vertices" in value:
        return POINTS, None
    horizontal, vertical = result["original_width"] / 100, result["original_height"] / 100
    if "points" in value:
        return POLYGONS, polygon([(x * horizontal, y * vertical) for x, y in value["points"]])
    x, y, angle = value["x"] * horizontal, value["y"] * vertical, value.get("rotation") or 0
    if "radiusX" in value:
        radii = value["radiusX"] * horizontal, value["radiusY"] * vertical
        return ROUND, ellipse((x, y), radii, angle)
    box = [x, y, value["width"] * horizontal, value["height"] * vertical]
    # It is turned about its upper left corner.
    return (ROTATED, rotated(box, angle, (x, y))) if angle else ("", {"bbox": box})
