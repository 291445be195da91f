"""Training images are decoded once, and the batches are the same, bit for bit."""

import json
import pickle
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from detectron2.data import DatasetCatalog, DatasetMapper
from PIL import Image

from crnas_d2.data import build_train_loader, register_coco_format
from crnas_d2.data.images import pixels
from crnas_d2.data.images.image_cache import ImageCache
from crnas_d2.data.loaders import mappers
from crnas_d2.data.loaders.mappers import KeepingMapper, NamingMapper, build_train_mapper

FLIP, GREY = {"INPUT.RANDOM_FLIP": "horizontal"}, {"INPUT.FORMAT": "L"}
SIZES = {"INPUT.MIN_SIZE_TRAIN": (40, 64, 80), "INPUT.MAX_SIZE_TRAIN": 90}
CROP = {"INPUT.CROP.ENABLED": True, "INPUT.CROP.SIZE": [0.6, 0.8]}
RANGE = {"INPUT.MIN_SIZE_TRAIN": (40, 80), "INPUT.MIN_SIZE_TRAIN_SAMPLING": "range"}
MASKS = {"MODEL.MASK_ON": True}
GREY |= {"MODEL.PIXEL_MEAN": [0.0], "MODEL.PIXEL_STD": [1.0]}
CASES = {
    "flip": FLIP,
    "no flip": {},
    "sizes": FLIP | SIZES,
    "vertical": {"INPUT.RANDOM_FLIP": "vertical", **SIZES},
    "range": FLIP | RANGE,
    "crop": FLIP | CROP,
    "crop and sizes": CROP | SIZES,
    "bitmasks": FLIP | SIZES | MASKS | {"INPUT.MASK_FORMAT": "bitmask"},
    "polygons": FLIP | SIZES | MASKS,
    "grey": GREY | FLIP,
    "YUV": FLIP | {"INPUT.FORMAT": "YUV-BT.601"},
}


@pytest.fixture
def images(tmp_path, registered):
    """Seven images of several shapes, with polygons, of which two share a file."""
    name, file, root = toy.make_dataset(tmp_path, "mine", 7, seed=5)
    content = json.loads(Path(file).read_text())
    for number, image in enumerate(content["images"][:5]):
        path = f"{root}/{image['file_name']}"
        size = (64 + 9 * number, 100 - 7 * number)
        Image.open(path).resize(size).save(path)
        image["width"], image["height"] = size
    content["images"][6]["file_name"] = content["images"][5]["file_name"]
    for annotation in content["annotations"]:
        annotation["segmentation"] = [toy.polygon(annotation["bbox"])]
    Path(file).write_text(json.dumps(content))
    register_coco_format([[name, file, root]])
    return {"DATASETS.TRAIN": ("mine",)}


@pytest.fixture
def decoded(monkeypatch):
    """The files that this process decodes, one after the other."""
    files = []

    def read(file, *args):
        files.append(file)
        return pixels.read_pixels(file, *args)

    monkeypatch.setattr(mappers, "read_pixels", read)
    return files


def plain(value):
    """Whatever an input has, as Python's own types."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.dtype, value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return plain(vars(value)) if hasattr(value, "__dict__") else value


def assert_same(found, expected):
    """Two batches, tensor by tensor."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys() and ours["file_name"] == theirs["file_name"]
        assert ours["image"].is_contiguous() and torch.equal(ours["image"], theirs["image"])
        assert plain(ours["instances"]) == plain(theirs["instances"])


def batches(cfg, number, state=None):
    np.random.seed(3)
    torch.manual_seed(3)
    loader = build_train_loader(cfg)
    if state is not None:
        loader.load_state_dict(state)
    taken = list(islice(loader, number))
    return taken, loader.state_dict(), float(np.random.rand())


@pytest.mark.parametrize("case", CASES)
def test_batches_are_those_without_a_cache(case, images, decoded):
    cfg = toy.network_config(images, CASES[case], {"DATALOADER.IMAGE_CACHE": 0.0})
    expected, _, draw = batches(cfg, 11)  # of two images: three epochs
    assert len(decoded) > 7 or case == "no flip"
    for limit in (1.0, 4e-5):  # of all, and of three whole images
        cfg.DATALOADER.IMAGE_CACHE = limit
        decoded.clear()
        found, _, again = batches(cfg, 11)
        for ours, theirs in zip(found, expected, strict=True):
            assert_same(ours, theirs)
        assert again == draw
        if limit == 1.0 and case in ("flip", "range", "crop"):
            assert len(decoded) == len(set(decoded)) == 6


@pytest.mark.parametrize("case", ["sizes", "range", "no flip"])
def test_batches_of_workers_and_resumed_ones_are_the_same(case, images):
    cfg = toy.network_config(images, CASES[case], {"DATALOADER.NUM_WORKERS": 2})
    found = {}
    for limit in (0.0, 1.0):
        cfg.DATALOADER.IMAGE_CACHE = limit
        begun, state, _ = batches(cfg, 5)
        found[limit] = [*begun, *batches(cfg, 4, state)[0]]
    for ours, theirs in zip(*found.values(), strict=True):
        assert_same(ours, theirs)


def test_workers_share_what_they_decode():
    cache = ImageCache([("a", 2, 3)], channels=1, limit=100)
    fill = partial(np.full, (2, 3, 1), 7, np.uint8)
    child = get_context("fork").Process(target=cache.get, args=(("a", 2, 3), fill))
    child.start()
    child.join()
    found = cache.get(("a", 2, 3), lambda: pytest.fail("decoded again"))
    assert (found == 7).all() and not found.flags.writeable
    assert len(pickle.loads(pickle.dumps(cache))) == 0  # in a worker that is not forked


@pytest.mark.parametrize(
    ("limit", "kept"), [(0, 0), (12, 0), (13, 1), (25, 1), (26, 2), (37, 2), (39, 3), (1000, 3)]
)
def test_the_limit_is_exact(limit, kept):
    keys = [(name, 2, 2) for name in "abac"]  # 12 bytes and a mark each
    cache = ImageCache(keys, limit=limit)
    assert len(cache) == kept and cache.is_complete == (kept == 3)
    assert cache.nbytes <= max(limit, 1)
    calls = []

    def decode(name):
        calls.append(name)
        return np.full((2, 2, 3), ord(name), np.uint8)

    for name in "abcabc":
        assert (cache.get((name, 2, 2), partial(decode, name)) == ord(name)).all()
    assert len(calls) == 3 + 3 - kept


def test_an_image_that_cannot_be_decoded_is_not_kept():
    cache = ImageCache([("a", 1, 1)], limit=100)
    with pytest.raises(ZeroDivisionError):
        cache.get(("a", 1, 1), lambda: 1 / 0)
    assert cache.get(("a", 1, 1), lambda: np.full((1, 1, 3), 9, np.uint8)).sum() == 27


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_inputs_are_those_of_detectron2(case, is_train, images, tmp_path):
    cfg = toy.network_config(images, CASES[case], {"INPUT.MIN_SIZE_TEST": 50})
    ours, theirs = (make(cfg, is_train=is_train) for make in (NamingMapper, DatasetMapper))
    for index, entry in enumerate(DatasetCatalog.get("mine")):
        if index % 2:
            entry["sem_seg_file_name"] = str(tmp_path / "segments.png")
            size = entry["width"], entry["height"]
            Image.effect_noise(size, 90).save(entry["sem_seg_file_name"])
        found = []
        for mapper in (ours, theirs):
            np.random.seed(index)
            before = json.dumps(entry, default=int)
            found.append(mapper(entry))
            assert json.dumps(entry, default=int) == before
        assert plain(found[0]) == plain(found[1])


def test_what_does_not_change_is_kept_as_it_is(images):
    cfg = toy.network_config(images)
    assert isinstance(build_train_mapper(cfg, ("mine",)), KeepingMapper)
