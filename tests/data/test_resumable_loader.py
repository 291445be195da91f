"""A loader whose batches are functions of seed and position."""

import random
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
import toy
from detectron2.utils import comm

from crnas_d2.data import ResumableLoader, build_resumable_loader
from crnas_d2.data.resumable_loader import _NumberedSampler

IMAGES = [{"id": index} for index in range(10)]


def augment(image):
    """Draws of each global generator that an augmentation may use."""
    return image["id"], random.random(), float(np.random.rand()), float(torch.rand(()))


def loader(seed=0, num_workers=0, ims_per_batch=3):
    return ResumableLoader(
        IMAGES, augment, ims_per_batch=ims_per_batch, seed=seed, num_workers=num_workers
    )


def take(source, number):
    return list(islice(source, number))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_goes_on_where_it_was_stopped_whatever_the_number_of_workers(num_workers):
    expected = take(loader(), 12)
    first, second = loader(num_workers=num_workers), loader(num_workers=num_workers)
    begun = take(first, 5)
    assert first.state_dict()["position"] == 5
    second.load_state_dict(first.state_dict())
    assert begun + take(second, 7) == expected
    assert second.state_dict()["position"] == 12


def test_every_image_comes_once_before_any_comes_again():
    drawn = [image for batch in take(loader(), 20) for image in batch]  # six times all of them
    counts = [Counter(item[0] for item in drawn[i : i + 10]) for i in range(0, 60, 10)]
    assert all(count == Counter(range(10)) for count in counts)
    orders = [tuple(item[0] for item in drawn[i : i + 10]) for i in range(0, 60, 10)]
    assert len(set(orders)) > 1
    assert len({item[1:] for item in drawn}) == 60  # each time another augmentation


def test_a_rank_has_its_share_in_workers_that_know_of_no_ranks(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    sampler = _NumberedSampler(size=10, seed=0, start=4)
    monkeypatch.undo()  # as in a worker that was spawned
    assert [number for number, _ in islice(sampler, 3)] == [5, 7, 9]


def test_a_batch_that_the_ranks_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match=r"IMS_PER_BATCH is 3; expected a multiple of the 2 proc"):
        loader()


def test_the_seed_decides():
    assert take(loader(seed=1), 4) == take(loader(seed=1), 4) != take(loader(seed=2), 4)


def test_the_global_generators_are_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    np.random.seed(0)
    numbers = np.random.get_state()[1].copy()
    next(iter(loader()))
    assert torch.equal(torch.rand(3), expected)
    assert (np.random.get_state()[1] == numbers).all()


def test_with_another_batch_size_no_image_of_the_epoch_comes_twice():
    first, second = loader(ims_per_batch=2), loader(ims_per_batch=5)
    begun = [item[0] for batch in take(first, 2) for item in batch]  # 4 of 10
    second.load_state_dict(first.state_dict())
    rest = [item[0] for batch in take(second, 1) for item in batch]
    assert second.position == 2 and not set(begun) & set(rest)


def test_detection_data_is_augmented_as_in_training(toy_datasets):
    cfg = toy.network_config(toy_datasets, {"INPUT.RANDOM_FLIP": "horizontal"})
    [batch] = take(build_resumable_loader(cfg, cfg.DATASETS.ARCHVAL, seed=0), 1)
    assert len(batch) == cfg.SOLVER.IMS_PER_BATCH
    assert all("toy_archval" in image["file_name"] and "instances" in image for image in batch)
