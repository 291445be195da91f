import codecs

import pytest
import real_data
from layout_toy import SIZE, counts, read, refuses, write

from crnas_d2.data.images.files import read_image_files
from crnas_d2.data.layouts import find_layout
from crnas_d2.verbs.prepare.annotation_report import check_annotations

HEAD = '<?xml version="1.0" encoding="{}"?>'
BOXES = [("cat", 10, 5, 20, 30)]  # xmin 11, as in Detectron2's loader


def xml(filename="", name="cat", size=SIZE, box=(11, 6, 30, 35), more="", head=""):
    width, height = size
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    bndbox = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return (
        f"{head}<annotation><filename>{filename}</filename><size><width>{width}</width>"
        f"<height>{height}</height></size><object><name>{name}</name>"
        f"<bndbox>{bndbox}</bndbox>{more}</object></annotation>"
    )


FOLDERS = {
    "of any names": (
        {"annotations/a.xml": xml("a.jpg"), "images/a.jpg": None},
        {"train": {"images/a.jpg": BOXES}},
    ),
    "xml beside images, as labelImg and Roboflow write them": (
        {
            **{f"{part}/{part}.jpg": None for part in ("train", "valid", "test")},
            **{f"{part}/{part}.xml": xml("x.jpg") for part in ("train", "valid", "test")},
        },
        {
            name: {f"{part}/{part}.jpg": BOXES}
            for name, part in (("train", "train"), ("val", "valid"), ("test", "test"))
        },
    ),
    "image sets": (
        {
            **{f"Annotations/{name}.xml": xml() for name in ("a", "b c", "d", "e", "unlisted")},
            **{f"JPEGImages/{name}.jpg": None for name in ("a", "b c", "d", "e", "unlisted")},
            **{f"SegmentationClass/{name}.png": None for name in ("a", "d")},
            "ImageSets/Main/train.txt": "a\n",
            "ImageSets/Main/trainval.txt": "a\nb c\nd -1\n",
            "ImageSets/Main/cat_train.txt": "e 1\n",
            "ImageSets/Main/val.txt": "d\n",
            "ImageSets/Main/test.txt": "e\r\n",
        },
        {
            "train": {"JPEGImages/a.jpg": BOXES, "JPEGImages/b c.jpg": BOXES},
            "val": {"JPEGImages/d.jpg": BOXES},
            "test": {"JPEGImages/e.jpg": BOXES},
        },
    ),
    "xml of a namespace": (
        {"a.xml": xml().replace("<annotation", '<annotation xmlns="http://a.b"', 1), "a.jpg": None},
        {"train": {"a.jpg": BOXES}},
    ),
    "equal names in two folders": (
        {
            **{f"{part}/Annotations/a.xml": xml() for part in ("train", "val")},
            **{f"{part}/JPEGImages/a.jpg": None for part in ("train", "val")},
        },
        {part: {f"{part}/JPEGImages/a.jpg": BOXES} for part in ("train", "val")},
    ),
    "an upright photograph stored on its side": (
        {"a.xml": xml(size=SIZE[::-1]), "a.jpg": 6},
        {"train": {"a.jpg": BOXES}},
    ),
    "the name of a path of Windows": (
        {"labels/7.xml": xml(r"C:\birds\b.PNG"), "images/b.PNG": None, "images/c.jpg": None},
        {"train": {"images/b.PNG": BOXES}},
    ),
    "a rotated box of roLabelImg": (
        {
            "a.xml": "<annotation><object><name>cat</name><robndbox><cx>30</cx><cy>20</cy><w>20</w>"
            "<h>10</h><angle>1.5707963</angle></robndbox></object></annotation>",
            "a.jpg": None,
        },
        {"train": {"a.jpg": [("cat", 25, 10, 10, 20)]}},
    ),
    **{
        f"encoded as {encoding}": (
            {
                "a.jpg": None,
                "a.xml": mark
                + xml(name=name, head=f'<?xml version="1.0" encoding="{encoding}"?>').encode(
                    encoding
                ),
            },
            {"train": {"a.jpg": [(name, 10, 5, 20, 30)]}},
        )
        for encoding, name, mark in (
            ("UTF-8", "Vögel", codecs.BOM_UTF8),
            ("utf-16", "鸟", b""),
            ("windows-1252", "Vögel", b""),
            ("GB2312", "鸟", b""),
        )
    },
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read(tmp_path, name):
    files, expected = FOLDERS[name]
    assert read(write(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "kind", "boxes"),
    [
        ({"b.jpg": None}, "images without an annotation file", {"a.jpg": BOXES}),
        (
            {"a.xml": xml("b.jpg"), "b.xml": xml("a.jpg", box=(1, 1, 2, 2)), "b.jpg": None},
            "annotation files that name another image",
            {"a.jpg": BOXES, "b.jpg": [("cat", 0, 0, 2, 2)]},
        ),
        ({"7.xml": xml("c.JPG"), "c.jpg": None}, "file names found by their base name", None),
        (
            {"ImageSets/Main/train.txt": "b", "b.xml": xml(), "b.jpg": None},
            "annotation files that no image set lists",
            {"b.jpg": BOXES},
        ),
    ],
)
def test_what_is_probably_not_meant_is_counted(tmp_path, files, kind, boxes):
    write(tmp_path, {"a.xml": xml("a.jpg"), "a.jpg": None, **files})
    assert counts(tmp_path) == {kind: 2 if "name another" in kind else 1}
    if boxes:
        assert read(tmp_path) == {"train": boxes}


def test_flags_and_corners_are_kept(tmp_path):
    write(tmp_path, {"a.xml": xml(more="<difficult>1</difficult>"), "a.jpg": None})
    [annotation] = find_layout(tmp_path).read()["train"].coco["annotations"]
    assert annotation["difficult"] == 1
    assert annotation["voc_box"] == [11, 6, 30, 35]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<annotation>", ("a.xml is not an XML file: no element found",)),
        (xml(name=""), ("a.xml: the class of an object is ''",)),
        (xml(box=("x", 1, 2, 2)), ("a.xml: an object 'cat' has no bndbox of numbers",)),
        (
            "<annotation><object><name>cat</name><polygon/></object></annotation>",
            ("a.xml: an object 'cat' has no bndbox", "LabelMe's old xml is not read"),
        ),
        (xml(more="<bndbox/>"), ("a.xml: an object 'cat' has more than one bndbox",)),
        (xml(more="<difficult>yes</difficult>"), ("difficult of an object 'cat' is 'yes'",)),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_file(tmp_path, content, words):
    refuses(write(tmp_path, {"a.xml": content, "a.jpg": None}), *words)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"box": (1, 1, "inf", 9)}, "boxes that are not 4 finite numbers"),
        ({"box": (1, 1, "nan", 9)}, "boxes that are not 4 finite numbers"),
        ({"size": ("inf", "nan")}, "image sizes that are no whole numbers above 0"),
        ({"size": (0, "")}, "image sizes that are no whole numbers above 0"),
        ({"size": ("1e400", 60)}, "image sizes that are no whole numbers above 0"),
        ({"size": (60, 80)}, "image sizes that are not those of the files"),
    ],
)
def test_numbers_that_are_none_are_named_faults(tmp_path, changes, kind):
    part = find_layout(write(tmp_path, {"a.xml": xml(**changes), "a.jpg": None})).read()["train"]
    files = read_image_files(["a.jpg"], tmp_path)
    assert kind in check_annotations(part.coco, files).counts()


def test_images_that_may_be_two_and_missing_ones_are_refused(tmp_path):
    write(tmp_path, {"xml/a.xml": xml("b.jpg"), "one/a.jpg": None, "two/a.jpg": None})
    refuses(tmp_path, "xml/a.xml: its image may be one/a.jpg, two/a.jpg")
    write(tmp_path, {"ImageSets/Main/train.txt": "a\nc\n"})
    refuses(tmp_path, "train.txt: of c there is neither an annotation file nor an image")


@pytest.mark.parametrize(
    ("name", "images", "boxes"),
    [("bccd", {"train": 205, "val": 87, "test": 72}, 4888), ("raccoon", {"train": 200}, 217)],
)
def test_published_folders_are_read(name, images, boxes):
    parts = find_layout(real_data.folder(name)).read()
    assert {part: its.num_images for part, its in parts.items()} == images
    assert sum(len(part.coco["annotations"]) for part in parts.values()) == boxes
    assert [part.findings for part in parts.values()] == [{}] * len(parts)
