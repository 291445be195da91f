import json

import pytest
import real_data
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import load_coco_json, load_voc_instances
from detectron2.structures import BoxMode
from voc_toy import write_voc

from crnas_d2.data.images.files import read_image_files
from crnas_d2.data.layouts.voc import voc_files, voc_part
from crnas_d2.verbs.prepare.annotation_report import check_annotations

IMAGES = {
    "a1": [("dog", 0, 1, 1, 60, 40), ("cat", 1, 10, 5, 10, 5)],
    "a2": [],
    "b1": [("cat", 0, 3.5, 4, 20, 30), ("dog", 1, 2, 2, 9, 9)],
    "b2": [("cat", 0, 5, 5, 6, 6)],
}


@pytest.fixture
def voc(tmp_path):
    sets = {"train": ["a1", "a2"], "test": ["b1", "b2"], "trainval": list(IMAGES)}
    return write_voc(tmp_path / "VOC", IMAGES, sets)


@pytest.fixture
def loaded_as_coco(tmp_path):
    """Detectron2's dicts of a VOC image set, by way of our JSON."""
    name = "voc_by_coco"

    def load(folder, image_set, names):
        json_file = tmp_path / "converted.json"
        json_file.write_text(json.dumps(voc_part(voc_files(folder, image_set), folder, names).coco))
        return load_coco_json(str(json_file), str(folder), name)

    yield load
    if name in MetadataCatalog.list():
        MetadataCatalog.remove(name)


def assert_same_as_detectron2(folder, image_set, names, load):
    expected = load_voc_instances(str(folder), image_set, names)
    found = load(folder, image_set, names)
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        for key in ("file_name", "height", "width"):
            assert ours[key] == theirs[key]
        assert [a["category_id"] for a in ours["annotations"]] == [
            a["category_id"] for a in theirs["annotations"]
        ]
        for a, b in zip(ours["annotations"], theirs["annotations"], strict=True):
            box = BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS)
            assert box == pytest.approx(b["bbox"], abs=1e-9)
            assert a["iscrowd"] == 0


def test_boxes_classes_and_sizes_are_those_of_detectron2(voc, loaded_as_coco):
    assert_same_as_detectron2(voc, "trainval", ["dog", "cat"], loaded_as_coco)


@pytest.mark.parametrize("image_set", ["trainval", "test"])
def test_bccd_is_read_as_detectron2_reads_it(loaded_as_coco, image_set):
    names = ["RBC", "WBC", "Platelets"]
    assert_same_as_detectron2(real_data.folder("bccd"), image_set, names, loaded_as_coco)


def test_bccd_has_two_boxes_with_equal_corners():
    folder = real_data.folder("bccd")
    coco = voc_part(voc_files(folder), folder).coco
    files = read_image_files([image["file_name"] for image in coco["images"]], folder)
    report = check_annotations(coco, files)
    assert report.counts() == {"VOC boxes with equal corners": 2}
    [examples] = report.findings.values()
    assert ["BloodImage_00338" in examples[0], "BloodImage_00343" in examples[1]] == [True, True]
    assert len(report.coco["annotations"]) == len(coco["annotations"]) - 2 == 4886


def test_difficult_objects_are_objects_with_a_flag(voc):
    annotations = voc_part(voc_files(voc), voc).coco["annotations"]
    assert [a["difficult"] for a in annotations] == [0, 1, 0, 1, 0]
    assert {a["iscrowd"] for a in annotations} == {0}
    assert annotations[0]["bbox"] == [0, 0, 60, 40]
    assert annotations[0]["voc_box"] == [1, 1, 60, 40]


def test_names_are_sorted_and_ids_count_from_one(voc):
    coco = voc_part(voc_files(voc), voc).coco
    assert coco["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [image["id"] for image in coco["images"]] == [1, 2, 3, 4]
    assert [a["id"] for a in coco["annotations"]] == [1, 2, 3, 4, 5]


def test_images_are_named_from_a_common_folder_and_by_the_file_that_is_there(voc):
    (voc / "JPEGImages" / "a1.jpg").rename(voc / "JPEGImages" / "a1.PNG")
    (voc / "JPEGImages" / "a2.jpg").unlink()
    names = [image["file_name"] for image in voc_part(voc_files(voc), voc.parent).coco["images"]]
    assert names[:3] == [f"VOC/JPEGImages/{name}" for name in ("a1.PNG", "a2.jpg", "b1.jpg")]


def test_the_named_image_wins_and_other_files_are_no_images(voc):
    for name in ("a1.txt", "a1.png", "b1.xml"):
        (voc / "JPEGImages" / name).touch()
    (voc / "JPEGImages" / "a2.jpg").rename(voc / "JPEGImages" / "0002.jpg")
    for name, described in (("a2", "0002.jpg"), ("b1", "gone.jpg")):
        file = voc / "Annotations" / f"{name}.xml"
        described = f"<annotation><filename>{described}</filename>"
        file.write_text(file.read_text().replace("<annotation>", described))
    names = [image["file_name"] for image in voc_part(voc_files(voc), voc).coco["images"]]
    assert names == [f"JPEGImages/{name}.jpg" for name in ("a1", "0002", "b1", "b2")]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda voc: (voc / "Annotations" / "a1.xml").unlink(), "names 1 images without annotat"),
        (lambda voc: (voc / "ImageSets/Main/train.txt").unlink(), r"image sets \['test', 'trainv"),
        (lambda voc: (voc / "JPEGImages").rename(voc / "images"), "is not a VOC folder"),
        (
            lambda voc: (voc / "Annotations/a1.xml").write_text("<a"),
            r"a1\.xml is not an XML file",
        ),
        (
            lambda voc: write_voc(voc, {"a1": [("cow", 0, 1, 1, 2, 2)]}, {}),
            r"the class of an object is 'cow'; expected one of \['cat', 'dog'\]",
        ),
        (
            lambda voc: write_voc(voc, {"a1": [("cat", 0, "x", 1, 2, 2)]}, {}),
            "'cat' has no bndbox of numbers xmin, ymin, xmax, ymax",
        ),
        (
            lambda voc: write_voc(voc, {"a1": [("cat", "no", 1, 1, 2, 2)]}, {}),
            r"a1\.xml: difficult of an object 'cat' is 'no'; expected 0 or 1",
        ),
    ],
    ids=["annotation", "image set", "folder", "xml", "class", "box", "difficult"],
)
def test_a_faulty_folder_is_refused(voc, spoil, words):
    spoil(voc)
    with pytest.raises(ValueError, match=words):
        voc_part(voc_files(voc, "train"), voc, ["cat", "dog"])
