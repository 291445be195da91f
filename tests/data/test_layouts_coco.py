import json
from copy import deepcopy

import pytest
import real_data
from layout_toy import SIZE, boxes_of, counts, read, refuses, write

from crnas_d2.data.layouts import find_layout
from crnas_d2.data.layouts.coco import coco_part

CATEGORIES = [{"id": 5, "name": "cat", "supercategory": "pets"}, {"id": 2, "name": "dog"}]


def coco(*names, first=1):
    """One box (10, 5, 20, 30 + its number) in each image."""
    numbers = range(first, first + len(names))
    return {
        "images": [
            {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for number, name in zip(numbers, names, strict=True)
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 5, "bbox": [10, 5, 20, 30], "area": 1.5}
            for n in numbers
        ],
        "categories": deepcopy(CATEGORIES),
    }


BOXES = [("cat", 10, 5, 20, 30)]
SPLITS = (("train", "train"), ("val", "valid"), ("test", "test"))
FOLDERS = {
    "one json": (
        {"a.json": coco("a.jpg", "b.png"), "images/a.jpg": None, "images/b.png": None},
        {"train": {"images/a.jpg": BOXES, "images/b.png": BOXES}},
    ),
    "Roboflow": (
        {
            **{f"{part}/_annotations.coco.json": coco("a.jpg") for _, part in SPLITS},
            **{f"{part}/a.jpg": None for _, part in SPLITS},
        },
        {name: {f"{part}/a.jpg": BOXES} for name, part in SPLITS},
    ),
    "COCO's own": (
        {
            "annotations/instances_train2017.json": coco("1.jpg"),
            "annotations/instances_val2017.json": coco("1.jpg", "2.jpg"),
            "annotations/person_keypoints_val2017.json": coco("1.jpg"),
            "annotations/captions_val2017.json": {
                "images": [],
                "annotations": [{"image_id": 1, "id": 1, "caption": "a cat"}],
            },
            **{f"{name}.jpg": None for name in ("train2017/1", "val2017/1", "val2017/2")},
        },
        {
            "train": {"train2017/1.jpg": BOXES},
            "val": {"val2017/1.jpg": BOXES, "val2017/2.jpg": BOXES},
        },
    ),
    "CVAT": (
        {
            "annotations/instances_default.json": coco("sub/a.jpg"),
            "images/sub/a.jpg": None,
        },
        {"train": {"images/sub/a.jpg": BOXES}},
    ),
    "Label Studio": (
        {"result.json": coco("images/a.jpg"), "images/a.jpg": None},
        {"train": {"images/a.jpg": BOXES}},
    ),
    "several jsons of one part": (
        {
            "one/a.json": coco("a.jpg"),
            "two/b.json": coco("b.jpg", "c.jpg"),
            **{name: None for name in ("one/a.jpg", "two/b.jpg", "two/c.jpg")},
        },
        {"train": {"one/a.jpg": BOXES, "two/b.jpg": BOXES, "two/c.jpg": BOXES}},
    ),
    "an upright photograph stored on its side": (
        {"a.json": coco("a.jpg"), "a.jpg": 8},
        {"train": {"a.jpg": BOXES}},
    ),
    "a byte order mark": (
        {"a.json": b"\xef\xbb\xbf" + json.dumps(coco("a.jpg")).encode(), "a.jpg": None},
        {"train": {"a.jpg": BOXES}},
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read(tmp_path, name):
    files, expected = FOLDERS[name]
    assert read(write(tmp_path, files)) == expected
    assert counts(tmp_path) == {}


def test_everything_is_kept(tmp_path):
    content = {**coco("a.jpg"), "info": {"year": 2026}, "licenses": [{"id": 1}], "more": [1]}
    content["images"][0]["license"] = 1
    content["annotations"][0] |= {"iscrowd": 1, "segmentation": {"size": [60, 80], "counts": "x"}}
    part = find_layout(write(tmp_path, {"a.json": content, "a.jpg": None})).read()["train"]
    assert part.coco == content
    assert (part.image_root, list(part.sources)) == (tmp_path, ["a.json"])


def each(records, **values):
    def change(content):
        for record in content[records]:
            record.update({key: new(record) for key, new in values.items()})

    return change


def name(change):
    return each("images", file_name=lambda image: change(image["file_name"]))


@pytest.mark.parametrize(
    ("change", "kind", "count"),
    [
        (each("images", id=lambda i: str(i["id"])), "ids written as text or decimals", 2),
        (each("annotations", image_id=lambda a: float(a["image_id"])), "ids written as text", 2),
        (each("categories", id=lambda c: f"{c['id']}"), "ids written as text", 2),
        (name(lambda n: f"https://example.org/x/{n}?size=1"), "file names found by their base", 2),
        (name(lambda n: f"C:\\data\\{n}"), "file names found by their base name", 2),
        (name(lambda n: f"images\\{n}"), "file names found by their base name", 2),
        (name(lambda n: f"/home/me/{n}"), "file names found by their base name", 2),
        (name(lambda n: n.upper()), "file names found by their base name", 2),
        (name(lambda n: f"%{ord(n[0]):x}.jpg "), "file names found by their base name", 2),
        (name(lambda n: f"./images/../images/{n}"), "", 0),
        (lambda c: c["images"].pop(), "images without an annotation file", 1),
    ],
)
def test_what_is_clear_is_read_and_counted(tmp_path, change, kind, count):
    content = coco("a.jpg", "b.jpg")
    change(content)
    write(tmp_path, {"a.json": content, "images/a.jpg": None, "images/b.jpg": None})
    found = counts(tmp_path)
    assert [*found.values()] == [count] * bool(kind)
    assert all(key.startswith(kind) for key in found)
    if kind != "images without an annotation file":
        assert read(tmp_path) == {"train": {"images/a.jpg": BOXES, "images/b.jpg": BOXES}}


def test_a_base_name_of_two_files_is_not_guessed(tmp_path):
    files = {"a.json": coco("https://example.org/a.jpg"), "one/a.jpg": None, "two/A.JPG": None}
    findings = find_layout(write(tmp_path, files)).read()["train"].findings
    [[place]] = findings.values()
    assert findings.keys() == {"image files that are missing"}
    assert "2 files have this name: one/a.jpg, two/A.JPG" in place


SQUARE = [10, 20, 30, 20, 30, 40, 10, 40]


@pytest.mark.parametrize(
    ("segmentation", "box", "area"),
    [
        ([SQUARE], (10, 20, 20, 20), 400),
        ([SQUARE, [0, 0, 4, 0, 0, 4]], (0, 0, 30, 40), 408),
        ({"size": [60, 80], "counts": [60 * 10 + 20, 20, 60 * 69 + 20]}, (10, 20, 1, 20), 20),
        ({"size": [60, 80], "counts": r"\c0d0X10ln3"}, (10, 20, 2, 20), 40),
    ],
)
def test_boxes_are_read_from_masks(tmp_path, segmentation, box, area):
    content = coco("a.jpg")
    [annotation] = content["annotations"]
    del annotation["bbox"], annotation["area"]
    annotation["segmentation"] = segmentation
    part = find_layout(write(tmp_path, {"a.json": content, "a.jpg": None})).read()["train"]
    assert part.findings.keys() == {"boxes read from masks"}
    assert boxes_of(part) == {"a.jpg": [("cat", *box)]}
    assert part.coco["annotations"][0]["area"] == area


TOO_LONG = {"size": [60, 80], "counts": "SCd0HmP1"}  # pycocotools: 7e7 pixels wide


@pytest.mark.parametrize(("rotation", "count"), [(0, 0), (0.0, 0), (33.5, 1), (None, 0)])
def test_boxes_that_may_be_those_before_a_turn_are_asked(tmp_path, rotation, count):
    content = coco("a.jpg")
    content["annotations"][0]["attributes"] = {"occluded": False, "rotation": rotation}
    write(tmp_path, {"a.json": content, "a.jpg": None})
    assert counts(tmp_path) == ({"COCO boxes with a rotation": count} if count else {})


def test_malformed_masks_are_left_to_the_check(tmp_path):
    content = coco("a.jpg")
    content["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 5, "segmentation": shape}
        for shape in (
            [1, 2, 3],
            [["a", "b"] * 3],
            {"counts": []},
            "text",
            [[1, 2]],
            TOO_LONG,
        )
    ]
    part = find_layout(write(tmp_path, {"a.json": content, "a.jpg": None})).read()["train"]
    assert part.coco["annotations"] == content["annotations"]


def test_keys_that_occur_twice_are_found(tmp_path):
    text = json.dumps(coco("a.jpg")).replace('"area"', '"bbox": [1, 2, 3, 4], "area"')
    write(tmp_path, {"a.json": text, "a.jpg": None})
    [[place]] = find_layout(tmp_path).read()["train"].findings.values()
    assert place.startswith("a.json: bbox of {'id': 1, 'image_id': 1")
    assert counts(tmp_path) == {"keys that occur twice in a JSON object": 1}


def without(*keys):
    return {key: value for key, value in coco("a.jpg").items() if key not in keys}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.json": without("categories")}, ("expected COCO's lists",)),
        ({"a.json": without("annotations")}, ("No annotations are recognized",)),
        ({"a.json": {**coco("a.jpg"), "categories": []}}, ("a.json has no categories",)),
        ({"a.json": {**coco("a.jpg"), "images": [{"id": 1}]}}, ("images[0]", "file_name")),
        ({"a.json": {**coco("a.jpg"), "images": [{"id": "x", "file_name": "a"}]}}, ("id of im",)),
        (
            {
                "train.json": coco("a.jpg"),
                "val.json": {**coco("a.jpg"), "categories": CATEGORIES[:1]},
            },
            ("train.json and val.json have different categories", "(2, 'dog')"),
        ),
        ({"a.json": coco("a.jpg"), "b.json": "{"}, ("b.json is not JSON",)),
        ({"b.json": "{"}, ("No annotations are recognized", "b.json is not JSON")),
        (
            {"val.json": coco("a.jpg"), "test.json": coco("b.jpg")},
            ("The parts are", "expected one named train"),
        ),
        (
            {"a.json": coco("a.jpg"), "one/a.jpg": None, "two/a.jpg": None},
            ("a.jpg and others are in one/ and in two/", "--coco JSON IMAGES"),
        ),
    ],
)
def test_what_cannot_be_placed_is_an_error(tmp_path, files, words):
    refuses(write(tmp_path, {"x/y.jpg": None, **files}), *words)


@pytest.mark.parametrize(
    ("other", "count"),
    [
        ("images/day1/more/b.jpg", 1),
        ("images/day2/b.jpg", 1),
        ("images/test/b.jpg", 0),  # of another part
        ("images/masks/a.png", 0),  # of an image that is listed
        ("documents/b.jpg", 0),
    ],
)
def test_images_below_and_beside_the_annotated_ones_are_noted(tmp_path, other, count):
    write(tmp_path, {"a.json": coco("a.jpg"), "images/day1/a.jpg": None, other: None})
    expected = {"images without an annotation file": 1} if count else {}
    assert counts(tmp_path) == expected


def test_a_file_can_be_chosen_and_its_folder_of_images_named(tmp_path):
    write(tmp_path, {"a.json": coco("a.jpg"), "b.json": coco("b.jpg")})
    write(tmp_path, {"images/a.jpg": None, "images/b.jpg": None})
    assert read(tmp_path / "b.json") == {"train": {"images/b.jpg": BOXES}}
    part = coco_part(tmp_path / "a.json", tmp_path / "images")
    assert boxes_of(part) == {"a.jpg": BOXES}
    assert part.findings == {"images without an annotation file": ["b.jpg"]}
    with pytest.raises(ValueError, match=r"The image folder .*gone of .* does not exist"):
        coco_part(tmp_path / "a.json", tmp_path / "gone")


def test_coco_is_read_as_it_is():
    folder = real_data.folder("coco")
    for part, its in find_layout(folder).read().items():
        file = folder / "annotations" / f"instances_{part}2017.json"
        expected = json.loads(file.read_text())
        for image in expected["images"]:
            image["file_name"] = f"{part}2017/{image['file_name']}"
        assert its.coco == expected
        assert its.findings == {}
