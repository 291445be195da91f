import json
import logging
import os
import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from PIL import Image

from crnas_d2.data import build_fixed_batches, build_test_loader, register_coco_format
from crnas_d2.data.images.shared_images import NoRoomError
from crnas_d2.data.loaders import fixed_batches
from crnas_d2.engine import Trainer
from crnas_d2.engine.scores import SupernetScore


def ids(batches):
    return [[image["image_id"] for image in batch] for batch in batches]


def all_ids(batches):
    return [image["image_id"] for batch in batches for image in batch]


def test_all_images_come_in_order_in_batches(toy_datasets):
    cfg = toy.supernet_config(toy_datasets, {"SEARCH.IMS_PER_BATCH": 3})
    batches = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL)
    assert ids(batches) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert batches[0][0]["image"].shape == (3, toy.SIZE, toy.SIZE)


def test_a_sample_depends_on_the_seed_alone(toy_datasets):
    def sample(seed):
        cfg = toy.supernet_config(toy_datasets, {"SEED": seed})
        return all_ids(build_fixed_batches(cfg, cfg.DATASETS.TRAIN, num_images=6))

    torch.manual_seed(0)
    first = sample(1)
    torch.manual_seed(1)
    assert sample(1) == first != sample(2)
    assert len(first) == len(set(first)) == 6


def test_annotations_come_along_where_asked_and_the_images_stay_the_same(toy_datasets):
    # Flipping is on: these are images to measure with, not to train on.
    cfg = toy.supernet_config(toy_datasets, {"INPUT.RANDOM_FLIP": "horizontal"})
    plain = build_fixed_batches(cfg, cfg.DATASETS.TRAIN)
    annotated = build_fixed_batches(cfg, cfg.DATASETS.TRAIN, with_annotations=True)
    for batch, other in zip(plain, annotated, strict=True):
        for image, with_instances in zip(batch, other, strict=True):
            assert "instances" not in image
            assert len(with_instances["instances"].gt_boxes) > 0
            assert torch.equal(image["image"], with_instances["image"])


def test_more_images_than_there_are_means_all(toy_datasets):
    cfg = toy.supernet_config(toy_datasets)
    assert len(all_ids(build_fixed_batches(cfg, cfg.DATASETS.TRAIN, num_images=99))) == 12
    assert len(build_fixed_batches(cfg, cfg.DATASETS.TRAIN, num_images=0)) == 0


@pytest.fixture
def mixed(tmp_path, registered):
    """A function that registers images of sizes (height, width), each with an object."""

    def register(sizes):
        images, objects = [], []
        for number, (height, width) in enumerate(sizes, start=1):
            file_name = f"{number}.png"
            Image.effect_noise((width, height), 90).convert("RGB").save(tmp_path / file_name)
            sides = {"height": height, "width": width}
            images.append({"id": number, "file_name": file_name, **sides})
            objects.append(toy.annotation(number, number, 1, 5, 5, 30, 30))
        categories = [{"id": n, "name": name} for n, name in enumerate(toy.CLASSES, start=1)]
        toy.write_json(tmp_path / "mixed.json", images, objects, categories)
        register_coco_format([["mixed", str(tmp_path / "mixed.json"), str(tmp_path)]])
        return ("mixed",)

    return register


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(
    ("sizes", "by_shape"),
    [
        ([(40, 64), (64, 40)] * 3, [[1, 3, 5], [2, 4, 6]]),
        ([(64, 64), (40, 80), (80, 40), (40, 64), (50, 80), (40, 80)], [[2, 6, 4], [5, 1, 3]]),
    ],
)
def test_batches_hold_images_of_one_shape(grouped, sizes, by_shape, mixed):
    overrides = {"SEARCH.IMS_PER_BATCH": 3, "DATALOADER.ASPECT_RATIO_GROUPING": grouped}
    batches = build_fixed_batches(toy.supernet_config(overrides), mixed(sizes))
    assert ids(batches) == (by_shape if grouped else [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("sizes", "size", "differs"),
    [
        ([(64, 64)] * 4, 4, False),
        ([(64, 64), (32, 32), (64, 64)], 4, False),  # resized to the same
        ([(64, 64), (40, 80), (80, 40)], 4, True),
        ([(64, 64), (40, 80), (80, 40)], 1, False),
    ],
)
def test_a_search_says_where_its_padding_is_not_that_of_an_evaluation(mixed, sizes, size, differs):
    names = mixed(sizes)
    overrides = {"SEARCH.IMS_PER_BATCH": size, "DATASETS.ARCHVAL": names, "DATASETS.TEST": names}
    cfg = toy.network_config(overrides, {"INPUT.MAX_SIZE_TEST": 2 * toy.SIZE})
    said = [line for line in SupernetScore.describe(cfg) if line.startswith("padding: ")]
    assert bool(said) == differs
    if not differs:  # the inputs of the network are those of an evaluation
        model = Trainer.build_model(cfg).eval()
        alone = {i["image_id"]: i for [i] in build_test_loader(cfg, names[0])}
        for batch in build_fixed_batches(cfg, names):
            padded = model.preprocess_image(batch).tensor
            for image, tensor in zip(batch, padded, strict=True):
                [expected] = model.preprocess_image([alone[image["image_id"]]]).tensor
                assert torch.equal(tensor, expected)


def test_what_exceeds_the_cache_is_decoded_again_and_is_the_same(toy_datasets, caplog):
    small = {"SEARCH.IMAGE_CACHE": 1e-6, "SEARCH.IMS_PER_BATCH": 3}
    cfg = toy.supernet_config(toy_datasets, small)
    with caplog.at_level(logging.WARNING, logger="crnas_d2"):
        loader = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL)
    assert "SEARCH.IMAGE_CACHE" in caplog.text and len(loader) == 3
    cfg.SEARCH.IMAGE_CACHE = 1.0
    in_memory = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL)
    for _ in range(2):
        for ours, expected in zip(loader, in_memory, strict=True):
            for image, other in zip(ours, expected, strict=True):
                assert torch.equal(image["image"], other["image"])


@pytest.mark.parametrize("annotated", [False, True])
def test_images_of_workers_hold_no_file_descriptors(toy_datasets, annotated):
    def held():
        return len(os.listdir("/proc/self/fd"))

    batch = {"SEARCH.IMS_PER_BATCH": 1, "DATALOADER.NUM_WORKERS": 1}
    cfg = toy.supernet_config(toy_datasets, batch)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = held()
    # Twelve images of up to three tensors, and what a loader with one worker needs.
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 24, hard))
    try:
        batches = build_fixed_batches(cfg, cfg.DATASETS.TRAIN, with_annotations=annotated)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(batches) == 12 and held() - before <= 3
    for batch in batches:
        assert not batch[0]["image"].is_shared()


def test_calibration_skips_the_images_that_training_skips(tmp_path, registered):
    name, file, root = toy.make_dataset(tmp_path, "some_empty", 6, seed=3)
    content = json.loads(Path(file).read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] % 2]
    Path(file).write_text(json.dumps(content))
    register_coco_format([[name, file, root]])
    cfg = toy.supernet_config({"DATASETS.TRAIN": (name,)})
    assert all_ids(build_fixed_batches(cfg, (name,), with_annotations=True)) == [1, 3, 5]
    assert all_ids(build_fixed_batches(cfg, (name,))) == [1, 2, 3, 4, 5, 6]
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    assert len(all_ids(build_fixed_batches(cfg, (name,), with_annotations=True))) == 6


def test_every_process_of_a_training_gets_all_images(toy_datasets, monkeypatch):
    cfg = toy.supernet_config(toy_datasets)
    alone = ids(build_fixed_batches(cfg, cfg.DATASETS.TRAIN, num_images=6))
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        assert ids(build_fixed_batches(cfg, cfg.DATASETS.TRAIN, num_images=6)) == alone


def test_batches_are_sized_indexable_and_sliced(toy_datasets):
    for cache in (1.0, 0.0):
        overrides = {"SEARCH.IMAGE_CACHE": cache, "SEARCH.IMS_PER_BATCH": 3}
        cfg = toy.supernet_config(toy_datasets, overrides)
        batches = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL)
        assert len(batches) == 3 and ids([batches[-1]]) == [[7, 8]]
        first = batches[:2]
        assert len(first) == 2 and ids(first) == ids(first) == [[1, 2, 3], [4, 5, 6]]


def test_shared_images_are_what_the_mapper_gives(toy_datasets):
    cfg = toy.supernet_config(toy_datasets, {"MODEL.MASK_ON": False})
    kept, decoded = (
        [
            image
            for batch in build_fixed_batches(with_cache, cfg.DATASETS.TRAIN, with_annotations=True)
            for image in batch
        ]
        for with_cache in (cfg, toy.supernet_config(toy_datasets, {"SEARCH.IMAGE_CACHE": 0.0}))
    )
    for found, expected in zip(kept, decoded, strict=True):
        assert list(found) == list(expected)
        assert torch.equal(found["image"], expected["image"])
        ours, theirs = found["instances"].get_fields(), expected["instances"].get_fields()
        assert ours.keys() == theirs.keys()
        assert torch.equal(ours["gt_boxes"].tensor, theirs["gt_boxes"].tensor)
        assert torch.equal(ours["gt_classes"], theirs["gt_classes"])


def test_random_numbers_do_not_depend_on_who_has_decoded_the_images(toy_datasets):
    def drawn(cfg):
        seed_all_rng(0)
        batches = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL)
        for _ in batches:
            pass
        return random.random(), np.random.rand(), torch.rand(()).item(), batches

    cfg = toy.supernet_config(toy_datasets)
    *first, held = drawn(cfg)
    *second, _ = drawn(cfg)
    del held
    *third, _ = drawn(toy.supernet_config(toy_datasets, {"SEARCH.IMAGE_CACHE": 0.0}))
    seed_all_rng(0)
    assert [random.random(), np.random.rand(), torch.rand(()).item()] == first == second == third


def test_other_files_or_settings_make_another_file_of_images(tmp_path, registered, monkeypatch):
    entry = toy.make_dataset(tmp_path, "mine", 2, seed=3)
    register_coco_format([entry])
    names = []

    def shared_images(name, *others, **limits):
        names.append(name)
        raise NoRoomError("seen")

    monkeypatch.setattr(fixed_batches, "shared_images", shared_images)

    def name(*overrides, **options):
        build_fixed_batches(toy.supernet_config(*overrides), ("mine",), **options)
        return names[-1]

    first = name()
    assert first == name({"SEARCH.IMS_PER_BATCH": 3, "MODEL.WEIGHTS": "other.pth"})
    sizes = {"INPUT.MIN_SIZE_TEST": 32}
    others = [name(sizes), name({"INPUT.FORMAT": "RGB"}), name(with_annotations=True)]
    image = Path(entry[2]) / "001.png"
    os.utime(image, ns=(0, 0))
    others.append(name())
    image.write_bytes(image.read_bytes() + b"longer")
    os.utime(image, ns=(0, 0))
    others.append(name())
    assert len({first, *others}) == 6
