import hashlib
import json
import os
import subprocess
import sys
from itertools import combinations
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from crnas_d2.data.datasets.builtin import register_letters
from crnas_d2.data.embedded import letters, scenes
from crnas_d2.data.embedded.generated import MARKER
from crnas_d2.data.embedded.glyphs import FONTS, LETTERS, load_glyphs
from crnas_d2.data.embedded.letters import make_letters
from crnas_d2.data.embedded.scenes import LetterScenes, Pose, draw_letter

SMALL = {"archtrain": 24, "archval": 8, "test": 8}
# Of SMALL, whose images are also the first ones of the full set.
GOLDEN = "7d52a2c75caf5a8bcc2a7dbae3f35f5a9b8e82a06c22048592eadec897bbf008"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets") / "letters"
    make_letters(root, images=SMALL)
    return root


@pytest.fixture(scope="module")
def many_scenes():
    renderer = LetterScenes()
    return {split: [renderer.render(split, k) for k in range(150)] for split in SMALL}


def read(root, name):
    return json.loads((root / "annotations" / f"letters_{name}.json").read_text())


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


def test_the_dataset_is_the_same_on_every_machine(root):
    assert digest(root) == GOLDEN


def test_letters_are_whole_of_this_version_and_made_once(root, tmp_path, monkeypatch):
    target = tmp_path / "letters"
    with monkeypatch.context() as patch:
        patch.setattr(letters, "_coco_records", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make_letters(target, images=SMALL)
        assert os.listdir(tmp_path) == []
    with monkeypatch.context() as patch:
        patch.setattr(letters, "_VERSION", letters._VERSION - 1)
        make_letters(target, images=dict.fromkeys(SMALL, 1))
    make_letters(target, images=SMALL)
    assert digest(target) == digest(root)
    before = (target / MARKER).stat().st_mtime_ns
    make_letters(target, images=SMALL)
    assert (target / MARKER).stat().st_mtime_ns == before


def test_made_twice_the_bytes_are_the_same(root, tmp_path):
    make_letters(tmp_path / "letters", images=SMALL)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert len(files) == sum(SMALL.values()) + len(letters.DATASETS) + 1
    for file in files:
        assert (tmp_path / "letters" / file).read_bytes() == (root / file).read_bytes()


def test_an_image_does_not_depend_on_how_many_are_made(root, tmp_path):
    make_letters(tmp_path / "letters", images={"test": 3, "archval": 1, "archtrain": 2})
    for split, count in (("archtrain", 2), ("archval", 1), ("test", 3)):
        few, more = read(tmp_path / "letters", split), read(root, split)
        assert few["images"] == more["images"][:count]
        assert few["annotations"] == more["annotations"][: len(few["annotations"])]
        for image in few["images"]:
            assert (pixels(tmp_path / "letters", image) == pixels(root, image)).all()


def test_images_and_boxes_are_well_formed(root):
    for split, count in SMALL.items():
        content = read(root, split)
        assert len(content["images"]) == count
        assert [c["name"] for c in content["categories"]] == list(LETTERS)
        per_image = {image["id"]: 0 for image in content["images"]}
        for image in content["images"]:
            assert pixels(root, image).shape == (96, 96, 3)
        for annotation in content["annotations"]:
            per_image[annotation["image_id"]] += 1
            x, y, width, height = annotation["bbox"]
            assert 0 <= x < x + width <= 96 and 0 <= y < y + height <= 96
            assert 0 < annotation["area"] <= width * height
        assert set(per_image.values()) <= {1, 2, 3, 4}


def test_train_is_the_union_of_archtrain_and_archval(root):
    train, archtrain, archval = (read(root, name) for name in ("train", "archtrain", "archval"))
    for key in ("images", "annotations"):
        assert train[key] == archtrain[key] + archval[key]
        assert len({entry["id"] for entry in train[key]}) == len(train[key])
    assert sorted(os.listdir(root / "images")) == sorted(SMALL)  # no copies of image files


def test_boxes_are_tight_around_the_visible_pixels(monkeypatch):
    # On a black photograph all that is bright belongs to a letter.
    black = np.zeros((300, 300, 3), np.uint8)
    monkeypatch.setattr(scenes, "load_photo", lambda name: black)
    renderer = LetterScenes(max_letters=1)
    for index in range(40):
        scene = renderer.render("test", index)
        (letter,) = scene.objects
        brightest = scene.pixels.max(axis=(0, 1)).argmax()
        visible = scene.pixels[..., brightest] > 0.5 * scene.pixels[..., brightest].max()
        rows, columns = np.nonzero(visible)
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        x, y, width, height = letter.box
        assert np.abs(np.subtract(found, (x, y, x + width, y + height))).max() <= 1
        assert abs(int(visible.sum()) - letter.area) <= 0.1 * letter.area + 2


def test_a_shape_is_moved_as_its_pose_says():
    bar = np.ones((100, 20), bool)
    plain = draw_letter(bar, Pose(stroke=0, stretch=100, shear=0, degrees=0), 50)
    assert plain.shape == (50, 10) and (plain == 255).all()
    assert draw_letter(bar, Pose(0, 200, 0, 0), 50).shape == (50, 20)
    assert draw_letter(bar, Pose(10, 100, 0, 0), 60).shape == (60, 20)  # from 120 x 40
    # A shear by 30 % moves the top by 30 of 100 pixels to the right.
    sheared = draw_letter(bar, Pose(0, 100, 30, 0), 100)
    assert sheared.shape == (100, 50)
    assert sheared[0].argmax() in (29, 30, 31) and sheared[-1].argmax() in (0, 1)
    # Counterclockwise: the top goes to the left.
    rotated = draw_letter(bar, Pose(0, 100, 0, 30), 100)
    assert rotated[5].argmax() < rotated[-5].argmax()
    # As many pixels as the bar has: 100 x 20, scaled to the longer side.
    scale = 100 / (100 * np.cos(np.pi / 6) + 20 * np.sin(np.pi / 6))
    assert rotated.sum() / 255 == pytest.approx(2000 * scale**2, rel=0.01)


def test_sizes_are_honoured_and_small_medium_and_large_ones_occur(many_scenes):
    every = [letter for split in many_scenes.values() for s in split for letter in s.objects]
    longer = np.array([max(letter.box[2:]) for letter in every])
    assert longer.min() >= 8 and longer.max() <= 90
    for low, high in ((8, 21), (21, 43), (43, 91)):  # thirds of the logarithm
        assert 0.23 < ((low <= longer) & (longer < high)).mean() < 0.45


def test_variants(tmp_path):
    """Large images with letters of 8 to 20 pixels."""
    root = tmp_path / "letters"
    few = {"archtrain": 3, "archval": 1, "test": 3}
    make_letters(root, images=few, size=160, sizes=(8, 20), max_letters=9)
    for split in few:
        content = read(root, split)
        assert all(pixels(root, image).shape == (160, 160, 3) for image in content["images"])
        for annotation in content["annotations"]:
            assert 6 <= max(annotation["bbox"][2:]) <= 20
    # Another variant in the same folder replaces it.
    make_letters(root, images=few)
    assert pixels(root, read(root, "test")["images"][0]).shape == (96, 96, 3)


def test_classes_are_balanced(many_scenes):
    labels = [letter.label for split in many_scenes.values() for s in split for letter in s.objects]
    counts = np.bincount(labels, minlength=26)
    assert len(counts) == 26
    assert counts.min() > 0.55 * counts.mean() and counts.max() < 1.5 * counts.mean()


def test_letters_hide_little_of_each_other(many_scenes):
    """Ink covers ink by a tenth at most; boxes share more where one letter stands in a corner."""
    ious = []
    for scene in (scene for split in many_scenes.values() for scene in split):
        assert all(letter.area >= 5 for letter in scene.objects)
        for first, second in combinations(scene.objects, 2):
            ious.append(box_iou(first.box, second.box))
    assert max(ious) < 0.6 and np.mean(np.array(ious) > 0.3) < 0.02


def box_iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def test_the_test_set_shares_no_font_and_no_photograph(many_scenes):
    fonts = {
        split: {letter.source["font"] for scene in drawn for letter in scene.objects}
        for split, drawn in many_scenes.items()
    }
    photos = {split: {scene.photo for scene in drawn} for split, drawn in many_scenes.items()}
    for sources in (fonts, photos):
        assert sources["archtrain"] == sources["archval"]
        assert not sources["test"] & sources["archtrain"]
    assert fonts["archtrain"] == set(FONTS["train"]) and fonts["test"] == set(FONTS["test"])


def test_archtrain_and_archval_share_no_image(many_scenes):
    images = [
        scene.pixels.tobytes() for split in ("archtrain", "archval") for scene in many_scenes[split]
    ]
    assert len(set(images)) == len(images)


def test_no_two_fonts_have_the_same_shapes():
    glyphs = load_glyphs()
    assert sorted(glyphs) == sorted(FONTS["train"] + FONTS["test"])
    assert all(len(shapes) == 26 for shapes in glyphs.values())
    assert {len(shapes[LETTERS.index("H")]) for shapes in glyphs.values()} <= {191, 192, 193}
    for k, letter in enumerate(LETTERS):
        shapes = {(shapes[k].shape, shapes[k].tobytes()) for shapes in glyphs.values()}
        assert len(shapes) == len(glyphs) or letter == "I"  # of two fonts, a bar


def test_letters_differ_from_what_is_behind_them_in_luma():
    renderer = LetterScenes()
    rng = np.random.RandomState(0)
    mask = np.full((4, 4), 255)
    for grey in range(0, 256, 5):
        behind = np.full((4, 4, 3), grey)
        for _ in range(10):
            color = renderer.draw_color(rng, behind, mask)
            assert abs(scenes.luma(color) - grey) >= renderer.contrast


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 64}, r"sizes=\(10, 90\) with size=64"),
        ({"sizes": (4, 20)}, r"sizes=\(4, 20\)"),
        ({"max_letters": 10}, "max_letters=10"),
        ({"images": {"archtrain": 5, "test": 5}}, "archval"),
    ],
)
def test_bad_settings_are_named(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        make_letters(tmp_path / "letters", **settings)
    assert os.listdir(tmp_path) == []


def test_import_registers_under_the_datasets_folder_and_makes_nothing(tmp_path):
    code = (
        "import sys, crnas_d2.data\n"
        "from detectron2.data import MetadataCatalog\n"
        "print(MetadataCatalog.get('letters_archval').json_file)\n"
        "print(MetadataCatalog.get('letters_crops_val').image_root)\n"
        "print('skimage' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DETECTRON2_DATASETS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    json_file = tmp_path / "letters" / "annotations" / "letters_archval.json"
    crops = tmp_path / "letters_crops" / "val"
    assert result.stdout.splitlines() == [str(json_file), str(crops), "False"]
    assert os.listdir(tmp_path) == []


def test_detectron2_loads_the_splits(tmp_path, registered):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    few = {"archtrain": 3, "archval": 2, "test": 2}
    register_letters(str(tmp_path / "tiny"), prefix="tiny_", images=few, size=48, sizes=(8, 20))
    for split, count in {**few, "train": 5}.items():
        name = f"tiny_letters_{split}"
        images = DatasetCatalog.get(name)
        assert len(images) == count and images[0]["width"] == 48
        assert all(os.path.isfile(image["file_name"]) for image in images)
        metadata = MetadataCatalog.get(name)
        assert metadata.thing_classes == list(LETTERS) and metadata.evaluator_type == "coco"
        # A category of the JSON file is the class of the same name.
        first = read(tmp_path / "tiny", split)["annotations"][0]
        contiguous = metadata.thing_dataset_id_to_contiguous_id[first["category_id"]]
        assert images[0]["annotations"][0]["category_id"] == contiguous
