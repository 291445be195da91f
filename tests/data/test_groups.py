"""Images that belong together: copies by name and by look, frames, and the user's groups."""

import random

import numpy as np
import pytest
import real_data
from PIL import Image, ImageEnhance

from crnas_d2.data.annotations.groups import ALIKE, COPIES, FRAMES, PATTERN, find_groups
from crnas_d2.data.annotations.splits import split_coco
from crnas_d2.data.images.alike import find_alike, look_of
from crnas_d2.data.images.files import ImageFile, read_image_files


def group(*names, pattern=None):
    """Return the groups of images without a look, as sets of names, and the counts."""
    found = find_groups({name: ImageFile() for name in names}, pattern)
    sets = {}
    for name, its in found.of.items():
        sets.setdefault(its, set()).add(name)
    return sorted(map(sorted, sets.values())), found.counts


HASH = "0123456789abcdef" * 2
NAMES = {
    "copies of Roboflow": ([f"t/a_jpg.rf.{HASH}.jpg", "v/a_jpg.rf.Zq1x_-9.jpg"], COPIES),
    "the original beside its copies": (["t/a.jpg", "t/a_aug_1.jpg", "t/a-flipped.png"], COPIES),
    "copies by scripts": (
        ["t/a.jpg", "t/a_hflip.jpg", "v/a_rot90_blur2.jpg", "v/noise_a.jpg", "t/aug_3_a.jpg"],
        COPIES,
    ),
    "copies by file managers": (
        ["t/a.jpg", "t/a - Copy.jpg", "t/a - Copy (2).jpg", "t/a copy 3.jpg", "t/Copy of a.jpg"],
        COPIES,
    ),
    "copies of copies": (["b_aug_1.jpg", f"b_aug_2_jpg.rf.{HASH}.jpg", "b.png"], COPIES),
    "frames": (["cam_frame_001.png", "cam_frame_002.png", "cam-frame3.png"], FRAMES),
    "frames of a video in Roboflow": (
        [f"b_mp4-{n}_jpg.rf.{HASH[n:]}.jpg" for n in (1, 2, 14)],
        FRAMES,
    ),
    "frames by other tools": (["c.mp4_01.png", "c.mp4-2_jpg.rf.ab.jpg"], FRAMES),
    "frames by number": (["v3_f00001.png", "v3_f00020.png"], FRAMES),
    "frames without another name": (["v/frame_000001.png", "v/frame_000002.png"], FRAMES),
}


@pytest.mark.parametrize(("names", "reason"), NAMES.values(), ids=NAMES)
def test_names_say_what_belongs_together(names, reason):
    others = ["x/raccoon-1.jpg", "x/raccoon-2.jpg", "y/a.jpg", "cam.png", "000001.jpg"]
    others += [
        "photo (1).jpg",
        "photo (2).jpg",
        "rotterdam_1.jpg",
        "black_rot_12.jpg",
        "black_rot_13.jpg",
    ]
    groups, counts = group(*names, *others)
    assert groups == sorted([sorted(names), *([name] for name in others)])
    assert counts == {reason: len(names)}


def test_a_pattern_takes_the_place_of_frames_and_keeps_copies():
    names = ["p1_frame_1.png", "p1_frame_2.png", "p2_frame_1.png", f"p2_x_jpg.rf.{HASH}.png"]
    groups, counts = group(*names, pattern=r"(p\d)_")
    assert groups == [names[:2], names[2:]] and counts == {PATTERN: 4}
    assert group(*names[:3], pattern=".*")[0] == [[name] for name in names[:3]]
    paths = {f"/p1_/{name}": name for name in names}  # not in the folder of the images
    assert find_groups({path: ImageFile() for path in paths}, r"(p\d)_", paths).counts == {
        PATTERN: 4
    }


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(", "no regular expression"), ("zzz", "in no name of an image, e.g. a")],
)
def test_a_pattern_that_says_nothing_is_refused(pattern, words):
    with pytest.raises(ValueError, match=rf"--group is '.{{1,3}}', .*{words}"):
        group("a", pattern=pattern)


@pytest.fixture(scope="module")
def photograph():
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    return coarse.resize((320, 240), Image.Resampling.BICUBIC)


CHANGES = {
    "smaller": lambda image: image.resize((160, 120)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "grey": lambda image: image.convert("L"),
    "noise": lambda image: Image.fromarray(
        np.clip(
            np.asarray(image) + np.random.default_rng(1).normal(0, 8, (240, 320, 3)), 0, 255
        ).astype(np.uint8)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_copies_look_alike_and_others_do_not(photograph, change):
    other = photograph.transpose(Image.Transpose.ROTATE_180)
    looks = {
        "first": look_of(photograph),
        "other": look_of(other),
        "copy": look_of(change(photograph)),
    }
    assert list(find_alike(looks)) == [("first", "copy")]


def test_flat_images_look_like_nothing():
    flat = [Image.new("RGB", (64, 48), colour) for colour in ("red", "red", "black")]
    objects = []
    for x in range(0, 60, 8):  # one object that moves on a plain ground
        image = Image.new("RGB", (64, 48), "white")
        image.paste("red", (x, 10, x + 6, 40))
        objects.append(image)
    looks = {str(n): look_of(image) for n, image in enumerate([*flat, *objects])}
    assert list(find_alike(looks)) == []


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_in_one_part_and_the_size_is_as_near_as_they_allow(seed):
    generator = random.Random(seed)
    names = [f"{n}.jpg" for n in range(200)]
    groups = {name: f"g{generator.randrange(60)}" for name in names}
    coco = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": generator.randrange(3)} for n in range(200)
        ],
        "categories": [{"id": n, "name": str(n)} for n in range(3)],
    }
    settings = {"seed": seed, "stratify": True, "sources": {}}
    rest, held_out = split_coco(coco, 0.2, groups=groups, **settings)
    in_rest, in_held_out = (
        {groups[image["file_name"]] for image in part["images"]} for part in (rest, held_out)
    )
    assert not in_rest & in_held_out
    assert 36 <= len(held_out["images"]) <= 40
    alone = {name: name for name in names}
    assert (
        split_coco(coco, 0.2, groups=alone, **settings)[1]["images"]
        == (split_coco(coco, 0.2, **settings)[1]["images"])
    )


def test_one_group_of_nearly_all_images_cannot_be_divided():
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(10)]
    coco = {"images": images, "annotations": [], "categories": []}
    groups = {image["file_name"]: "a" for image in images}
    with pytest.raises(ValueError, match=r"2 of 10 images cannot .* largest one with 10 images"):
        split_coco(coco, 0.2, seed=0, stratify=True, sources={}, groups=groups)


def test_the_raccoons_have_photographs_twice_and_blood_cells_one():
    counts = {}
    for name, images in (("raccoon", "images"), ("bccd", "JPEGImages")):
        folder = real_data.folder(name) / images
        files = read_image_files([file.name for file in sorted(folder.glob("*.jpg"))], folder)
        counts[name] = find_groups(files).counts
    assert counts == {"raccoon": {ALIKE: 13}, "bccd": {ALIKE: 2}}
