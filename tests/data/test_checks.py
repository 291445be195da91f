import json
import shutil
from pathlib import Path

import pytest
import toy
from detectron2.data import DatasetCatalog

from crnas_d2.data import (
    build_resumable_loader,
    build_train_loader,
    check_class_count,
    check_data,
    check_datasets,
    check_disjoint,
    register_coco_format,
)

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def entry(tmp_path):
    return toy.make_dataset(tmp_path, "mine", 4, seed=5)


def remove(*names):
    return lambda entry: [Path(entry[index], name).unlink() for index, name in names]


# What is done to a dataset, and words of the message; also of one without images.
FAULTS = {
    "unregistered": (
        "mime",
        remove(),
        r"'mime', which is not reg.*Did you mean mine.*coco_",
    ),
    "no file": ("mine", remove((1, "")), r"'mine', but .*mine\.json does not exist"),
    "images": (
        *("mine", remove((2, "001.png"), (2, "003.png"))),
        r"'mine': 2 of its 4 image files.*first is .*001\.png",
    ),
    "no images": ("nothing", remove(), "'nothing', which holds no images"),
}


@pytest.mark.parametrize(("name", "damage", "words"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_read_is_refused(entry, tmp_path, name, damage, words):
    register_coco_format([entry, toy.make_dataset(tmp_path, "nothing", 0, seed=0)])
    check_datasets("DATASETS.TRAIN", ("mine",))
    damage(entry)
    with pytest.raises(ValueError, match=rf"DATASETS\.ARCHVAL names {words}"):
        check_datasets("DATASETS.ARCHVAL", (name,))


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


def test_datasets_may_not_share_images_under_any_name(entry, tmp_path):
    def check(other):
        return check_disjoint("DATASETS.ARCHVAL", ("mine",), "DATASETS.TRAIN", other)

    other = toy.make_dataset(tmp_path, "other", 3, seed=6)
    register_coco_format([entry, other])
    assert check(("other",)) == check(()) == {}
    with pytest.raises(ValueError, match=r"ARCHVAL \['mine'\].*TRAIN \['mine'\] share 4 images"):
        check(("mine",))
    shutil.copyfile(Path(entry[2]) / "002.png", Path(other[2]) / "001.png")
    with pytest.raises(ValueError, match=r"share 1 images, e\.g\. .*mine/002\.png = .*other/001\."):
        check(("other",))


@pytest.mark.parametrize("crowd", [True, False])
def test_images_without_an_object_are_no_training_set(crowd, toy_datasets, tmp_path):
    _, file, images = toy_datasets["DATASETS.COCO_FORMAT"][0]
    content = json.loads(Path(file).read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    content["annotations"] = content["annotations"] if crowd else []
    (tmp_path / "none.json").write_text(json.dumps(content))
    entry = ["no_objects", str(tmp_path / "none.json"), images]
    register_coco_format([entry])
    cfg = toy.network_config(toy_datasets, {"DATASETS.TRAIN": ("no_objects",)})
    for build in (build_train_loader, lambda cfg: build_resumable_loader(cfg, ["no_objects"], 1)):
        with pytest.raises(ValueError, match="No image of no_objects has an object"):
            build(cfg)


def test_no_training_set_is_named(toy_datasets):
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN is empty: .*to calibrate BN on"):
        check_data(toy.supernet_config(toy_datasets, {"DATASETS.TRAIN": ()}), ["TRAIN"])
