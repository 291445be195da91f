from random import Random

import numpy as np
import pytest
import toy
from detectron2.data.detection_utils import build_augmentation
from detectron2.data.transforms import AugInput, AugmentationList

from crnas_d2.data.images.random_images import largest_batch, largest_size

COCO = {"INPUT.MIN_SIZE_TRAIN": (640, 800), "INPUT.MAX_SIZE_TRAIN": 1333}


@pytest.mark.parametrize(
    ("shapes", "is_mixed", "expected"),
    [
        ([], False, (800, 1333)),
        ([], True, (1333, 1333)),
        ([(480, 640), (None, None)], False, (800, 1333)),
        ([(64, 64)], True, (800, 800)),
        ([(480, 640)], True, (800, 1067)),
        ([(480, 640), (640, 480)], False, (800, 1067)),
        ([(480, 640), (640, 480)], True, (1067, 1067)),
        ([(480, 640), (300, 100)], False, (800, 1067)),
        # Padded together, although neither is so large.
        ([(480, 640), (100, 1000)], False, (800, 1333)),
    ],
)
def test_the_largest_size_is_that_of_the_padded_batch(shapes, is_mixed, expected):
    assert largest_size(toy.network_config(COCO), shapes, is_mixed=is_mixed) == expected


def test_crops_may_have_any_shape():
    cfg = toy.network_config(COCO, {"INPUT.CROP.ENABLED": True})
    assert largest_size(cfg, [(64, 64)]) == (800, 1333)


def test_a_longest_side_below_the_shortest_limits_both():
    cfg = toy.network_config({"INPUT.MIN_SIZE_TRAIN": (800,), "INPUT.MAX_SIZE_TRAIN": 500})
    assert largest_size(cfg) == (500, 500)


@pytest.mark.parametrize("sampling", ["choice", "range"])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_no_batch_of_the_augmentation_is_larger(is_mixed, sampling):
    cfg = toy.network_config(
        {
            "INPUT.MIN_SIZE_TRAIN": (20, 30),
            "INPUT.MIN_SIZE_TRAIN_SAMPLING": sampling,
            "INPUT.MAX_SIZE_TRAIN": 47,
        }
    )
    random = Random(0)
    augmentation = AugmentationList(build_augmentation(cfg, is_train=True))
    for _ in range(20):
        images = [(random.randint(10, 90), random.randint(10, 90)) for _ in range(4)]
        height, width = largest_size(cfg, images, is_mixed=is_mixed)
        for wide in (True, False):
            group = [s for s in images if is_mixed or (s[1] > s[0]) == wide]
            sizes = []
            for shape in group:
                resized = AugInput(np.zeros((*shape, 3), np.uint8))
                augmentation(resized)
                sizes.append(resized.image.shape[:2])
            if sizes:
                padded = [max(sides) for sides in zip(*sizes, strict=True)]
                assert padded[0] * padded[1] <= height * width


def test_there_are_as_many_objects_as_in_the_fullest_image():
    cfg = toy.network_config({"MODEL.MASK_ON": True})
    few, many = ([{"annotations": [{}] * number}] for number in (1, 37))
    (entry,) = largest_batch(cfg, few, number=1)
    # BATCH_SIZE_PER_IMAGE 16, a quarter of which the mask head takes.
    assert len(entry["instances"]) == len(entry["instances"].gt_masks) == 4
    batch = largest_batch(cfg, many, number=3)
    assert [len(entry["instances"]) for entry in batch] == [37] * 3
    assert batch[0]["image"].shape == (3, toy.SIZE, toy.SIZE)
    boxes = batch[0]["instances"].gt_boxes
    assert boxes.nonempty(1).all() and boxes.inside_box((toy.SIZE, toy.SIZE)).all()
