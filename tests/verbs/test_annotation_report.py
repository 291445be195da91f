import copy
import json
import math

import pytest
import real_data
from PIL import Image

from crnas_d2.data.annotations.coco import read_coco
from crnas_d2.data.annotations.faults import KINDS, find_faults
from crnas_d2.data.images.files import read_image_files
from crnas_d2.verbs.prepare.annotation_report import check_annotations

SIZE = (40, 30)


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


def check(dataset):
    coco, folder = dataset
    files = read_image_files([image["file_name"] for image in coco["images"]], folder)
    before = copy.deepcopy(coco)
    report = check_annotations(coco, files)
    assert json.dumps(coco) == json.dumps(before), "the source stays as it is"
    return report


def set_box(*box):
    return lambda coco, _: coco["annotations"][0].update(bbox=list(box))


def set_key(records, key, value):
    return lambda coco, _: coco[records][0].update({key: value})


def test_a_faultless_dataset_is_kept_as_it_is(dataset):
    report = check(dataset)
    assert report.counts() == {"empty images": 1}
    assert report.coco == dataset[0] and report.refused() == []
    assert "empty images" in report.table() and "4.png" in report.table()


MENDED = {
    "zero width": (set_box(5, 6, 0, 20), "zero-area boxes", "dropped"),
    "negative height": (set_box(5, 6, 10, -3), "zero-area boxes", "dropped"),
    "VOC corners": (set_key("annotations", "voc_box", [9, 9, 9, 20]), "zero-area boxes", "dropped"),
    "outside": (set_box(40, 6, 10, 20), "boxes wholly outside the image", "dropped"),
    "no image": (
        set_key("annotations", "image_id", 77),
        "annotations of images that are not listed",
        "dropped",
    ),
}


@pytest.mark.parametrize(("spoil", "kind", "action"), MENDED.values(), ids=MENDED)
def test_an_object_that_cannot_be_used_is_dropped_and_counted(dataset, spoil, kind, action):
    spoil(*dataset)
    report = check(dataset)
    assert report.counts()[kind] == 1 and report.findings[kind][0].startswith(action)
    assert [a["id"] for a in report.coco["annotations"]] == [2, 3]
    assert report.refused() == []


def test_a_box_that_leaves_the_image_is_clipped(dataset):
    set_box(-5, 10, 20, 25)(*dataset)
    report = check(dataset)
    assert report.counts()["boxes partly outside the image"] == 1
    assert report.coco["annotations"][0]["bbox"] == [0, 10, 15, 20]
    assert report.coco["annotations"][0]["area"] == 300


def test_rounding_to_two_decimals_is_no_fault(dataset):
    set_box(30, 10, 10.01, 20)(*dataset)
    assert check(dataset).counts() == {"empty images": 1}


@pytest.mark.parametrize("faulty", [0, 2, -1, None, "x"])
def test_faulty_annotation_ids_renumber_all(dataset, faulty):
    dataset[0]["annotations"][0]["id"] = faulty
    report = check(dataset)
    kind = "duplicate, zero or missing annotation ids"
    assert report.findings[kind][1] == [str(faulty)]
    assert [a["id"] for a in report.coco["annotations"]] == [1, 2, 3]


def test_area_and_iscrowd_are_filled_in(dataset):
    del dataset[0]["annotations"][0]["area"], dataset[0]["annotations"][1]["iscrowd"]
    report = check(dataset)
    assert report.counts()["annotations without area or iscrowd"] == 2
    assert report.coco["annotations"][0]["area"] == 200
    assert report.coco["annotations"][1]["iscrowd"] == 0


def test_sizes_that_are_not_stated_are_read_from_the_files(dataset):
    dataset[0]["images"][0].update(width=0, height=0)
    del dataset[0]["images"][1]["width"]
    report = check(dataset)
    assert report.counts()["image sizes not stated"] == 2
    assert [(i["width"], i["height"]) for i in report.coco["images"]] == [SIZE] * 4


def test_an_image_that_is_there_twice_is_kept_once(dataset):
    _, folder = dataset
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes())
    report = check(dataset)
    assert report.findings["images with the content of another"][1] == ["2.png = 1.png"]
    assert [image["id"] for image in report.coco["images"]] == [1, 3, 4]
    assert [a["image_id"] for a in report.coco["annotations"]] == [1, 3]
    assert "annotations of images that are not listed" not in report.counts()


def test_crowd_boxes_are_counted_and_kept(dataset):
    dataset[0]["annotations"][0]["iscrowd"] = 1
    report = check(dataset)
    assert report.counts()["crowd boxes"] == 1 and len(report.coco["annotations"]) == 3


def test_polygons_that_detectron2_leaves_out_are_counted(dataset):
    dataset[0]["annotations"][0]["segmentation"] = [[1, 1, 2, 2]]
    dataset[0]["annotations"][1]["segmentation"] = [[1, 1, 2, 2], [1, 1, 5, 1, 5, 5]]
    assert check(dataset).counts()["objects whose polygons have less than 3 points"] == 1


def wrong_size(coco, folder):
    Image.new("RGB", (30, 40)).save(folder / "1.png")


REFUSED = {
    "box": (set_box(1, 2, 3), "malformed boxes"),
    "no box": (set_key("annotations", "bbox", None), "malformed boxes"),
    "nan": (set_box(1, 2, 3, math.nan), "malformed boxes"),
    "category": (set_key("annotations", "category_id", 9), "annotations of unknown categories"),
    "ignore": (set_key("annotations", "ignore", 1), "annotations with the key 'ignore'"),
    "image ids": (set_key("images", "id", 2), "duplicate image ids"),
    "file names": (set_key("images", "file_name", "2.png"), "duplicate image file names"),
    "category names": (set_key("categories", "name", "b"), "duplicate category names"),
    "category ids": (set_key("categories", "id", 2), "duplicate category ids"),
    "no categories": (lambda coco, _: coco["categories"].clear(), "no categories"),
    "missing": (lambda _, folder: (folder / "1.png").unlink(), "missing image files"),
    "broken": (
        lambda _, folder: (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60]),
        "image files that cannot be decoded",
    ),
    "no image": (
        lambda _, folder: (folder / "1.png").write_text("text"),
        "image files that cannot be decoded",
    ),
    "size": (wrong_size, "image sizes that are not those of the files"),
}


@pytest.mark.parametrize(("spoil", "kind"), REFUSED.values(), ids=REFUSED)
def test_what_only_the_owner_can_mend_is_refused(dataset, spoil, kind):
    spoil(*dataset)
    report = check(dataset)
    assert kind in report.refused()
    assert "REFUSED" in report.table()


def test_sizes_are_those_after_the_exif_orientation(dataset):
    _, folder = dataset
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40)).save(folder / "1.png", exif=exif)
    assert check(dataset).refused() == []


def test_the_table_shows_the_first_examples_only(dataset):
    for annotation in dataset[0]["annotations"]:
        annotation["bbox"] = [0, 0, 0, 0]
    dataset[0]["annotations"].append({**dataset[0]["annotations"][0], "id": 4})
    report = check(dataset)
    assert report.table().count("[0, 0, 0, 0]") == 3 and "..." in report.table()
    assert len(report.findings["zero-area boxes"][1]) == 4


def test_crowd_and_empty_images_of_coco_are_counted():
    folder = real_data.folder("coco")
    found = {"crowd boxes": 0, "empty images": 0}
    for part in ("train2017", "val2017"):
        coco = read_coco(folder / "annotations" / f"instances_{part}.json")
        if len(coco["images"]) > 1000:
            pytest.skip("the whole of COCO takes minutes to decode")
        names = [image["file_name"] for image in coco["images"]]
        report = check_annotations(coco, read_image_files(names, folder / part))
        assert report.coco == coco and set(report.counts()) <= set(found)
        for kind, count in report.counts().items():
            found[kind] += count
    assert found == {"crowd boxes": 17, "empty images": 3}


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (set_key("annotations", "iscrowd", None), "values of iscrowd other than 0 and 1"),
        (set_key("annotations", "segmentation", [5]), "malformed segmentations"),
        (set_key("annotations", "segmentation", 5), "malformed segmentations"),
        (set_key("annotations", "keypoints", ["a"]), "malformed keypoints"),
    ],
)
def test_what_no_copy_can_mend_is_refused(dataset, spoil, kind):
    spoil(*dataset)
    assert kind in check(dataset).refused()


@pytest.mark.parametrize(
    "spoil",
    [
        set_key("annotations", "area", None),
        set_key("annotations", "area", math.nan),
        set_key("annotations", "id", [1]),
        set_key("annotations", "id", "1"),
        set_key("images", "width", "40"),
        set_key("images", "height", 30.0),
    ],
)
def test_a_mended_copy_is_accepted_where_it_is_used(dataset, spoil):
    spoil(*dataset)
    report = check(dataset)
    assert report.refused() == []
    refused = {"always", "scored"}
    assert not [kind for kind in find_faults(report.coco) if KINDS[kind].refused in refused]
