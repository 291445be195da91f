"""The recipe for a dataset: sizes and anchors from images and boxes, schedules from its size."""

import numpy as np
import pytest

from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.verbs.prepare.chains import chains
from crnas_d2.verbs.prepare.own_dataset import usual_size
from crnas_d2.verbs.prepare.recipe import PUBLISHED, Recipe
from crnas_d2.verbs.prepare.statistics import Statistics, archval_to_tell, fit_anchors, told_apart


def statistics(images=1000, shorter=640, longer=640, sizes=(20, 60), ratio=1.0, objects=4):
    """Objects whose sizes are spread evenly in the logarithm, in pixels; ratio: height / width."""
    side = np.geomspace(*sizes, 101) / shorter
    boxes = np.stack([side / ratio**0.5, side * ratio**0.5], axis=1)
    return Statistics(images, shorter, longer, boxes, objects)


def recipe(data=None, archtrain=800, preset="standard", device="gpu", **settings):
    return Recipe(data or statistics(), archtrain, preset, device, **settings)


def coco(sizes, boxes):
    return {
        "images": [{"id": n, "width": w, "height": h} for n, (w, h) in enumerate(sizes)],
        "annotations": [{"image_id": n, "bbox": [0, 0, *box], **more} for n, box, more in boxes],
    }


def test_statistics_of_a_dataset():
    archtrain = coco(
        [(640, 480), (480, 640), (600, 400)],
        [(0, (48, 24), {}), (0, (96, 96), {}), (1, (96, 96), {"iscrowd": 1}), (2, (40, 40), {})],
    )
    found = Statistics.of([archtrain, coco([(640, 480)], [])])
    assert (found.images, found.shorter, found.longer, found.objects) == (4, 480, 640, 2)
    assert found.boxes.tolist() == [[0.1, 0.05], [0.2, 0.2], [0.1, 0.1]]
    assert Statistics.of([coco([(64, 48)], [])]).objects == 1, "a dataset without objects"


@pytest.mark.parametrize(
    ("shorter", "longer", "expected"),
    [
        (640, 640, (640, 640)),  # not enlarged to 800
        (1200, 1200, (800, 800)),
        (1000, 3000, (444, 1333)),
    ],
)
def test_images_are_reduced_but_never_enlarged(shorter, longer, expected):
    assert recipe(statistics(shorter=shorter, longer=longer)).size == expected


def test_the_paper_has_the_size_of_the_paper():
    assert recipe(preset="paper").size == (800, 1333)


def test_on_a_cpu_images_are_as_small_as_small_objects_and_the_time_allow():
    large = statistics(shorter=2000, longer=2000, sizes=(400, 800))
    small = statistics(shorter=2000, longer=2000, sizes=(40, 800))
    sizes = [recipe(data, preset="quick", device="cpu").size[0] for data in (large, small)]
    assert sizes[0] < sizes[1] < 800
    assert small.box_size(0.05) * sizes[1] == pytest.approx(12, rel=0.02)
    assert recipe(large, preset="quick", device="cpu").images_seen == pytest.approx(
        20_000, rel=0.01
    )


@pytest.mark.parametrize(
    ("sizes", "shorter"), [((20, 60), 640), ((10, 400), 800), ((30, 40), 96), ((250, 300), 640)]
)
def test_anchors_cover_the_sizes_of_the_objects(sizes, shorter):
    data = statistics(shorter=shorter, sizes=sizes)
    anchors = fit_anchors(data, shorter)
    flat = [size for level in anchors.sizes for size in level]
    assert flat == sorted(flat) and len({len(level) for level in anchors.sizes}) == 1
    assert 2 <= len(anchors.levels) <= 5 and anchors.levels[0] == "p2"
    assert flat[0] == pytest.approx(sizes[0], rel=0.25)
    assert flat[-1] == pytest.approx(sizes[1], rel=0.25)
    # No object of these sizes is further than a factor of about 1.6 from an anchor.
    for size in np.geomspace(*sizes, 20):
        assert min(abs(np.log(size / anchor)) for anchor in flat) < np.log(1.65)
    strides = [4 * 2**n for n in range(len(anchors.sizes))]
    assert strides[-1] <= 8 or 4 * strides[-1] <= sizes[1], "cells finer than the objects"


def test_aspect_ratios_are_those_of_the_boxes():
    assert fit_anchors(statistics(ratio=1.1), 640).ratios == [1.0]
    assert fit_anchors(statistics(ratio=3.0), 640).ratios == [3.0]
    both = np.concatenate([statistics(ratio=ratio).boxes for ratio in (0.4, 1.0, 2.5)])
    data = Statistics(10, 640, 640, both, 3)
    assert fit_anchors(data, 640).ratios == [0.4, 1.0, 2.5]
    # Smaller images have smaller anchors.
    small, large = (fit_anchors(data, side).sizes[0][0] for side in (320, 640))
    assert small == pytest.approx(large / 2, abs=1)


def test_epochs_and_checkpoints_follow_from_the_number_of_images():
    few, many = recipe(), recipe(statistics(images=120_000), archtrain=115_000)
    assert few.images_seen == 60_000 and many.images_seen == 13 * 115_000
    for found, images in ((few, 800), (many, 115_000)):
        solver = found.schedule(images, found.images_seen, found.rate)
        assert solver["MAX_ITER"] * found.batch == pytest.approx(found.images_seen, rel=1e-3)
        per_epoch = -(-images // found.batch)
        assert solver["CHECKPOINT_PERIOD"] % per_epoch == 0, "whole epochs"
        assert 7 <= solver["MAX_ITER"] / solver["CHECKPOINT_PERIOD"] <= 15
        assert 0 < solver["WARMUP_ITERS"] <= solver["MAX_ITER"] / 10


def test_everything_is_stated_for_one_process_and_the_rate_per_image_is_the_papers():
    for memory, batch in ((0, 8), (1, 1), (3, 2), (6, 4), (11, 8), (80, 16)):
        found = recipe(gpu_memory=memory)
        assert found.batch == batch and found.rate == pytest.approx(0.02 * batch / 16)
        solver = found.schedule(800, 60_000, found.rate)
        assert solver["REFERENCE_WORLD_SIZE"] == 1 and solver["IMS_PER_BATCH"] == batch
    assert recipe(preset="paper").batch == 4, "larger images"
    paper = recipe(preset="paper").schedule(800, 80_000, 0.01)
    assert paper["STEPS"] == [round(20_000 * step / 13) for step in (8, 11)]


def test_the_network_fits_the_device():
    narrow = recipe(device="cpu", preset="quick")
    assert narrow.is_narrow and narrow.start == ""
    assert narrow.network()["MODEL"]["RESNETS"]["RES2_OUT_CHANNELS"] == 8
    assert narrow.network()["MODEL"]["DEVICE"] == "cpu"
    published = recipe()
    assert published.start == PUBLISHED
    assert published.network()["INPUT"]["FORMAT"] == "RGB"
    assert published.network()["MODEL"]["DEVICE"] == "cuda"
    own = recipe(device="cpu", weights="a.pth", convention=(("INPUT.FORMAT", "BGR"),))
    assert own.start == "a.pth" and own.network()["INPUT"]["FORMAT"] == "BGR"


def test_full_images_get_more_proposals_on_a_cpu():
    few, many = (
        recipe(statistics(objects=n), device="cpu").network()["MODEL"]["RPN"] for n in (3, 60)
    )
    assert few["PRE_NMS_TOPK_TEST"] == 64 and many["PRE_NMS_TOPK_TEST"] >= 240


@pytest.mark.parametrize(
    ("settings", "searches"),
    [
        ({"preset": "quick"}, ["search"]),
        ({"preset": "standard"}, ["search", "channels"]),
        ({"preset": "standard", "device": "cpu"}, ["search"]),
        ({"preset": "standard", "archtrain": 50_000}, ["search", "channels", "supernet_search"]),
        ({"preset": "paper"}, ["search", "channels", "supernet_search"]),
    ],
)
def test_only_what_fits_the_data_and_the_device_is_offered(settings, searches):
    assert [chain.search for chain in chains(recipe(**settings))] == searches


def test_a_supernet_for_few_images_shares_its_weights():
    assert recipe(preset="paper").supernet_sharing == "prefix"
    assert recipe(preset="paper", archtrain=50_000).supernet_sharing == "none"


def test_the_usual_archval_is_larger_for_few_images():
    assert [usual_size(n) for n in (2, 30, 292, 400, 1000)] == [1, 10, 97, 100, 200]


def test_four_times_the_images_tell_half_the_difference_apart():
    assert told_apart(400) == pytest.approx(told_apart(100) / 2)
    assert told_apart(archval_to_tell(1)) == pytest.approx(1, abs=0.01)


def test_the_published_weights_get_the_images_that_they_were_trained_on():
    network = recipe().network()
    model = network["MODEL"]
    assert ResNetFamily.published_convention == {
        "INPUT.FORMAT": network["INPUT"]["FORMAT"],
        "MODEL.PIXEL_MEAN": model["PIXEL_MEAN"],
        "MODEL.PIXEL_STD": model["PIXEL_STD"],
        "MODEL.RESNETS.STRIDE_IN_1X1": model["RESNETS"]["STRIDE_IN_1X1"],
    }


def test_own_weights_on_a_cpu_are_trained_for_as_long_as_a_cpu_can():
    seen = [recipe(device="cpu", weights="a.pth", preset=p).images_seen for p in ("quick", "paper")]
    assert seen == [1_600, 80_000]
