import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from crnas_d2.data.builtin import register_digits
from crnas_d2.data.embedded import coco_folder, digits, digits_render
from crnas_d2.data.embedded import scenes as scenes_module
from crnas_d2.data.embedded.digits import make_digits
from crnas_d2.data.embedded.generated import MARKER

SMALL = {"archtrain": 24, "archval": 8, "test": 8}
# Of SMALL, whose images are also the first ones of the full set.
GOLDEN = "d0bd22145c00fa4c852f34b5585405f0b2933daebd6930f058050ffd739e47e3"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets") / "digits"
    make_digits(root, images=SMALL)
    return root


def read(root, name):
    return json.loads((root / "annotations" / f"digits_{name}.json").read_text())


def pixels(root, image):
    return np.asarray(Image.open(root / "images" / image["file_name"]))


def digest(root):
    """Of the JSON files' bytes and of the images' pixels (PNG bytes depend on the zlib version)."""
    sha = hashlib.sha256()
    for path in sorted((root / "annotations").iterdir()):
        sha.update(path.name.encode() + path.read_bytes())
    for path in sorted((root / "images").rglob("*.png")):
        sha.update(path.name.encode() + np.asarray(Image.open(path)).tobytes())
    return sha.hexdigest()


@pytest.fixture(scope="module")
def many_scenes():
    scenes = digits_render.DigitScenes()
    return [scenes.render(split, k) for split in digits_render.PHOTOS for k in range(80)]


def test_the_dataset_is_the_same_on_every_machine(root):
    assert digest(root) == GOLDEN


def test_an_image_does_not_depend_on_how_many_are_made(root, tmp_path):
    make_digits(tmp_path / "digits", images={"archtrain": 2, "archval": 1, "test": 3})
    for split, count in (("archtrain", 2), ("archval", 1), ("test", 3)):
        few, more = read(tmp_path / "digits", split), read(root, split)
        assert few["images"] == more["images"][:count]
        assert few["annotations"] == more["annotations"][: len(few["annotations"])]
        for image in few["images"]:
            assert (pixels(tmp_path / "digits", image) == pixels(root, image)).all()


def test_images_and_boxes_are_well_formed(root):
    for split, count in SMALL.items():
        content = read(root, split)
        assert len(content["images"]) == count
        assert [c["name"] for c in content["categories"]] == list("0123456789")
        per_image = {image["id"]: 0 for image in content["images"]}
        for image in content["images"]:
            assert pixels(root, image).shape == (192, 192, 3)
        for annotation in content["annotations"]:
            per_image[annotation["image_id"]] += 1
            x, y, width, height = annotation["bbox"]
            assert 0 <= x < x + width <= 192 and 0 <= y < y + height <= 192
            assert 0 < annotation["area"] <= width * height
            assert annotation["iscrowd"] == 0
        assert set(per_image.values()) <= {1, 2, 3, 4, 5}


def test_boxes_are_tight_around_filled_digits(monkeypatch):
    # On a black photograph all that is bright belongs to a digit.
    black = np.zeros((300, 300, 3), np.uint8)
    monkeypatch.setattr(scenes_module, "load_photo", lambda name: black)
    scenes = digits_render.DigitScenes()
    scenes.max_objects = 1
    for index in range(20):
        scene = scenes.render("test", index)
        (digit,) = scene.objects
        bright = scene.pixels.max(axis=2) > 0.55 * scene.pixels.max()
        rows, columns = np.nonzero(bright)
        x, y, width, height = digit.box
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.subtract(found, (x, y, x + width, y + height))).max() <= 1
        assert 0.2 < digit.area / (width * height) < 0.95


def test_digits_are_legible(many_scenes):
    """No digit hides another, and heights cover small, medium and large about log-uniformly."""
    for scene in many_scenes:
        for i, first in enumerate(scene.objects):
            for second in scene.objects[:i]:
                assert box_iou(first.box, second.box) < 0.45
    heights = np.array([digit.box[3] for scene in many_scenes for digit in scene.objects])
    assert heights.min() >= 9 and heights.max() <= 185
    assert 0.28 < (heights < 32).mean() < 0.44
    assert 0.14 < (heights > 96).mean() < 0.30


def box_iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def test_splits_share_no_handwriting_and_no_photograph(root):
    contents = [read(root, split) for split in SMALL]
    samples = [{a["sample"] for a in content["annotations"]} for content in contents]
    photos = [{i["photo"] for i in content["images"]} for content in contents]
    for sources in (samples, photos):
        assert all(sources)
        assert len(set.union(*sources)) == sum(len(part) for part in sources)
    # The same for samples that this small set happens not to use.
    scenes = digits_render.DigitScenes()
    pools = [sample for pool in scenes.pools.values() for ids in pool for sample in ids]
    assert sorted(pools) == list(range(1797))


def test_train_is_the_union_of_archtrain_and_archval(root):
    train, archtrain, archval = (read(root, name) for name in ("train", "archtrain", "archval"))
    for key in ("images", "annotations"):
        assert train[key] == archtrain[key] + archval[key]
        assert len({entry["id"] for entry in train[key]}) == len(train[key])
    assert sorted(os.listdir(root / "images")) == sorted(SMALL)  # no copies of image files


def test_a_complete_folder_is_used_as_it_is(root):
    before = (root / MARKER).stat().st_mtime_ns
    make_digits(root, images=SMALL)
    assert (root / MARKER).stat().st_mtime_ns == before


def test_an_interrupted_creation_is_redone(root, tmp_path, monkeypatch):
    target = tmp_path / "digits"
    with monkeypatch.context() as patch:
        patch.setattr(coco_folder, "_coco_records", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_digits(target, images=SMALL)
    assert os.listdir(tmp_path) == []
    make_digits(target, images=SMALL)
    assert digest(target) == digest(root)


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_an_older_version_is_replaced(root, tmp_path, monkeypatch):
    target = tmp_path / "digits"
    with monkeypatch.context() as patch:
        patch.setattr(digits, "VERSION", digits.VERSION - 1)
        make_digits(target, images={"archtrain": 1, "archval": 1, "test": 1})
    make_digits(target, images=SMALL)
    assert digest(target) == digest(root)
    assert os.listdir(tmp_path) == ["digits"]


@pytest.mark.parametrize("package", ["sklearn.datasets", "skimage.data"])
def test_a_missing_package_is_named_with_the_fix(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'crnas-d2\[demo\]'"):
        make_digits(tmp_path / "digits", images=SMALL)


def test_a_missing_photograph_is_not_downloaded(monkeypatch):
    monkeypatch.setitem(digits_render.PHOTOS, "test", ("skin",))  # known to scikit-image, not in it
    with pytest.raises(FileNotFoundError, match=r"skin\.png"):
        digits_render.DigitScenes()


def test_bad_settings_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"heights=\(12, 185\) with size=96"):
        make_digits(tmp_path / "digits", size=96)
    with pytest.raises(ValueError, match="archval"):
        make_digits(tmp_path / "digits", images={"archtrain": 5, "test": 5})


def test_detectron2_loads_the_splits(root):
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.evaluation import COCOEvaluator

    register_digits(str(root), images=SMALL, prefix="small_")
    try:
        for split, count in {**SMALL, "train": 32}.items():
            name = f"small_digits_{split}"
            dicts = DatasetCatalog.get(name)
            assert len(dicts) == count
            assert all(os.path.isfile(d["file_name"]) for d in dicts)
            assert {a["category_id"] for d in dicts for a in d["annotations"]} <= set(range(10))
            meta = MetadataCatalog.get(name)
            assert meta.thing_classes == list("0123456789")
            assert meta.evaluator_type == "coco"
            # A category of the JSON file is the class of the same name.
            first = read(root, split)["annotations"][0]
            contiguous = meta.thing_dataset_id_to_contiguous_id[first["category_id"]]
            assert dicts[0]["annotations"][0]["category_id"] == contiguous
            COCOEvaluator(name, output_dir=None)
    finally:
        for split in (*SMALL, "train"):
            DatasetCatalog.remove(f"small_digits_{split}")
            MetadataCatalog.remove(f"small_digits_{split}")


def test_import_registers_under_the_datasets_folder_and_makes_nothing(tmp_path):
    code = (
        "import sys, crnas_d2.data\n"
        "from detectron2.data import MetadataCatalog\n"
        "print(MetadataCatalog.get('digits_archval').json_file)\n"
        "print([m for m in ('sklearn', 'skimage') if m in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DETECTRON2_DATASETS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    json_file = tmp_path / "digits" / "annotations" / "digits_archval.json"
    assert result.stdout.splitlines() == [str(json_file), "[]"]
    assert os.listdir(tmp_path) == []


def test_without_the_variable_the_cache_folder_is_used(monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert digits.digits_root() == "/elsewhere/crnas_d2/digits"
