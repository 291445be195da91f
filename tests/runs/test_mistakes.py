import numpy as np
from detectron2.structures import BoxMode

from crnas_d2.runs.mistakes import Mistakes

LEFT, RIGHT, FAR = [0, 0, 20, 20], [40, 0, 20, 20], [0, 60, 20, 20]
CAT, DOG = 10, 20  # ids of the dataset


def image(*objects, id_=1):
    keys = "bbox", "category_id", "iscrowd"
    annotations = [dict(zip(keys, each, strict=False)) for each in objects]
    mode = BoxMode.XYWH_ABS
    return {"image_id": id_, "annotations": [{**each, "bbox_mode": mode} for each in annotations]}


def found(box, category, score=0.9, id_=1):
    return {"bbox": box, "category_id": category, "score": score, "image_id": id_}


def mistakes(images, *detections):
    return Mistakes.of(images, detections, {CAT: 0, DOG: 1})


def test_objects_are_found_confused_or_missed():
    images = [image((LEFT, 0), (RIGHT, 1), (FAR, 1)), image((LEFT, 1), id_=2)]
    ours = mistakes(
        images,
        found(LEFT, CAT),
        found(RIGHT, CAT),  # a dog
        found([80, 80, 9, 9], DOG),  # nothing
        found(FAR, DOG, score=0.4),  # too unsure
        found(LEFT, DOG, id_=2),
    )
    assert np.array_equal(ours.counts, [[1, 0, 0], [1, 1, 1], [0, 1, 0]])
    assert list(ours.totals.values()) == [2, 1, 1, 1]
    assert ours.by_image == {1: 3, 2: 0}


def test_an_object_is_found_once_and_first_by_its_class():
    ours = mistakes([image((LEFT, 0))], found(LEFT, DOG, 0.95), found(LEFT, CAT), found(LEFT, CAT))
    assert np.array_equal(ours.counts, [[1, 0, 0], [0, 0, 0], [1, 1, 0]])


def test_a_crowd_is_neither_missed_nor_taken_for_nothing():
    assert mistakes([image((LEFT, 0, 1))], found([2, 2, 10, 10], CAT)).by_image == {1: 0}
    assert mistakes([image((LEFT, 0, 1))]).by_image == {1: 0}
    beside = mistakes([image((LEFT, 0, 1), (RIGHT, 1))], found(RIGHT, DOG), found(FAR, CAT))
    assert list(beside.totals.values()) == [1, 0, 0, 1]
