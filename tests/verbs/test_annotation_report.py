import copy
import json
import math

import pytest
import real_data
from PIL import Image

from crnas_d2.data.annotations.coco import read_coco
from crnas_d2.data.annotations.faults import KINDS, PREPARE, SCORING, TRAINING
from crnas_d2.data.annotations.find_faults import find_faults
from crnas_d2.data.images.files import read_image_files
from crnas_d2.verbs.prepare.annotation_report import check_annotations

SIZE = (40, 30)
FAULTLESS = {"images without objects": 1}


@pytest.fixture
def dataset(tmp_path):
    """A faultless dataset of four images, one of them without objects, and their folder."""
    images = []
    for number in range(1, 5):
        Image.new("RGB", SIZE, (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 40, "height": 30})
    annotations = [
        {
            "id": number,
            "image_id": number,
            "category_id": 1 + number % 2,
            "bbox": [5, 6, 10, 20],
            "area": 200,
            "iscrowd": 0,
        }
        for number in (1, 2, 3)
    ]
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    return {"images": images, "annotations": annotations, "categories": categories}, tmp_path


def check(dataset, *accepted):
    """Check a dataset: its copy is faultless, or something is refused, in words of the table."""
    coco, folder = dataset
    files = read_image_files([image["file_name"] for image in coco["images"]], folder)
    before = copy.deepcopy(coco)
    report = check_annotations(coco, files, accepted=accepted)
    assert json.dumps(coco) == json.dumps(before), "the source stays as it is"
    for kind, record in report.records().items():
        words = (KINDS[kind].fix, KINDS[kind].mended)
        done, _, asked = record["done"].partition("; or --accept ")
        assert done.removeprefix("REFUSED: ").removeprefix("kept: ") in words
        assert done.startswith("REFUSED") == KINDS[kind].is_refused((PREPARE,), accepted)
        assert bool(asked) == bool(done.startswith("REFUSED") and KINDS[kind].accept)
    left = [
        kind
        for kind in find_faults(report.coco)
        if KINDS[kind].is_refused((TRAINING, SCORING), accepted)
    ]
    assert report.refused or not left
    return report


def test_a_faultless_dataset_is_kept_as_it_is(dataset):
    report = check(dataset)
    assert report.counts() == FAULTLESS
    assert report.coco == dataset[0] and report.refused == []
    assert "images without objects" in report.table() and "4.png" in report.table()


def of(records, *, drop=None, **values):
    """A change of the first image, annotation or category."""

    def change(coco, _):
        coco[records][0].update(values)
        coco[records][0].pop(drop, None)

    return change


def box(*values, **others):
    return of("annotations", bbox=list(values), **others)


DROPPED = {
    "zero width": (box(5, 6, 0, 20), "boxes without area"),
    "below rounding": (box(5, 6, 0.01, 20), "boxes without area"),
    "VOC corners": (of("annotations", voc_box=[9, 9, 9, 20]), "VOC boxes with equal corners"),
    "outside": (box(40, 6, 10, 20), "boxes wholly outside the image"),
    "crowd": (box(5, 6, 0, 20, iscrowd=1), "crowd regions without area in the image"),
    "crowd outside": (box(40, 6, 9, 9, iscrowd=1), "crowd regions without area in the image"),
    "no image": (of("annotations", image_id=77), "annotations of images that are not listed"),
}


@pytest.mark.parametrize(("spoil", "kind"), DROPPED.values(), ids=DROPPED)
def test_an_object_that_cannot_be_used_is_dropped_and_counted(dataset, spoil, kind):
    spoil(*dataset)
    report = check(dataset)
    assert report.counts() == {kind: 1, "images without objects": 2}
    assert report.records()[kind]["done"] == "dropped" and report.refused == []
    assert [a["id"] for a in report.coco["annotations"]] == [2, 3]


LESS, PARTLY = "boxes less than half inside the image", "boxes partly outside the image"
AREAS, FILLED = "areas that are no numbers from 0 to 1e10", "annotations without area or iscrowd"
CORRECTED = {
    "clipped": (box(-5, 10, 20, 25), PARTLY, {"bbox": [0, 10, 15, 20], "area": 300}),
    "mostly outside": (box(30, 0, 30, 10), LESS, {"bbox": [30, 0, 10, 10], "area": 100}),
    "crowd": (box(-9, 0, 10, 9, iscrowd=1), PARTLY, {"bbox": [0, 0, 1, 9], "area": 9}),
    "mask": (
        box(-5, 10, 20, 25, segmentation=[[0, 10, 15, 10, 15, 30]]),
        *(PARTLY, {"bbox": [0, 10, 15, 20], "area": 200}),
    ),
    "no area": (of("annotations", drop="area"), FILLED, {"area": 200}),
    "no iscrowd": (of("annotations", drop="iscrowd"), FILLED, {"iscrowd": 0}),
    "null area": (of("annotations", area=None), AREAS, {"area": 200}),
    "nan area": (of("annotations", area=math.nan), AREAS, {"area": 200}),
    "clipped without area": (box(-5, 10, 20, 25, area=-1), AREAS, {"area": 300}),
}


@pytest.mark.parametrize(("spoil", "kind", "values"), CORRECTED.values(), ids=CORRECTED)
def test_what_can_be_corrected_is_corrected_and_counted(dataset, spoil, kind, values):
    spoil(*dataset)
    report = check(dataset)
    assert report.counts()[kind] == 1 and report.refused == []
    first = report.coco["annotations"][0]
    assert {key: first[key] for key in values} == values


def test_rounding_to_two_decimals_is_no_fault(dataset):
    box(30, 10, 10.01, 20)(*dataset)
    assert check(dataset).counts() == FAULTLESS


@pytest.mark.parametrize(
    ("faulty", "kind"),
    [
        (0, "annotations with id 0"),
        (2, "annotation ids that occur twice"),
        (-1, "annotation ids below 0"),
        *(
            (value, "annotation ids that are missing or no whole numbers")
            for value in (None, "x", "1", [1])
        ),
    ],
)
def test_faulty_annotation_ids_renumber_all(dataset, faulty, kind):
    of("annotations", id=faulty)(*dataset)
    report = check(dataset)
    assert report.counts() == {kind: 1, **FAULTLESS} and str(faulty) in report.findings[kind][0]
    assert [a["id"] for a in report.coco["annotations"]] == [1, 2, 3]


@pytest.mark.parametrize(
    "spoil",
    [
        of("images", width=0, height=0),
        of("images", drop="width"),
        of("images", width="40"),
        of("images", height=30.0),
    ],
)
def test_sizes_that_are_not_stated_are_read_from_the_files(dataset, spoil):
    spoil(*dataset)
    box(40, 6, 10, 20)(*dataset)  # what is outside shows with the size
    report = check(dataset)
    assert report.counts()["image sizes that are no whole numbers above 0"] == 1
    assert report.counts()["boxes wholly outside the image"] == 1
    assert [(i["width"], i["height"]) for i in report.coco["images"]] == [SIZE] * 4


def test_an_image_that_is_there_twice_is_kept_once(dataset):
    coco, folder = dataset
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes())
    coco["annotations"][1]["category_id"] = coco["annotations"][0]["category_id"]
    report = check(dataset)
    assert report.findings["images with the content of another"] == ["2.png = 1.png"]
    assert report.counts() == {"images with the content of another": 1, **FAULTLESS}
    assert [image["id"] for image in report.coco["images"]] == [1, 3, 4]
    assert [a["image_id"] for a in report.coco["annotations"]] == [1, 3]


def test_of_twins_that_contradict_each_other_it_is_said_which_has_what(dataset):
    coco, folder = dataset
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes())
    second = coco["annotations"][1]
    second |= {"category_id": 2, "bbox": [1, 1, 3, 3]}
    for category, words, its in ((2, "boxes", "b"), (1, "objects", "a")):
        second["category_id"] = category
        report = check(dataset)
        kind = f"images with the content of another, but other {words}"
        assert report.findings[kind] == [
            f"2.png has {its} [1, 1, 3, 3]; 1.png has b [5, 6, 10, 20]"
        ]
        assert report.refused == ([kind] if words == "objects" else [])
    report = check(dataset, "contradicting-twins")
    assert report.refused == [] and [a["id"] for a in report.coco["annotations"]] == [1, 3]


# What is probably not meant: the change, the kind, and what it is with --accept.
ASKED = {
    "negative height": (
        *(box(5, 16, 10, -10), "boxes of negative width or height", "swapped-corners"),
        {"bbox": [5, 6, 10, 10]},
    ),
    "VOC corners": (
        of("annotations", bbox=[19, 5, -9, 20], voc_box=[20, 6, 10, 25]),
        *("VOC boxes whose corners are exchanged", "swapped-corners"),
        {"bbox": [9, 5, 11, 20], "voc_box": [10, 6, 20, 25]},
    ),
    "ignore": (
        *(of("annotations", ignore=1), "annotations with the key 'ignore'", "ignored-objects"),
        {"iscrowd": 1, "ignore": 0},
    ),
    "normalized": (
        lambda coco, _: [a.update(bbox=[0.1, 0.2, 0.3, 0.9]) for a in coco["annotations"]],
        *("files whose boxes are below one pixel", "normalized-boxes"),
        {"bbox": [0.1, 0.2, 0.3, 0.9]},
    ),
    "corners, by their areas": (
        lambda coco, _: [a.update(bbox=[5, 6, 15, 20], area=140) for a in coco["annotations"]],
        *("files whose boxes look like two corners", "corner-boxes"),
        {"bbox": [5, 6, 15, 20]},
    ),
    "corners, by what is outside": (
        lambda coco, _: [a.update(bbox=[20, 6, 40, 20], area=800) for a in coco["annotations"]],
        *("files whose boxes look like two corners", "corner-boxes"),
        {},
    ),
    "twice": (
        lambda coco, _: coco["annotations"].append({**coco["annotations"][0], "id": 9}),
        *("objects that occur twice", "repeated-boxes"),
        {"id": 1},
    ),
    "classes by case": (
        lambda coco, _: [c.update(name=n) for c, n in zip(coco["categories"], "Aa", strict=True)],
        *("category names that differ in case or blanks alone", "similar-classes"),
        {},
    ),
}


@pytest.mark.parametrize(("spoil", "kind", "accept", "values"), ASKED.values(), ids=ASKED)
def test_what_is_probably_not_meant_is_asked(dataset, spoil, kind, accept, values):
    spoil(*dataset)
    report = check(dataset)
    assert kind in report.refused and f"--accept {accept}" in report.records()[kind]["done"]
    report = check(dataset, accept)
    assert report.refused == [] and kind in report.findings
    first = report.coco["annotations"][0]
    assert {key: first[key] for key in values} == values
    assert len(report.coco["annotations"]) == 3


def test_boxes_that_are_alike_but_not_equal_are_no_copies(dataset):
    """Among them -1 and -2, whose hashes are equal in Python."""
    coco, _ = dataset
    first = coco["annotations"][0]
    lefts = (-1, -2, -1.0 - 0.01, 5.5, 6)
    coco["annotations"] += [
        {**first, "id": 10 + n, "bbox": [left, 6, 10, 20]} for n, left in enumerate(lefts)
    ]
    report = check(dataset)
    assert "objects that occur twice" not in report.findings and report.refused == []


def test_a_few_odd_boxes_are_no_sign_of_corners(dataset):
    coco, _ = dataset
    coco["annotations"] += [
        {**coco["annotations"][0], "id": n, "bbox": [n, n, 3, 3], "area": 9} for n in range(10, 25)
    ]
    box(5, 6, 36, 25)(*dataset)
    assert check(dataset).refused == []


def test_crowds_and_short_polygons_are_counted_and_kept(dataset):
    of("annotations", iscrowd=1, segmentation=[[1, 1, 2, 2]])(*dataset)
    dataset[0]["annotations"][1]["segmentation"] = [[1, 1, 2, 2], [1, 1, 5, 1, 5, 5]]
    report = check(dataset)
    kinds = ("crowd regions", "objects whose polygons have less than 3 points")
    assert report.counts() == dict.fromkeys(kinds, 1) | FAULTLESS
    assert report.coco["annotations"] == dataset[0]["annotations"]


def cut(coco, folder):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])


REFUSED = {
    **{
        name: (of("annotations", bbox=value), "boxes that are not 4 finite numbers")
        for name, value in {"box": [1, 2, 3], "no box": None, "nan": [1, 2, 3, math.nan]}.items()
    },
    "category": (of("annotations", category_id=9), "annotations of unknown categories"),
    "ignore": (of("annotations", ignore=1), "annotations with the key 'ignore'"),
    "crowd": (of("annotations", iscrowd=None), "values of iscrowd other than 0 and 1"),
    "polygons": (of("annotations", segmentation=[5]), "malformed segmentations"),
    "no polygons": (of("annotations", segmentation=5), "malformed segmentations"),
    "keypoints": (of("annotations", keypoints=["a"]), "malformed keypoints"),
    "image ids": (of("images", id=2), "image ids that occur twice"),
    "file names": (of("images", file_name="2.png"), "image files that are listed twice"),
    "category ids": (of("categories", id=2), "category ids that occur twice"),
    "category names": (of("categories", name="b"), "category names that occur twice"),
    "no categories": (lambda coco, _: coco["categories"].clear(), "no categories"),
    "missing": (lambda _, folder: (folder / "1.png").unlink(), "image files that are missing"),
    "broken": (cut, "image files that cannot be decoded"),
    "no image": (
        lambda _, folder: (folder / "1.png").write_text("text"),
        "image files that cannot be decoded",
    ),
    "size": (
        lambda _, folder: Image.new("RGB", (30, 40)).save(folder / "1.png"),
        "image sizes that are not those of the files",
    ),
}


@pytest.mark.parametrize(("spoil", "kind"), REFUSED.values(), ids=REFUSED)
def test_what_only_the_owner_can_mend_is_refused(dataset, spoil, kind):
    spoil(*dataset)
    report = check(dataset)
    assert kind in report.refused
    assert "REFUSED" in report.table()


def test_sizes_are_those_after_the_exif_orientation(dataset):
    _, folder = dataset
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40)).save(folder / "1.png", exif=exif)
    assert check(dataset).counts() == FAULTLESS


def test_the_table_shows_the_first_examples_only(dataset):
    for annotation in dataset[0]["annotations"]:
        annotation["bbox"] = [0, 0, 0, 0]
    dataset[0]["annotations"].append({**dataset[0]["annotations"][0], "id": 4, "category_id": 1})
    report = check(dataset)
    assert report.table().count("[0, 0, 0, 0]") == 3 and "..." in report.table()
    assert len(report.findings["boxes without area"]) == 4


def test_crowd_and_empty_images_of_coco_are_counted():
    folder = real_data.folder("coco")
    found = {"crowd regions": 0, "images without objects": 0}
    for part in ("train2017", "val2017"):
        coco = read_coco(folder / "annotations" / f"instances_{part}.json")
        if len(coco["images"]) > 1000:
            pytest.skip("the whole of COCO takes minutes to decode")
        names = [image["file_name"] for image in coco["images"]]
        report = check_annotations(coco, read_image_files(names, folder / part))
        assert report.coco == coco and set(report.counts()) <= set(found)
        for kind, count in report.counts().items():
            found[kind] += count
    assert found == {"crowd regions": 17, "images without objects": 3}
