"""A loader whose batches are functions of seed and position."""

import random
from collections import Counter
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from detectron2.utils import comm

from crnas_d2.data import ResumableLoader, build_resumable_loader, build_train_loader

IMAGES = [{"id": index} for index in range(10)]


def augment(image):
    """Draws of each global generator that an augmentation may use."""
    return image["id"], random.random(), float(np.random.rand()), float(torch.rand(()))


def loader(seed=0, num_workers=0, ims_per_batch=3):
    return ResumableLoader(
        IMAGES, augment, ims_per_batch=ims_per_batch, seed=seed, num_workers=num_workers
    )


def ids(ims_per_batch):
    return ResumableLoader(IMAGES, dict, ims_per_batch=ims_per_batch, seed=0)


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


def test_the_ranks_share_each_batch(monkeypatch):
    whole = [[image["id"] for image in batch] for batch in take(ids(4), 5)]
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        shares.append([[image["id"] for image in batch] for batch in take(ids(4), 5)])
    for batch, first, second in zip(whole, *shares, strict=True):
        assert first == batch[::2] and second == batch[1::2]


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


def same(batches, others):
    """Whether two lists of batches have the same images, bit for bit."""
    pairs = [
        (first, second)
        for batch, other in zip(batches, others, strict=True)
        for first, second in zip(batch, other, strict=True)
    ]
    return all(
        first["file_name"] == second["file_name"] and torch.equal(first["image"], second["image"])
        for first, second in pairs
    )


@pytest.fixture
def uneven(toy_datasets, registered):
    """A config of upright and lying images, of which some are rare."""
    images = [
        {**image, "width": 80 if index % 3 else 48}
        for index, image in enumerate(DatasetCatalog.get("toy_archtrain"))
    ]
    DatasetCatalog.register("toy_uneven", lambda: images)
    MetadataCatalog.get("toy_uneven").thing_classes = list(toy.CLASSES)
    return toy.network_config(toy_datasets, {"DATASETS.TRAIN": ("toy_uneven",)})


class Sizes:
    """A mapper that does not read the file, whose size is another one."""

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, entry):
        return {**entry, "image": torch.rand(1), "draw": np.random.rand()}


SAMPLERS = (
    "TrainingSampler",
    "RepeatFactorTrainingSampler",
    "RandomSubsetTrainingSampler",
)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("grouped", [True, False])
def test_the_batches_are_those_of_detectron2(sampler, grouped, uneven, monkeypatch):
    monkeypatch.setattr("crnas_d2.data.loaders.mappers.NamingMapper", Sizes)
    uneven.DATALOADER.SAMPLER_TRAIN = sampler
    uneven.DATALOADER.REPEAT_THRESHOLD = 0.9
    uneven.DATALOADER.RANDOM_SUBSET_RATIO = 0.7
    uneven.DATALOADER.ASPECT_RATIO_GROUPING = grouped
    uneven.SOLVER.IMS_PER_BATCH = 3
    names = []
    for build in (build_train_loader, partial(build_detection_train_loader, mapper=Sizes())):
        np.random.seed(5)
        batches = take(build(uneven), 9)
        names.append([[image["file_name"] for image in batch] for batch in batches])
    assert names[0] == names[1]


# Workers are slow to start, and know nothing of the sampler.
@pytest.mark.parametrize(
    ("sampler", "num_workers"), [*((sampler, 0) for sampler in SAMPLERS), (SAMPLERS[0], 2)]
)
def test_a_training_goes_on_with_the_next_batch(sampler, num_workers, uneven, monkeypatch):
    monkeypatch.setattr("crnas_d2.data.loaders.mappers.NamingMapper", Sizes)
    uneven.DATALOADER.SAMPLER_TRAIN = sampler
    uneven.DATALOADER.NUM_WORKERS = num_workers
    uneven.DATALOADER.REPEAT_THRESHOLD = 0.9
    uneven.DATALOADER.RANDOM_SUBSET_RATIO = 0.7
    # SEED is not set: the two loaders draw different seeds.
    whole = build_train_loader(uneven)
    batches = iter(whole)
    begun, state = [next(batches) for _ in range(4)], whole.state_dict()
    generators = torch.get_rng_state(), np.random.get_state()
    rest = [next(batches) for _ in range(12)]
    resumed = build_train_loader(uneven)
    assert not same(take(resumed, 4), begun) or not same(take(resumed, 12), rest)
    resumed = build_train_loader(uneven)
    resumed.load_state_dict(state)
    torch.set_rng_state(generators[0])
    np.random.set_state(generators[1])
    assert same(take(resumed, 12), rest)


def test_what_is_kept_in_memory_draws_no_numbers(toy_datasets):
    cfg = toy.network_config(toy_datasets)
    assert cfg.INPUT.RANDOM_FLIP == "none" and cfg.DATALOADER.IMAGE_CACHE > 0
    batches = iter(build_train_loader(cfg))
    np.random.seed(0)
    numbers = np.random.get_state()[1].copy()
    next(batches)
    assert (np.random.get_state()[1] == numbers).all()
