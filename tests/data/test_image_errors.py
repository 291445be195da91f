"""An image that breaks in the middle of a training is named, in this process or a worker."""

from pathlib import Path

import pytest
import toy
from PIL import Image

from crnas_d2.common.errors import one_line_errors
from crnas_d2.data import build_fixed_batches, build_test_loader, register_coco_format
from crnas_d2.data.images.pixels import ImageError
from crnas_d2.data.loaders.mappers import ClassificationMapper, build_train_mapper

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def cfg(tmp_path):
    name, file, root = toy.make_dataset(tmp_path, "mine", 2, seed=5)
    register_coco_format([[name, file, root]])
    broken = Path(root) / "001.png"
    broken.write_bytes(broken.read_bytes()[:900])
    return toy.supernet_config({"DATASETS.TRAIN": ("mine",), "DATASETS.TEST": ("mine",)})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named(cfg, workers):
    cfg.DATALOADER.NUM_WORKERS = workers
    words = r"^The image .*mine/001\.png cannot be used: OSError: .*truncated.*Restore the file"
    with pytest.raises(ImageError, match=words) as refused:
        build_fixed_batches(cfg, ("mine",), with_annotations=True)
    assert "\n" not in str(refused.value)
    with pytest.raises(SystemExit, match=r"a\.py: The image .*001\.png"), one_line_errors("a.py"):
        list(build_test_loader(cfg, "mine"))


def test_a_broken_image_is_named_in_training(cfg, tmp_path):
    entry = {"file_name": str(tmp_path / "mine" / "001.png"), "height": 64, "width": 64}
    with pytest.raises(ImageError, match=r"001\.png cannot be used"):
        build_train_mapper(cfg, ("mine",))({**entry, "annotations": []})


def test_a_broken_image_of_a_classifier_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    mapper = ClassificationMapper(image_format="RGB", transform=lambda image: image)
    with pytest.raises(ImageError, match=r"a\.jpg cannot be used: UnidentifiedImageError"):
        mapper({"file_name": str(tmp_path / "a.jpg")})
    Image.new("RGB", (4, 3)).save(tmp_path / "b.png")
    assert mapper({"file_name": str(tmp_path / "b.png")})["image"].shape == (3, 3, 4)
