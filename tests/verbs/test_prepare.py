"""What prepare chooses for a dataset, and what it estimates and says of it."""

import numpy as np
import pytest
import torch

from crnas_d2.engine.estimate import Estimate, Work
from crnas_d2.modeling.families import EfficientNetLiteFamily, ResNetFamily
from crnas_d2.verbs.prepare import chains as chains_module
from crnas_d2.verbs.prepare.chains import Chain, ChainEstimate, Step, chains, estimate_chains
from crnas_d2.verbs.prepare.parts import likely_typos, usual_size
from crnas_d2.verbs.prepare.recipe import LITE, PUBLISHED, Recipe
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
    ("sizes", "shorter", "first"),
    [
        ((20, 60), 640, "p2"),
        ((10, 400), 800, "p2"),
        ((30, 40), 96, "p2"),
        ((86, 241), 224, "p4"),
        ((250, 300), 640, "p4"),
    ],
)
def test_anchors_cover_the_sizes_of_the_objects(sizes, shorter, first):
    data = statistics(shorter=shorter, sizes=sizes)
    anchors = fit_anchors(data, shorter)
    flat = [size for level in anchors.sizes for size in level]
    assert flat == sorted(flat) and len({len(level) for level in anchors.sizes}) == 1
    assert 2 <= len(anchors.levels) <= 5 and anchors.levels[0] == first
    assert flat[0] == pytest.approx(sizes[0], rel=0.25)
    assert flat[-1] == pytest.approx(sizes[1], rel=0.25)
    # No object of these sizes is further than a factor of about 1.6 from an anchor.
    for size in np.geomspace(*sizes, 20):
        assert min(abs(np.log(size / anchor)) for anchor in flat) < np.log(1.65)
    strides = [2 ** int(level.removeprefix("p")) for level in anchors.levels]
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
    assert narrow.network()["MODEL.RESNETS.RES2_OUT_CHANNELS"] == 8
    assert narrow.network()["MODEL.DEVICE"] == "cpu"
    assert "pip install 'crnas-d2[weights]'" in narrow.describe_start()
    published = recipe()
    assert published.start == PUBLISHED and "downloaded" in published.describe_start()
    assert published.network()["INPUT.FORMAT"] == "RGB"
    assert published.network()["MODEL.DEVICE"] == "cuda"
    own = recipe(device="cpu", weights="a.pth", convention=(("INPUT.FORMAT", "BGR"),))
    assert own.start == "a.pth" and own.network()["INPUT.FORMAT"] == "BGR"
    assert own.describe_start() == ""


@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_a_cpu_starts_from_imagenet_weights_that_are_installed(preset):
    narrow, lite = (recipe(device="cpu", preset=preset, has_lite=has) for has in (False, True))
    assert lite.start == LITE and LITE in lite.describe_start()
    network, other = lite.network(), narrow.network()
    assert network.items() >= EfficientNetLiteFamily.published_convention.items()
    assert not any(key.startswith("MODEL.RESNETS") for key in network)
    heads = [key for key in other if key.startswith(("MODEL.RPN", "MODEL.ROI", "MODEL.FPN"))]
    assert heads and all(network[key] == other[key] for key in heads)
    assert lite.images_seen < narrow.images_seen


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"device": "gpu"}, PUBLISHED),
        ({"weights": "a.pth"}, "a.pth"),
        ({"preset": "paper"}, PUBLISHED),
    ],
)
def test_where_another_network_is_chosen_lite_is_not(settings, start):
    assert recipe(**{"device": "cpu", "has_lite": True, **settings}).start == start


def test_full_images_get_more_proposals_on_a_cpu():
    few, many = (
        recipe(statistics(objects=n), device="cpu").network()["MODEL.RPN.PRE_NMS_TOPK_TEST"]
        for n in (3, 60)
    )
    assert few == 64 and many >= 240


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
    assert [usual_size("archval", n) for n in (2, 30, 292, 400, 1000)] == [1, 10, 97, 100, 200]
    assert [usual_size("test", n) for n in (2, 30, 1000)] == [1, 6, 200]


def test_four_times_the_images_tell_half_the_difference_apart():
    assert told_apart(400) == pytest.approx(told_apart(100) / 2)
    assert told_apart(archval_to_tell(1)) == pytest.approx(1, abs=0.01)


def test_the_published_weights_get_the_images_that_they_were_trained_on():
    assert recipe().network().items() >= ResNetFamily.published_convention.items()


def test_own_weights_on_a_cpu_are_trained_for_as_long_as_a_cpu_can():
    seen = [recipe(device="cpu", weights="a.pth", preset=p).images_seen for p in ("quick", "paper")]
    assert seen == [1_600, 80_000]


def estimate(*seconds):
    steps = tuple(Step(f"run{n}") for n in range(len(seconds)))
    estimates = tuple(Estimate(Work("work"), s, 3 * 2**30, 5 * 2**20) for s in seconds)
    return ChainEstimate(Chain("", steps, ("run0", "run1"), "run1"), estimates)


def test_the_table_adds_up():
    lines = estimate(1800.0, 7200.0).table().splitlines()
    assert lines[2].split() == ["run0", "work", "30", "min", "3.0", "GiB", "5", "MiB"]
    assert lines[-1].split() == ["all", "2.5", "hours", "3.0", "GiB", "10", "MiB"]
    assert estimate(1800.0, None).table().splitlines()[-1].split()[:2] == ["all", "unknown"]


@pytest.mark.parametrize(
    ("preset", "device", "hours", "words"),
    [
        ("paper", "cpu", 400, "WARNING: on this CPU that takes 16.7 days. Use --preset quick"),
        ("quick", "cpu", 30, "Use smaller images (INPUT), a machine with a GPU (--device gpu)"),
        ("quick", "cpu", 3, "WARNING: that takes 3.0 hours on this machine, more than 1.5 hours."),
        ("standard", "cpu", 10, ""),
        ("paper", "gpu", 400, ""),
        ("quick", "gpu", 0.8, ""),
    ],
)
def test_a_chain_that_takes_too_long_says_what_to_do(preset, device, hours, words):
    found = estimate(hours * 3600.0).warning(recipe(preset=preset, device=device))
    assert words in found and bool(found) == bool(words)


def test_a_batch_that_does_not_fit_the_gpu_is_a_sentence(tmp_path, monkeypatch):
    def measure(cfg, timed):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(chains_module, "measure_speed", measure)
    (tmp_path / "baseline.yaml").write_text("SOLVER:\n  IMS_PER_BATCH: 4\n")
    with pytest.raises(ValueError, match=r"^4 images per step do not fit .*\(step baseline\)"):
        next(estimate_chains(recipe(preset="quick"), tmp_path, 5, is_timed=True))


def counted(**objects):
    """Annotations with so many objects of each category."""
    ids = {name: number for number, name in enumerate(objects, start=1)}
    return {
        "categories": [{"id": id_, "name": name} for name, id_ in ids.items()],
        "annotations": [
            {"category_id": ids[name]} for name, count in objects.items() for _ in range(count)
        ],
    }


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([counted(RBC=300, RBCC=1, WBC=40)], ["RBCC (objects: 1; RBC: 300)"]),
        ([counted(Cell=90, cell=1), counted(Cell=90, cell=0)], ["cell (objects: 1; Cell: 180)"]),
        ([counted(cat=300, dog=2)], []),  # rare, but no typo
        ([counted(left_hand=60, right_hand=50)], []),  # alike, but both frequent
    ],
)
def test_a_rare_class_with_the_name_of_a_frequent_one_is_named(parts, found):
    assert likely_typos(parts) == found
