import importlib
import sys

import pytest
import toy
from layout_toy import read, refuses, write

from crnas_d2.data.layouts import LAYOUT_REGISTRY, Layout, find_layout

YOLO = {"classes.txt": "cat\n", "a.jpg": None, "a.txt": "0 .5 .5 .5 .5\n"}
VOC = {"a.xml": "<annotation><object><name>cat</name></object></annotation>"}
COCO = {"a.json": {"images": [], "annotations": [], "categories": []}}


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (YOLO, "YOLO, ./*.txt"),
        ({"sub/data.yaml": "names: [cat]\n"}, "YOLO, sub/data.yaml"),
        (VOC, "VOC, ./*.xml"),
        ({"x/a.json": COCO["a.json"]}, "COCO, x/a.json"),
        ({**YOLO, ".git/a.xml": VOC["a.xml"], "__MACOSX/a.xml": VOC["a.xml"]}, "YOLO, ./*.txt"),
        # Captions, lists and settings are no annotations.
        ({**VOC, "a.jpg": None, "a.txt": "a photo of 5 cats", "x.yaml": "lr: 1"}, "VOC, ./*.xml"),
        ({**COCO, "package.json": {"name": "x"}, "b.xml": "<svg/>"}, "COCO, a.json"),
    ],
)
def test_the_layout_is_named(tmp_path, files, name):
    assert find_layout(write(tmp_path, files)).name == name


def test_two_layouts_are_asked_about(tmp_path):
    write(tmp_path, {**YOLO, **VOC})
    refuses(tmp_path, "VOC (./*.xml)", "YOLO (./*.txt)", "--layout VOC")
    assert read(tmp_path, layout="YOLO") == {"train": {"a.jpg": [("cat", 20, 15, 40, 30)]}}
    refuses(tmp_path, "Looked for COCO", layout="COCO")
    refuses(tmp_path, "--layout is 'yolo'", "Did you mean YOLO?", layout="yolo")


def test_what_is_not_recognized_says_what_was_looked_for(tmp_path):
    write(tmp_path, {"a.jpg": None, "notes.md": "", "a.json": "[1"})
    names = [f"{name}: " for name in LAYOUT_REGISTRY.names]
    refuses(tmp_path, "among the 3 files", "1 of them images", "a.json is not JSON", *names)
    write(tmp_path, {"birds.zip": "PK"})
    refuses(tmp_path / "birds.zip", "birds.zip is an archive: unpack it")
    refuses(tmp_path / "gone", "gone does not exist; expected the folder of a dataset")


def test_what_names_no_part_is_trained_on(tmp_path):
    write(
        tmp_path,
        {
            f"{folder}/{name}": content
            for folder in ("more", "train", "val")
            for name, content in YOLO.items()
        },
    )
    assert {part: list(images) for part, images in read(tmp_path).items()} == {
        "train": ["more/a.jpg", "train/a.jpg"],
        "val": ["val/a.jpg"],
    }


@pytest.mark.parametrize("first", ["", "<settings/>", "[]", "{}"])
@pytest.mark.parametrize("layout", ["VOC", "LabelMe"])
def test_a_stray_file_before_all_others_hides_no_layout(tmp_path, layout, first):
    shape = {"label": "cat", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}
    its = {"imagePath": "a.jpg", "shapes": [shape]} if layout == "LabelMe" else VOC["a.xml"]
    end = "json" if layout == "LabelMe" else "xml"
    others = {f"{n}.{end}": its for n in range(30)}
    write(tmp_path, {f"0_.{end}": first, **others, **{f"{n}.jpg": None for n in range(30)}})
    refuses(tmp_path, f"0_.{end}")
    (tmp_path / f"0_.{end}").unlink()
    assert find_layout(tmp_path).name.startswith(layout)


def test_links_to_folders_above_end(tmp_path):
    write(tmp_path, YOLO)
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(read(tmp_path)["train"]) == 1


def test_every_layout_keeps_the_contract():
    for name, layout in LAYOUT_REGISTRY:
        assert issubclass(layout, Layout)
        assert layout.name == name
        assert layout.looked_for


def test_a_layout_of_ones_own_is_recognized(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(toy.ROOT / "examples")
    monkeypatch.setattr(LAYOUT_REGISTRY, "_obj_map", dict(LAYOUT_REGISTRY._obj_map))
    monkeypatch.delitem(sys.modules, "plugins.box_table", raising=False)
    importlib.import_module("plugins.box_table")
    table = "image,class,x,y,width,height\nimages/a.jpg,cat,1,2,3,4.5\n"
    write(tmp_path, {"boxes.csv": table, "images/a.jpg": None})
    assert find_layout(tmp_path).name == "boxes.csv, boxes.csv"
    assert read(tmp_path) == {"train": {"images/a.jpg": [("cat", 1, 2, 3, 4.5)]}}
    write(tmp_path, {"boxes.csv": table.replace("4.5", "four")})
    refuses(tmp_path, "boxes.csv, line 2: expected a number, not 'four'")
