"""Training images that are decoded once."""

import pickle

import pytest
import torch
from detectron2.config import get_cfg

from crnas_d2 import add_crnas_config
from crnas_d2.data.loaders.mappers import KeepingMapper, build_train_mapper


class CountingMapper:
    def __init__(self):
        self.calls, self.rest = 0, {}

    def __call__(self, entry):
        self.calls += 1
        return {**entry, **self.rest, "image": torch.full((3, 4, 4), self.calls, dtype=torch.uint8)}


def entry(name, image_id=1):
    return {"file_name": name, "image_id": image_id}


def test_an_image_is_mapped_once():
    counting = CountingMapper()
    mapper = KeepingMapper(counting, limit=10_000)
    first, other = mapper(entry("a.png")), mapper(entry("b.png"))
    assert counting.calls == 2
    assert torch.equal(mapper(entry("a.png"))["image"], first["image"])
    assert torch.equal(mapper(entry("b.png"))["image"], other["image"])
    assert counting.calls == 2
    # The same file as an image of another dataset, whose annotations may be others.
    mapper(entry("a.png", image_id=2))
    assert counting.calls == 3


def test_what_a_model_changes_in_an_input_is_not_kept():
    mapper = KeepingMapper(CountingMapper(), limit=10_000)
    taken = mapper(entry("a.png"))
    taken["image"], taken["extra"] = None, 1
    again = mapper(entry("a.png"))
    assert again["image"] is not None and "extra" not in again


@pytest.mark.parametrize("masks", [0, 50])
def test_no_more_is_kept_than_the_limit_allows(masks):
    """All is counted: names, and masks that are larger than the image of 48 bytes."""
    counting = CountingMapper()
    counting.rest = {"masks": torch.zeros((masks, 4, 4))}
    of_one = len(pickle.dumps(counting(entry("a.png"))))
    assert masks * 64 + 48 < of_one < masks * 64 + 2000
    counting.calls = 0
    mapper = KeepingMapper(counting, limit=3 * of_one - 1)
    for _ in range(2):
        for name in ("a.png", "b.png", "c.png"):
            mapper(entry(name))
    assert counting.calls == 3 + 1


def config(**keys):
    cfg = get_cfg()
    add_crnas_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (96,), "none"
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.merge_from_list([part for key, value in keys.items() for part in (key, value)])
    return cfg


def test_the_memory_is_that_of_the_config():
    mapper = build_train_mapper(config(**{"DATALOADER.IMAGE_CACHE": 0.5}), ("letters_train",))
    assert isinstance(mapper, KeepingMapper) and mapper.limit == 2**29


@pytest.mark.parametrize(
    "keys",
    [
        {"INPUT.RANDOM_FLIP": "horizontal"},
        {"INPUT.CROP.ENABLED": True},
        {"INPUT.MIN_SIZE_TRAIN": (96, 128)},
        {"DATALOADER.NUM_WORKERS": 2},
    ],
)
def test_random_augmentation_and_workers_keep_nothing(keys):
    assert not isinstance(build_train_mapper(config(**keys), ("letters_train",)), KeepingMapper)
