import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from crnas_d2.data import build_fixed_batches, build_test_loader, build_train_loader
from crnas_d2.engine.checks import check_config

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def folders(tmp_path):
    """Overrides that train and test on two registered folders."""
    entries = []
    for seed, (name, per_class) in enumerate({"cls_train": 6, "cls_val": 3}.items()):
        toy.make_image_folder(tmp_path / name, per_class, seed)
        entries.append([name, str(tmp_path / name)])
    return {
        "DATASETS.IMAGE_FOLDERS": entries,
        "DATASETS.TRAIN": ("cls_train",),
        "DATASETS.ARCHVAL": ("cls_val",),
        "DATASETS.TEST": ("cls_val",),
    }


KEYS = ["TRAIN", "TEST"]


def test_labels_follow_the_names_of_the_folders(folders):
    check_config(toy.classifier_config(folders), KEYS)
    images = DatasetCatalog.get("cls_train")
    assert MetadataCatalog.get("cls_train").thing_classes == ["blue", "green", "red"]
    assert Counter(image["label"] for image in images) == {0: 6, 1: 6, 2: 6}
    for image in images:
        assert Path(image["file_name"]).parent.name == ("blue", "green", "red")[image["label"]]


def test_training_batches_are_augmented_and_keep_their_labels(folders):
    cfg = toy.classifier_config(folders, {"SOLVER.IMS_PER_BATCH": 18})
    check_config(cfg, KEYS)
    loader = iter(build_train_loader(cfg))
    first, second = next(loader), next(loader)
    for batch in (first, second):  # an epoch each
        assert len({image["file_name"] for image in batch}) == 18
        for image in batch:
            assert image["image"].shape == (3, 32, 32) and image["image"].dtype == torch.uint8
            # INPUT.FORMAT is BGR: the channel of its colour is the brightest.
            assert image["image"].float().mean(dim=(1, 2)).argmax() == image["label"]
    twin = next(image for image in second if image["file_name"] == first[0]["file_name"])
    assert not torch.equal(twin["image"], first[0]["image"])


def test_test_images_are_the_centre_of_the_resized_image(folders, tmp_path):
    ramp = np.broadcast_to(np.arange(80, dtype=np.uint8)[:, None, None], (80, 120, 3))
    Image.fromarray(ramp).save(tmp_path / "cls_val" / "red" / "ramp.png")
    cfg = toy.classifier_config(folders, {"SOLVER.IMS_PER_BATCH": 4})
    check_config(cfg, KEYS)
    batches = list(build_test_loader(cfg, "cls_val"))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    images = [image for batch in batches for image in batch]
    assert [image["label"] for image in images] == [0] * 3 + [1] * 3 + [2] * 4
    ramp = images[-1]["image"]
    # 80 rows become 40, of which the middle 32 stay: 8.5 in the first, 70.5 in the last.
    assert ramp.shape == (3, 32, 32)
    assert ramp[:, 0].float().mean().item() == pytest.approx(8.5, abs=1)
    assert ramp[:, -1].float().mean().item() == pytest.approx(70.5, abs=1)
    fixed = [image for batch in build_fixed_batches(cfg, ("cls_val",)) for image in batch]
    for ours, other in zip(fixed, images, strict=True):
        assert torch.equal(ours["image"], other["image"]) and ours["label"] == other["label"]


@pytest.mark.parametrize(("flip", "expected"), [("horizontal", {0, 1}), ("none", {0})])
def test_images_are_mirrored_where_the_config_says_so(folders, tmp_path, flip, expected):
    for file in (tmp_path / "cls_train").rglob("*.png"):
        pixels = np.zeros((40, 40, 3), np.uint8)
        pixels[:, 20:] = 200  # bright on the right
        Image.fromarray(pixels).save(file)
    cfg = toy.classifier_config(
        folders,
        {
            "INPUT.RANDOM_FLIP": flip,
            "INPUT.CLASSIFICATION.CROP_AREA": [1.0, 1.0],
            "SOLVER.IMS_PER_BATCH": 18,
        },
    )
    check_config(cfg, KEYS)
    images = [image["image"].float() for image in next(iter(build_train_loader(cfg)))]
    assert {int(image[..., 0].mean() > image[..., -1].mean()) for image in images} == expected


def nothing(root):
    pass


FPN = {
    "MODEL.BACKBONE.NAME": "build_supernet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
}
# What is done to the folders, overrides, and words of the message.
REFUSED = {
    "no folder": (
        *(lambda root: shutil.rmtree(root / "cls_val"), {}),
        r"IMAGE_FOLDERS names 'cls_val', but .*cls_val does not exist",
    ),
    "class missing": (
        *(lambda root: shutil.rmtree(root / "cls_val" / "red"), {}),
        "'cls_train' and 'cls_val' have different classes, e.g. red in only one",
    ),
    "other class": (
        *(lambda root: (root / "cls_val" / "red").rename(root / "cls_val" / "rouge"), {}),
        "'cls_train' and 'cls_val' have different classes, e.g. red, rouge",
    ),
    "empty class": (
        *(lambda root: [f.unlink() for f in (root / "cls_train" / "green").iterdir()], {}),
        "'cls_train' is in .*cls_train, which is not laid out as one folder.*green",
    ),
    "no classes": (
        *(lambda root: [shutil.rmtree(f) for f in (root / "cls_train").iterdir()], {}),
        "'cls_train' is in .*one folder of images per class",
    ),
    "class count": (
        *(nothing, {"MODEL.CLASSIFIER.NUM_CLASSES": 1000}),
        r"MODEL\.CLASSIFIER\.NUM_CLASSES is 1000, but 'cls_train' has 3 classes. Set it to 3",
    ),
    "no ImageNet": (
        *(nothing, {"DATASETS.TRAIN": ("imagenet_train",)}, "imagenet.train does not exist"),
    ),
    "flip": (nothing, {"INPUT.RANDOM_FLIP": "vertical"}, "RANDOM_FLIP is 'vertical'; expected"),
    "sizes": (
        *(nothing, {"INPUT.CLASSIFICATION.RESIZE_TEST": 30}),
        r"RESIZE_TEST is 30; expected at least CROP_SIZE \(32\)",
    ),
    "neck": (nothing, FPN, "has 5: p2.*to a body without neck"),
}


@pytest.mark.parametrize(("damage", "overrides", "words"), REFUSED.values(), ids=REFUSED)
def test_what_would_fail_later_is_refused(folders, tmp_path, damage, overrides, words):
    damage(tmp_path)
    with pytest.raises(ValueError, match=words):
        check_config(toy.classifier_config(folders, overrides), KEYS)


def test_a_detector_does_not_take_images_with_one_label(folders):
    cfg = toy.network_config(folders)
    with pytest.raises(ValueError, match=r"GeneralizedRCNN, but 'cls_train' is a dataset for clas"):
        check_config(cfg, ["TRAIN"])


def test_a_classifier_does_not_take_boxes(toy_datasets):
    overrides = {"MODEL.CLASSIFIER.NUM_CLASSES": len(toy.CLASSES)}
    with pytest.raises(ValueError, match=r"ImageClassifier, but 'toy_archtrain' is .*detection"):
        check_config(toy.classifier_config(toy_datasets, overrides), ["TRAIN"])
