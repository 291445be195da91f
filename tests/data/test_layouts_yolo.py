import pytest
from hypothesis import given
from hypothesis import strategies as st
from layout_toy import SIZE, boxes_of, counts, read, refuses, write

from crnas_d2.data.layouts import find_layout

BOX, BOXES = "0 0.5 0.5 0.25 0.5\n", [("cat", 30, 15, 20, 30)]
NAMES = "names: [cat, dog]\n"
BACKGROUND = "images without labels, read as background"
# By name: the files, and the boxes of each part.
FOLDERS = {
    "Ultralytics": (
        {
            "data.yaml": f"path: .\ntrain: images/train\nval: images/val\n{NAMES}",
            **{f"images/{part}/{part}.jpg": None for part in ("train", "val")},
            **{f"labels/{part}/{part}.txt": BOX for part in ("train", "val")},
        },
        {part: {f"images/{part}/{part}.jpg": BOXES} for part in ("train", "val")},
    ),
    "Roboflow": (
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
            "nc: 2\nnames: ['cat', 'dog']\nroboflow:\n  version: 1\n",
            "README.roboflow.txt": "text",
            **{f"{part}/images/a{part}.jpg": None for part in ("train", "valid", "test")},
            **{f"{part}/labels/a{part}.txt": BOX for part in ("train", "valid", "test")},
        },
        {
            name: {f"{part}/images/a{part}.jpg": BOXES}
            for name, part in (("train", "train"), ("val", "valid"), ("test", "test"))
        },
    ),
    "of another machine": (
        {
            "data.yaml": f"path: /content/birds\ntrain: /content/birds/train/images\n{NAMES}",
            "train/images/a.jpg": None,
            "train/labels/a.txt": BOX,
        },
        {"train": {"train/images/a.jpg": BOXES}},
    ),
    "lists of folders and files": (
        {
            "sub/data.yaml": "train: [one/images, two/images]\nval: val.txt\n"
            "names:\n  0: cat\n  3: 'no'\n",
            "sub/val.txt": "./three/images/c.jpg\n\n/home/me/sub/three/images/d.png\n",
            **{f"sub/{name}": None for name in ("one/images/a.jpg", "two/images/b.jpg")},
            **{f"sub/three/images/{name}": None for name in ("c.jpg", "d.png", "unused.jpg")},
            "sub/one/labels/a.txt": BOX,
            "sub/two/labels/b.txt": BOX.replace("0", "3", 1),
            "sub/three/labels/c.txt": BOX,
            "sub/three/labels/unused.txt": BOX,
        },
        {
            "train": {
                "sub/one/images/a.jpg": BOXES,
                "sub/two/images/b.jpg": [("no", 30, 15, 20, 30)],
            },
            "val": {"sub/three/images/c.jpg": BOXES, "sub/three/images/d.png": []},
        },
    ),
    "darknet, as CVAT writes it": (
        {
            "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\n"
            "names = data/obj.names\nbackup = backup/\n",
            "obj.names": "cat\ndog\n",
            "train.txt": "data/obj_train_data/a.jpg\n",
            "valid.txt": "data/obj_valid_data/b.jpg\n",
            **{f"obj_{name}.jpg": None for name in ("train_data/a", "valid_data/b")},
            **{f"obj_{name}.txt": BOX for name in ("train_data/a", "valid_data/b")},
        },
        {"train": {"obj_train_data/a.jpg": BOXES}, "val": {"obj_valid_data/b.jpg": BOXES}},
    ),
    "txt beside images, with classes.txt": (
        {"classes.txt": "cat\r\ndog\r\n", "a.jpg": None, "a.txt": b"\xef\xbb\xbf" + BOX.encode()},
        {"train": {"a.jpg": BOXES}},
    ),
    "images beside labels, as Label Studio writes it": (
        {
            "classes.txt": "cat\n",
            "notes.json": {"categories": [{"id": 0, "name": "cat"}], "info": {}},
            "images/a.jpg": None,
            "labels/a.txt": BOX,
        },
        {"train": {"images/a.jpg": BOXES}},
    ),
    "a labels folder below the images": (
        {"labels/classes.txt": "cat\n", "a.jpg": None, "labels/a.txt": BOX},
        {"train": {"a.jpg": BOXES}},
    ),
    "names in other cases and encodings": (
        {
            "data.yaml": f"train: Images\n{NAMES}",
            **{f"Images/{name}": None for name in ("A.JPG", "ka\u0308tz 1.jpg")},
            **{f"Labels/{name}": BOX for name in ("a.TXT", "k\u00e4tz 1.txt")},
        },
        {"train": {"Images/A.JPG": BOXES, "Images/ka\u0308tz 1.jpg": BOXES}},
    ),
    "beside what prepare has written": (
        {
            "classes.txt": "cat\n",
            "a.jpg": None,
            "a.txt": BOX,
            "out/annotation_report.json": {},
            "out/data.yaml": NAMES,
            "out/annotations/archtrain.json": {"images": [], "annotations": [], "categories": []},
        },
        {"train": {"a.jpg": BOXES}},
    ),
    "an upright photograph stored on its side": (
        {"classes.txt": "cat\n", "a.jpg": 6, "a.txt": BOX},
        {"train": {"a.jpg": [("cat", 22.5, 20, 15, 40)]}},
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read(tmp_path, name):
    files, expected = FOLDERS[name]
    assert read(write(tmp_path, files)) == expected


def labels(tmp_path, text, yaml=NAMES):
    return write(
        tmp_path,
        {"data.yaml": f"train: images\n{yaml}", "images/a.jpg": None, "labels/a.txt": text},
    )


@pytest.mark.parametrize(
    ("text", "yaml", "boxes", "kind"),
    [
        ("1 .5 .5 .2 .2\n\n0.0 .5 .5 .2 .2", NAMES, 2, "ids written as text or decimals"),
        ("0 0 0 .5 0 .5 .5", NAMES, 1, "polygons, read as masks and boxes"),
        ("0 .5 0 1 .5 .5 1 0 .5", NAMES, 1, "rotated boxes, read as upright ones"),
        ("0 .5 -.2 1 .5 .5 1.2 0 .5", NAMES, 1, "rotated boxes, read as upright ones"),
        ("0 .5 .5 .2 .2 .5 .5 2", f"{NAMES}kpt_shape: [1, 3]", 1, "points and lines"),
        ("", NAMES, 0, BACKGROUND),
    ],
)
def test_what_is_not_a_plain_box_is_counted(tmp_path, text, yaml, boxes, kind):
    write(labels(tmp_path, text, yaml), {"images/b.jpg": None, "labels/b.txt": BOX})
    if kind.startswith("rotated"):
        (tmp_path / "labels/b.txt").unlink()  # a box among them would make them polygons
    elif "kpt_shape" in yaml:
        (tmp_path / "labels/b.txt").write_text(text)
    found = counts(tmp_path)
    assert found[kind] == 1 + ("kpt_shape" in yaml)
    assert len(read(tmp_path)["train"]["images/a.jpg"]) == boxes


def test_polygons_have_masks_and_the_hull_of_an_oriented_box_has_none(tmp_path):
    part = find_layout(labels(tmp_path, "0 0 0 .5 0 .5 .5\n")).read()["train"]
    [triangle] = part.coco["annotations"]
    assert triangle["segmentation"] == [[0, 0, 40, 0, 40, 30]]
    assert (triangle["bbox"], triangle["area"]) == ([0, 0, 40, 30], 600)
    (tmp_path / "labels/a.txt").write_text("1 .5 .25 .75 .5 .5 .75 .25 .5\n")
    part = find_layout(tmp_path).read()["train"]
    assert boxes_of(part) == {"images/a.jpg": [("dog", 20, 15, 40, 30)]}
    assert "segmentation" not in part.coco["annotations"][0]


def test_classes_keep_their_numbers_and_images_without_txt_are_background(tmp_path):
    write(labels(tmp_path, BOX, "names: {0: cat, 7: 'dog '}"), {"images/b.jpg": None})
    part = find_layout(tmp_path).read()["train"]
    assert part.coco["categories"] == [{"id": 0, "name": "cat"}, {"id": 7, "name": "dog"}]
    assert part.findings == {BACKGROUND: ["images/b.jpg"]}
    assert part.sources.keys() == {"data.yaml", "labels/a.txt"}


def test_a_part_that_is_not_there_and_labels_without_image_are_counted(tmp_path):
    write(labels(tmp_path, BOX, f"{NAMES}test: ../test/images"), {"labels/gone.txt": BOX})
    expected = {"parts that are named, but not there": 1, "image files that are missing": 1}
    assert counts(tmp_path) == expected


@pytest.mark.parametrize("first", ["0 5e-1 .5 .1 .1", "0 -0.01 .5 .1 .1", "1 1E+0 1 .1 .1"])
def test_labels_without_image_are_known_by_any_number(tmp_path, first):
    write(labels(tmp_path, BOX, NAMES), {"labels/gone.txt": first})
    assert counts(tmp_path) == {"image files that are missing": 1}


@pytest.mark.parametrize(
    ("text", "yaml", "words"),
    [
        (f"{BOX}2 .5 .5 .2 .2", NAMES, ("labels/a.txt, line 2: the class is '2'", "[0, 1]")),
        ("-1 .5 .5 .2 .2", NAMES, ("line 1: the class is '-1'",)),
        ("0.5 .5 .5 .2 .2", NAMES, ("the class is '0.5'",)),
        ("cat .5 .5 .2 .2", NAMES, ("line 1: the line is 'cat .5 .5 .2 .2'", "numbers")),
        ("0 40 30 20 30", NAMES, ("labels/a.txt, line 1", "coordinates from 0 to 1")),
        ("0 .5 .5 nan .2", NAMES, ("coordinates from 0 to 1",)),
        ("0 .5 .5 .2", NAMES, ("5 numbers",)),
        ("0 .5 .5 .2 .2 .9", NAMES, ("5 numbers, or a class and 3 or more points",)),
        (b"\xff\xfe\x00\xd8", NAMES, ("labels/a.txt is not a text file in UTF-8",)),
        ("0 .5 .5 .2 .2", "names: [cat]\nnc: 2", ("nc is '2'", "the number of names, 1")),
        ("0 .5 .5 .2 .2", "nc: 1", ("data.yaml: names is None",)),
        ("0 .5 .5 .2 .2", "names: ['']", ("names[0] is ''",)),
        ("0 .5 .5 .2 .2", "names: {cat: 0}", ("names[cat]", "a class number")),
        ("0 .5 .5 .2 .2", "names: {0: cat, 0: dog}", ("line 2", "the key '0' occurs twice")),
        (BOX, f"{NAMES}kpt_shape: [2, 3]", ("11 numbers (kpt_shape)",)),
        (BOX, f"{NAMES}kpt_shape: many", ("data.yaml: kpt_shape is 'many'",)),
        ("0 .5 .5 .4 .4 .4 .5 2 .6 .6 2 0 0 0\n" * 2, NAMES, ("key points; add kpt_shape",)),
        (BOX, f"{NAMES}val: {{a: b}}", ("data.yaml: val is [{'a': 'b'}]; expected paths",)),
        (BOX, f"{NAMES}path: [a]", ("data.yaml: path is [['a']]; expected paths",)),
        (BOX, f"{NAMES}val: [images, images]", ("images/a.jpg is in train and in val",)),
    ],
)
def test_what_cannot_be_placed_is_an_error_with_file_and_line(tmp_path, text, yaml, words):
    refuses(labels(tmp_path, text, yaml), *words)


def test_all_problems_are_counted(tmp_path):
    refuses(labels(tmp_path, "5 .5 .5 .2 .2\n" * 9), "line 1", "line 3", "(9 such places)")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"a.jpg": None, "a.txt": BOX},
            ("no file has the names", "data.yaml, obj.names or classes.txt"),
        ),
        (
            {"a.jpg": None, "a.txt": BOX, "data.yaml": b"names: [k\xe4tz]"},
            ("no file has the names", "data.yaml is not a text file in UTF-8"),
        ),
        (
            {"a.jpg": None, "a.txt": BOX, "classes.txt": "a\n\nb"},
            ("['a', '', 'b']; expected a class",),
        ),
        (
            {"a.jpg": None, "a.txt": BOX, "classes.txt": "a", "b/classes.txt": "b"},
            ("the classes of", "['a']", "['b']"),
        ),
        (
            {"a.jpg": None, "one.yaml": f"train: .\n{NAMES}", "two.yaml": f"train: .\n{NAMES}"},
            ("one of one.yaml, two.yaml", "path of that file"),
        ),
        ({"a.jpg": None, "data.yaml": f"train: .\n{NAMES}"}, ("none of the 1 images", "a.txt")),
        ({"a.jpg": None, "data.yaml": f"train: gone\n{NAMES}"}, ("data.yaml: train is 'gone'",)),
        ({"a.jpg": None, "obj.data": "names = x.names"}, ("x.names",)),
        (
            {"a.jpg": None, "a.png": None, "a.txt": BOX, "classes.txt": "cat"},
            ("a.txt is of a.jpg and of a.png",),
        ),
    ],
)
def test_a_folder_that_is_incomplete_is_refused(tmp_path, files, words):
    refuses(write(tmp_path, files), *words)


def test_the_path_of_a_file_decides_between_two(tmp_path):
    files, expected = FOLDERS["Ultralytics"]
    write(tmp_path, {**files, "other.yaml": NAMES})
    assert read(tmp_path / "data.yaml") == expected


sides = st.floats(0.02, 0.4)


def test_a_val_that_is_train_itself_is_no_part(tmp_path):
    """As in data.yaml files for a first try, e.g. of 128 images of COCO."""
    description = f"train: images\nval: images\n{NAMES}"
    files = {"data.yaml": description, "images/a.jpg": None, "labels/a.txt": BOX}
    write(tmp_path, files)
    assert read(tmp_path) == {"train": {"images/a.jpg": BOXES}}
    assert counts(tmp_path) == {"parts that are named, but not there": 1}


@given(st.lists(st.tuples(sides, sides, sides, sides), min_size=1, max_size=4))
def test_boxes_are_those_that_were_written(tmp_path_factory, boxes):
    folder = tmp_path_factory.mktemp("yolo")
    rows = [f"1 {x + w / 2} {y + h / 2} {w} {h}" for x, y, w, h in boxes]
    [part] = read(labels(folder, "\n".join(rows))).values()
    for found, (x, y, w, h) in zip(part["images/a.jpg"], boxes, strict=True):
        expected = (x * SIZE[0], y * SIZE[1], w * SIZE[0], h * SIZE[1])
        assert found[1:] == pytest.approx(expected, abs=1e-3)
