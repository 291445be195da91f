import hashlib

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from crnas_d2.data.classification import register_image_folder
from crnas_d2.data.embedded import digits_render, make_handwriting
from crnas_d2.data.embedded.generated import MARKER
from crnas_d2.data.embedded.handwriting import SEED, SOURCES

SMALL = {"train": 60, "val": 50}
GOLDEN = "21aebb22d9585d72e021d32125c19bb3ae0fc4ef13db6c346abc47d848894aa0"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets") / "handwriting"
    make_handwriting(root, images=SMALL)
    return root


def test_the_dataset_is_the_same_on_every_machine(root):
    sha = hashlib.sha256()
    for path in sorted(root.rglob("*.png")):
        sha.update(str(path.relative_to(root)).encode() + np.asarray(Image.open(path)).tobytes())
    assert sha.hexdigest() == GOLDEN


def test_an_image_does_not_depend_on_how_many_are_made(root, tmp_path):
    make_handwriting(tmp_path / "handwriting", images={"train": 5, "val": 3})
    few = sorted((tmp_path / "handwriting").rglob("*.png"))
    assert len(few) == 8
    for file in few:
        twin = root / file.relative_to(tmp_path / "handwriting")
        assert (np.asarray(Image.open(file)) == np.asarray(Image.open(twin))).all()


def test_detectron2_loads_it_as_a_classification_dataset(root, registered):
    for split, count in SMALL.items():
        register_image_folder(f"small_{split}", str(root / split))
        images = DatasetCatalog.get(f"small_{split}")
        assert len(images) == count
        assert MetadataCatalog.get(f"small_{split}").thing_classes == list("0123456789")
        assert Image.open(images[0]["file_name"]).size == (64, 64)


def test_the_splits_share_no_handwriting_and_no_photograph_and_spare_the_test_set():
    scenes = digits_render.DigitScenes(size=64, heights=(52, 62), max_digits=1, seed=SEED)
    samples, photos = {}, {}
    for split, source in SOURCES.items():
        drawn = [scenes.render(source, index) for index in range(60)]
        assert all(len(scene.objects) == 1 for scene in drawn)
        samples[split] = {scene.objects[0].source["sample"] for scene in drawn}
        photos[split] = {scene.photo for scene in drawn}
    assert not samples["train"] & samples["val"] and not photos["train"] & photos["val"]
    tested = {sample for ids in scenes.pools["test"] for sample in ids}
    assert not tested & (samples["train"] | samples["val"])


def test_a_complete_folder_is_used_as_it_is_and_others_are_left_alone(root, tmp_path):
    before = (root / MARKER).stat().st_mtime_ns
    make_handwriting(root, images=SMALL)
    assert (root / MARKER).stat().st_mtime_ns == before
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"The handwriting dataset belongs in .*thesis\.txt"):
        make_handwriting(tmp_path, images=SMALL)


def test_bad_settings_are_named(tmp_path):
    with pytest.raises(ValueError, match="val"):
        make_handwriting(tmp_path / "handwriting", images={"train": 5, "test": 5})
