import json
import shutil
from pathlib import Path

import pytest
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog

from crnas_d2.data import check_class_count, check_datasets, check_disjoint, register_coco_format

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def entry(tmp_path):
    return toy.make_dataset(tmp_path, "mine", 4, seed=5)


def test_a_dataset_in_coco_format_is_registered_under_its_name(entry):
    register_coco_format([entry])
    assert len(DatasetCatalog.get("mine")) == 4
    assert MetadataCatalog.get("mine").thing_classes == list(toy.CLASSES)
    assert MetadataCatalog.get("mine").evaluator_type == "coco"


def test_registering_twice_changes_nothing(entry):
    register_coco_format([entry])
    register_coco_format([entry, entry])
    assert len(DatasetCatalog.get("mine")) == 4


@pytest.mark.parametrize(
    ("malform", "words"),
    [
        (lambda entry: entry[:2], r"expected \[name, json file, image folder\]"),
        (lambda entry: [*entry, "more"], r"expected \[name, json file, image folder\]"),
        (lambda entry: [entry[0], "no/such.json", entry[2]], r"'mine', but no/such\.json does"),
        (lambda entry: [entry[0], entry[1], "no/images"], r"'mine', but no/images does not exist"),
        (
            lambda entry: ["letters_test", *entry[1:]],
            "'letters_test', but another dataset has",
        ),
    ],
    ids=["too short", "too long", "no json file", "no image folder", "name taken"],
)
def test_a_malformed_entry_is_refused(entry, malform, words):
    with pytest.raises(ValueError, match=rf"DATASETS\.COCO_FORMAT .*{words}"):
        register_coco_format([malform(entry)])


def test_a_name_stands_for_one_file(entry, tmp_path):
    register_coco_format([entry])
    other = toy.make_dataset(tmp_path / "other", "mine", 2, seed=6)
    with pytest.raises(ValueError, match="'mine', but another dataset has this name"):
        register_coco_format([other])


def test_complete_datasets_pass(entry):
    register_coco_format([entry])
    check_datasets("DATASETS.TRAIN", ("mine",))


def test_an_unregistered_name_is_refused_with_the_registered_ones(entry):
    register_coco_format([entry])
    with pytest.raises(ValueError, match=r"DATASETS\.ARCHVAL names 'mime'.*coco_2017_val.*mine"):
        check_datasets("DATASETS.ARCHVAL", ("mime",))


def test_a_missing_annotation_file_is_named(entry):
    register_coco_format([entry])
    Path(entry[1]).unlink()
    with pytest.raises(ValueError, match=r"'mine', but .*mine\.json does not exist"):
        check_datasets("DATASETS.TRAIN", ("mine",))


def test_missing_image_files_are_counted_and_one_is_named(entry):
    register_coco_format([entry])
    for name in ("001.png", "003.png"):
        (Path(entry[2]) / name).unlink()
    with pytest.raises(ValueError, match=r"'mine': 2 of its 4 image files.*first is .*001\.png"):
        check_datasets("DATASETS.TRAIN", ("mine",))


def test_a_dataset_without_images_is_refused(tmp_path):
    register_coco_format([toy.make_dataset(tmp_path, "nothing", 0, seed=0)])
    with pytest.raises(ValueError, match="'nothing', which holds no images"):
        check_datasets("DATASETS.TRAIN", ("nothing",))


@pytest.mark.parametrize("architecture", ["GeneralizedRCNN", "RetinaNet"])
def test_the_number_of_classes_must_be_that_of_the_model(entry, architecture):
    register_coco_format([entry])
    DatasetCatalog.get("mine")  # fills in the metadata
    cfg = toy.network_config({"MODEL.META_ARCHITECTURE": architecture})
    node = {"GeneralizedRCNN": "ROI_HEADS", "RetinaNet": "RETINANET"}[architecture]
    cfg.MODEL[node].NUM_CLASSES = 3
    with pytest.raises(
        ValueError, match=rf"MODEL\.{node}\.NUM_CLASSES is 3, but 'mine' has 2 classes. Set it to 2"
    ):
        check_class_count(cfg, ("mine",))
    cfg.MODEL[node].NUM_CLASSES = 2
    check_class_count(cfg, ("mine",))


def test_classes_must_be_in_the_same_order(entry, tmp_path):
    _, json_file, image_root = entry
    content = json.loads(Path(json_file).read_text())
    names = [category["name"] for category in content["categories"]]
    for category, other in zip(content["categories"], reversed(names), strict=True):
        category["name"] = other
    turned = tmp_path / "turned.json"
    turned.write_text(json.dumps(content))
    register_coco_format([entry, ["turned", str(turned), image_root]])
    check_datasets("DATASETS.TRAIN", ["mine", "turned"])
    cfg = toy.supernet_config({})
    check_class_count(cfg, ("mine",))
    with pytest.raises(ValueError, match=r"'turned' has.*the same position"):
        check_class_count(cfg, ("mine", "turned"))


def test_different_images_are_disjoint(entry, tmp_path):
    other = toy.make_dataset(tmp_path, "other", 3, seed=6)
    register_coco_format([entry, other])
    check_disjoint("DATASETS.ARCHVAL", ("mine",), "DATASETS.TRAIN", ("other",))
    check_disjoint("DATASETS.ARCHVAL", ("mine",), "DATASETS.TRAIN", ())


def test_equal_datasets_overlap(entry):
    register_coco_format([entry])
    with pytest.raises(ValueError, match=r"ARCHVAL \['mine'\].*TRAIN \['mine'\] share 4 images"):
        check_disjoint("DATASETS.ARCHVAL", ("mine",), "DATASETS.TRAIN", ("mine",))


def test_an_image_under_another_file_name_overlaps(entry, tmp_path):
    other = toy.make_dataset(tmp_path, "other", 3, seed=6)
    shutil.copyfile(Path(entry[2]) / "002.png", Path(other[2]) / "001.png")
    register_coco_format([entry, other])
    with pytest.raises(ValueError, match=r"share 1 images, e\.g\. .*mine/002\.png = .*other/001\."):
        check_disjoint("DATASETS.ARCHVAL", ("mine",), "DATASETS.TRAIN", ("other",))
