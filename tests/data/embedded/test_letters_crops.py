import hashlib

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from crnas_d2.data.datasets.registration import register_image_folder
from crnas_d2.data.embedded import make_letters_crops
from crnas_d2.data.embedded.glyphs import FONTS, LETTERS
from crnas_d2.data.embedded.letters import CROPS_SEED, SOURCES
from crnas_d2.data.embedded.scenes import PHOTOS, LetterScenes

SMALL = {"train": 200, "val": 200}  # so many that each class occurs
GOLDEN = "e5cc9d1c8e3fdfd3b40c18903115f16dae59992b8fbf46efd5384b288e2f4928"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets") / "letters_crops"
    make_letters_crops(root, images=SMALL)
    return root


def test_the_dataset_is_the_same_on_every_machine(root):
    sha = hashlib.sha256()
    for path in sorted(root.rglob("*.png")):
        sha.update(str(path.relative_to(root)).encode() + np.asarray(Image.open(path)).tobytes())
    assert sha.hexdigest() == GOLDEN


def test_detectron2_loads_it_as_a_classification_dataset(root, registered):
    for split, count in SMALL.items():
        register_image_folder(f"small_crops_{split}", str(root / split))
        images = DatasetCatalog.get(f"small_crops_{split}")
        assert len(images) == count
        assert MetadataCatalog.get(f"small_crops_{split}").thing_classes == list(LETTERS)
        assert Image.open(images[0]["file_name"]).size == (64, 64)


def test_the_crops_spare_fonts_and_photographs_of_the_test_set():
    renderer = LetterScenes(size=64, sizes=(30, 62), max_letters=1, seed=CROPS_SEED)
    scenes = [renderer.render(source, k) for source in SOURCES.values() for k in range(60)]
    assert all(len(scene.objects) == 1 for scene in scenes)
    assert {scene.objects[0].source["font"] for scene in scenes} <= set(FONTS["train"])
    assert not {scene.photo for scene in scenes} & set(PHOTOS["test"])
    assert len({scene.pixels.tobytes() for scene in scenes}) == len(scenes)


def test_bad_settings_are_named(tmp_path):
    with pytest.raises(ValueError, match="val"):
        make_letters_crops(tmp_path / "letters_crops", images={"train": 5, "test": 5})
