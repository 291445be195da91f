"""Annotations in use: what would be trained or scored wrongly is refused, however registered."""

import copy
import json
import logging
import math
import re
from contextlib import suppress
from pathlib import Path

import pytest
import toy
from detectron2.data.datasets import register_coco_instances
from PIL import Image

from crnas_d2.data import check_data, check_datasets, register_coco_format
from crnas_d2.data.annotations.coco import read_coco
from crnas_d2.data.annotations.faults import KINDS, SCORING, TRAINING
from crnas_d2.data.annotations.find_faults import find_faults
from crnas_d2.data.datasets import files_in_use
from crnas_d2.data.datasets.files_in_use import check_annotation_file

pytestmark = pytest.mark.usefixtures("registered", "own_cache")


# Corners of 20 boxes in an image of 64 x 64; some are further from 0 than they are long.
CORNERS = [
    (x, y, x + 9 + 5 * n % 17, y + 9 + 7 * n % 13)
    for n, (x, y) in enumerate((11 * n % 37, 17 * n % 39) for n in range(20))
]


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def entry(tmp_path):
    """A dataset of four images and its JSON file."""
    name, file, root = toy.make_dataset(tmp_path, "mine", 4, seed=5)
    register_coco_format([[name, file, root]])
    return Path(file)


def spoil(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def check(**use):
    check_datasets("DATASETS.TEST", ("mine",), **use)


def set_value(records, **values):
    return lambda coco: coco[records][0].update(values)


def drop(records, key):
    return lambda coco: coco[records][0].pop(key)


def repeat(records, **values):
    return lambda coco: coco[records].append({**copy.deepcopy(coco[records][0]), **values})


annotation, image, category = (
    lambda **values: set_value("annotations", **values),
    lambda **values: set_value("images", **values),
    lambda **values: set_value("categories", **values),
)
# What is refused wherever a dataset is used: the change, and words of the message.
REFUSED = {
    "nan": (annotation(bbox=[1, 2, math.nan, 4]), "boxes that are not 4 finite numbers .annot"),
    "infinite": (annotation(bbox=[1, 2, math.inf, 4]), "boxes that are not 4 finite numbers"),
    "null box": (annotation(bbox=None), "boxes that are not 4 finite numbers"),
    "null in box": (annotation(bbox=[None, 2, 3, 4]), "boxes that are not 4 finite numbers"),
    "strings": (annotation(bbox=["1", "2", "3", "4"]), "boxes that are not 4 finite numbers"),
    "3 numbers": (annotation(bbox=[1, 2, 3]), "boxes that are not 4 finite numbers"),
    "no box": (drop("annotations", "bbox"), "boxes that are not 4 finite numbers"),
    "negative box": (annotation(bbox=[5, 6, -7, 8]), "boxes of negative width or height"),
    "no id": (drop("annotations", "id"), "annotation ids that are missing"),
    "text id": (annotation(id="7"), "annotation ids that are missing or no whole numbers"),
    "null id": (annotation(id=None), "annotation ids that are missing"),
    "same id": (repeat("annotations"), "annotation ids that occur twice .1."),
    "unlisted": (annotation(image_id=77), "annotations of images that are not listed .*image 77"),
    "category": (annotation(category_id=9), "annotations of unknown categories"),
    "null crowd": (annotation(iscrowd=None), "values of iscrowd other than 0 and 1"),
    "text crowd": (annotation(iscrowd="0"), "values of iscrowd other than 0 and 1"),
    "ignore": (annotation(ignore=1), "annotations with the key 'ignore'"),
    "normalized": (
        lambda coco: [a.update(bbox=[0.5, 0.5, 0.1, 0.2]) for a in coco["annotations"]],
        r"files whose boxes are below one pixel \(\d+ boxes, e.g. \[0\.5",
    ),
    "normalized but for some": (
        lambda coco: [a.update(bbox=[0.5, 0.5, 0.1, 0.2]) for a in coco["annotations"][1:]],
        "files whose boxes are below one pixel",
    ),
    "corners of small objects": (
        lambda coco: coco.update(
            annotations=[
                {**coco["annotations"][0], "id": n, "bbox": [x, y, x + 4 + x % 3, y + 5]}
                for n, (x, y) in enumerate(((9 * n % 29, 7 * n % 31) for n in range(20)), start=1)
            ]
        ),
        "files whose boxes look like two corners",
    ),
    "corners": (
        lambda coco: [a.update(bbox=[9, 9, 40, 50], area=31 * 41) for a in coco["annotations"]],
        "files whose boxes look like two corners",
    ),
    **{
        f"boxes that are {words}": (
            lambda coco, change=change: coco.update(
                annotations=[
                    {**coco["annotations"][0], "id": n, "bbox": change(*box)}
                    for n, box in enumerate(CORNERS, start=1)
                ]
            ),
            f"files {kind}",
        )
        for words, kind, change in (
            (
                "corners, with few outside",
                "whose boxes look like two corners",
                lambda *corners: [*corners],
            ),
            (
                "corners, read as the middle and a size",
                "whose boxes look like two corners",
                lambda x, y, right, low: [x - right / 2, y - low / 2, right, low],
            ),
        )
    },
    "polygon": (annotation(segmentation=[1, 2, 3, 4, 5, 6]), "malformed segmentations"),
    "text polygon": (annotation(segmentation="text"), "malformed segmentations"),
    "rle": (annotation(segmentation={"counts": [1], "size": [9, 9]}), "malformed segmentations"),
    "rle as text": (
        annotation(segmentation={"counts": "abc", "size": [9, 9]}),
        "malformed segmentations",
    ),
    "rle of another size": (
        annotation(segmentation={"counts": [20, 61], "size": [9, 9]}),
        r"masks \(RLE\) of another size than their image",
    ),
    "keypoints": (annotation(keypoints=["a", 1, 2]), "malformed keypoints"),
    "same image id": (repeat("images", file_name="x.png"), "image ids that occur twice .1."),
    "same file": (repeat("images", id=9), r"image files that are listed twice .000\.png."),
    "same file otherwise": (repeat("images", id=9, file_name="a/../000.png"), "listed twice"),
    "no size": (drop("images", "width"), r"image sizes that .*None x 64 of 000\.png"),
    "text size": (image(height="64"), "image sizes that are no whole numbers above 0"),
    "zero size": (image(height=0), "image sizes that are no whole numbers above 0"),
    "file name": (
        image(file_name=None),
        r"file_name of images\[0\] \(id 1\) is None; expected tex",
    ),
    "empty file name": (image(file_name=""), r"file_name of images\[0\] .*expected text"),
    "text image id": (image(id="1"), r"id of images\[0\] is '1'; expected a whole number"),
    "float image id": (annotation(image_id=1.0), r"image_id of annotations\[0\] .*is 1\.0"),
    "text category id": (category(id="1"), r"id of categories\[0\] is '1'"),
    "no category name": (category(name=None), r"name of categories\[0\]"),
    "same category id": (repeat("categories", name="c"), "category ids that occur twice .1."),
    "same category name": (repeat("categories", id=9), "category names that occur twice .bright."),
    "no image id": (drop("annotations", "image_id"), r"annotations\[0\] is .*keys category_id, im"),
    "no categories": (lambda coco: coco.update(categories=[]), "has no categories"),
    "categories null": (lambda coco: coco.update(categories=None), "expected COCO's lists"),
    "empty": (lambda coco: coco.clear(), "expected COCO's lists images, annotations, categories"),
    "no objects": (lambda coco: coco.update(annotations=[]), "has no annotated object"),
    "no annotations": (lambda coco: coco.pop("annotations"), "has no annotated object"),
    "a record that is null": (lambda coco: coco["images"].append(None), r"images\[4\] is None"),
}
# What is refused where a dataset is scored, and harmless in training.
SCORED = {
    "id 0": (annotation(id=0), "annotations with id 0"),
    "flat box": (annotation(bbox=[1, 2, 0, 5]), "boxes without area"),
    "outside": (annotation(bbox=[-9, -9, 4, 4]), "boxes wholly outside the image"),
    "mostly outside": (annotation(bbox=[60, 2, 30, 30]), "boxes less than half inside the image"),
    "far outside": (annotation(bbox=[1e308, 0, 1e308, 5]), "boxes without area"),
    "null area": (annotation(area=None), "areas that are no numbers from 0 to 1e10"),
    "nan area": (annotation(area=math.nan), "areas that are no numbers from 0 to 1e10"),
    "huge area": (annotation(area=1e11), "areas that are no numbers from 0 to 1e10"),
}
HARMLESS = {
    "polygon elsewhere": (
        annotation(bbox=[2, 3, 8, 9], segmentation=[[30, 30, 40, 30, 40, 40]]),
        "1 polygons apart from their boxes",
    ),
    "VOC corners exchanged": (
        annotation(voc_box=[9, 3, 3, 9]),
        "1 VOC boxes whose corners are exc",
    ),
    "an object twice": (repeat("annotations", id=99), "1 objects that occur twice"),
    "an object twice, rounded": (
        lambda coco: coco["annotations"].append(
            {
                **coco["annotations"][0],
                "id": 99,
                "bbox": [side + 1e-6 for side in coco["annotations"][0]["bbox"]],
            }
        ),
        "1 objects that occur twice",
    ),
    "boxes of other images": (
        lambda coco: [a.update(bbox=[40, 9, 30, 20 + a["id"]]) for a in coco["annotations"]],
        "1 files most of whose boxes leave their images",
    ),
    "like names": (
        lambda coco: [c.update(name=f"dark{' ' * n}") for n, c in enumerate(coco["categories"])],
        "1 category names that differ in case or blanks alone",
    ),
    "crowd": (annotation(iscrowd=1), "1 crowd regions"),
    "no area": (drop("annotations", "area"), "1 annotations without area or iscrowd"),
    "no iscrowd": (drop("annotations", "iscrowd"), "1 annotations without area or iscrowd"),
    "partly outside": (annotation(bbox=[54, 2, 15, 9]), "1 boxes partly outside the image"),
    "short polygon": (annotation(segmentation=[[1, 2, 3, 4]]), "1 objects whose polygons have"),
    "huge id": (annotation(id=2**127), ""),
    "negative id": (annotation(id=-7), "1 annotation ids below 0"),
    "VOC corners": (annotation(voc_box=[3, 3, 3, 9]), "1 VOC boxes with equal corners"),
    "flat crowd": (annotation(iscrowd=1, bbox=[1, 2, 0, 5]), "1 crowd regions without area"),
    "a list beside": (lambda coco: coco.update(licenses=[{"id": 1}]), ""),
}


@pytest.mark.parametrize("is_scored", [True, False])
@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_wrong_is_refused_with_file_and_place(entry, change, words, is_scored):
    spoil(entry, change)
    with pytest.raises(ValueError, match=rf"DATASETS\.TEST names 'mine'.*mine\.json.*{words}"):
        check(is_scored=is_scored)


@pytest.mark.parametrize(("change", "words"), SCORED.values(), ids=SCORED)
def test_what_would_be_scored_wrongly_is_refused_there_and_counted_in_training(
    entry, change, words, caplog
):
    spoil(entry, change)
    with pytest.raises(ValueError, match=rf"mine\.json has 1 {words} \(annotation"):
        check(is_scored=True)
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        check()
    assert f"1 {words}" in caplog.text


@pytest.mark.parametrize(("change", "words"), HARMLESS.values(), ids=HARMLESS)
def test_what_is_harmless_is_counted(entry, change, words, caplog):
    spoil(entry, change)
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        check(is_scored=True)
    assert words in caplog.text and (words == "") == ("mine.json has" not in caplog.text)


def test_few_faults_of_all_tolerated_kinds_together_are_counted(entry):
    def change(coco):
        first = coco["annotations"][0]
        coco["annotations"] += [{**first, "id": 100 + n} for n in range(10_000)]
        coco["annotations"][1]["bbox"] = [1, 2, 0, 5]
        first["bbox"] = [-9, -9, 4, 4]

    spoil(entry, change)
    with pytest.raises(ValueError, match=r"1 boxes without area .* 1 boxes wholly outside the"):
        check(is_scored=True)


def test_the_table_says_where_a_fault_is_refused_and_the_fix(entry):
    seen = {"images with more than 100 objects", "images without objects"}
    for change, _ in (case for cases in (REFUSED, SCORED, HARMLESS) for case in cases.values()):
        coco = json.loads(entry.read_text())
        change(coco)
        changed = entry.with_name("changed.json")
        changed.write_text(json.dumps(coco))
        with suppress(ValueError):
            for kind in find_faults(read_coco(changed)):
                seen.add(kind)
                for is_scored in (False, True):
                    where = {TRAINING, SCORING if is_scored else ""}
                    if KINDS[kind].refused & where:
                        with pytest.raises(ValueError, match=re.escape(KINDS[kind].fix)):
                            check_annotation_file("mine", changed, is_scored=is_scored)
    # The others need the files of images, or are refused on reading.
    others = {kind for kind in KINDS if re.search("files that|of the files|^images|pages", kind)}
    by_layouts = {
        kind
        for kind in KINDS
        if re.search("read|points and lines|keys|found by|written as|not there|a rotation", kind)
    }
    elsewhere = {"no categories", "categories with at most one object", "parts without an object"}
    assert seen | others | by_layouts | elsewhere == set(KINDS)


def test_a_fault_that_no_score_can_show_is_counted(entry, caplog):
    """COCO has a box without area among ten thousands."""

    def change(coco):
        first = coco["annotations"][0]
        coco["annotations"] += [{**first, "id": 100 + n} for n in range(10_000)]
        first["bbox"] = [1, 2, 0, 5]

    spoil(entry, change)
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        check(is_scored=True)
    assert "1 boxes without area" in caplog.text


def test_objects_without_masks_are_refused_where_masks_are_used(entry):
    check(is_scored=True)
    with pytest.raises(ValueError, match="objects without a mask"):
        check(has_masks=True)


def test_a_file_is_read_once_for_each_content(entry, monkeypatch):
    read = []
    monkeypatch.setattr(
        files_in_use, "read_coco", lambda file, **how: read.append(file) or read_coco(file, **how)
    )
    check()
    check(is_scored=True)
    assert len(read) == 1
    spoil(entry, annotation(bbox=[1, 2, 3]))
    with pytest.raises(ValueError, match="4 finite numbers"):
        check()
    assert len(read) == 2


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "5", '{"images": 5}', "\0", "[" * 10**5]
)
def test_a_file_that_is_not_of_coco_is_refused(entry, content):
    entry.write_text(content)
    with pytest.raises(ValueError, match=r"'mine': .*mine\.json (is not JSON|holds)"):
        check()


def test_images_of_a_test_set_may_lack_annotations(entry, toy_datasets):
    spoil(entry, lambda coco: coco.pop("annotations"))
    cfg = toy.network_config(toy_datasets, {"DATASETS.TEST": ("mine",)})
    check_data(cfg, ["TEST"])
    cfg.DATASETS.ARCHVAL = ("mine",)
    with pytest.raises(ValueError, match="no annotated object"):
        check_data(cfg, ["ARCHVAL"])


def test_a_dataset_that_is_registered_otherwise_is_checked_too(entry):
    register_coco_instances("theirs", {}, str(entry), str(entry.parent / "mine"))
    spoil(entry, annotation(bbox=[1, 2, -3, 4]))
    with pytest.raises(ValueError, match=r"'theirs'.*negative width"):
        check_datasets("DATASETS.ARCHVAL", ("theirs",))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_image_is_named(entry, suffix):
    file = entry.parent / "mine" / f"002{suffix}"
    Image.effect_noise((64, 64), 50).convert("RGB").save(file)
    spoil(entry, lambda coco: coco["images"][2].update(file_name=file.name))
    check()
    whole = file.read_bytes()
    file.write_bytes(whole + b"\n")  # bytes behind the end do no harm
    check()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match=rf"'mine': 1 of its 4 images .*002\{suffix} \(.*truncated"
    ):
        check()


def test_an_image_of_another_size_is_named(entry):
    Image.new("RGB", (32, 64)).save(entry.parent / "mine" / "001.png")
    with pytest.raises(ValueError, match=r"001\.png \(\(32, 64\) pixels, but .* \(64, 64\)"):
        check()


def test_a_rotated_image_has_the_size_that_training_sees(entry):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 64)).save(entry.parent / "mine" / "001.png", exif=exif)
    spoil(entry, lambda coco: coco["images"][1].update(width=64, height=30))
    check()
