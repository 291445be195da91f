"""Which part an image is in, by what the tools write: folders, lists, keys and names."""

import pytest
from layout_toy import SIZE, counts, read, refuses, write

from crnas_d2.data.layouts.folder import part_of

PARTS = {"train": ("a", "b"), "val": ("c",), "test": ("d",)}
WORDS = [
    ("train", "val", "test"),
    ("Train", "Valid", "Test"),
    ("TrainImages", "ValImages", "TestImages"),
    ("trainset", "valset", "testset"),
    ("train_imgs", "dev-imgs", "TESTDATA"),
]
XML = (
    "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"
    "<ymax>9</ymax></bndbox></object></annotation>"
)


def files_of(words, content, end, folder="{word}"):
    """A file for each image, in the folder of its part."""
    return {
        f"{folder.format(word=word)}/{name}{end}": content(name)
        for word, names in zip(words, PARTS.values(), strict=True)
        for name in names
    }


def images(words, folder="{word}"):
    return files_of(words, lambda name: None, ".png", folder)


def coco(words, folder="", **keys):
    names = [(word, n) for word, of in zip(words, PARTS.values(), strict=True) for n in of]
    return {
        "images": [
            {"id": i, "file_name": f"{folder.format(word=word)}{name}.png", "width": SIZE[0]}
            | {"height": SIZE[1]}
            | {key: word for key in keys}
            for i, (word, name) in enumerate(names, start=1)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9]} for i in range(1, 5)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }


def labelme(name, word):
    shape = {"label": "cat", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}
    return {"imagePath": f"../{word}/{name}.png", "shapes": [shape], "imageData": None}


def lists(words, line, folder=""):
    return {
        f"{folder}{word}.txt": "".join(line.format(name) + "\r\n" for name in names)
        for word, names in zip(words, PARTS.values(), strict=True)
    }


def flat(end, content):
    return {f"{name}{end}": content for names in PARTS.values() for name in names}


def below(folder, files):
    return {f"{folder}/{name}": content for name, content in files.items()}


def labels(words):
    return {"classes.txt": "cat\n", **files_of(words, lambda name: "0 .5 .5 .5 .5\n", ".txt")}


PLAIN = WORDS[0]
VOC = below("Annotations", flat(".xml", XML)) | below("JPEGImages", flat(".png", None))
FOLDERS = {
    **{f"YOLO, {words}": {**labels(words), **images(words)} for words in WORDS},
    **{
        f"COCO, one file, {words}": {"all.json": coco(words, "{word}/"), **images(words)}
        for words in WORDS
    },
    "COCO, a key": {"all.json": coco(PLAIN, split=True), **below("images", flat(".png", None))},
    "VOC, folders of images": {**below("xml", flat(".xml", XML)), **images(WORDS[2])},
    "VOC, ImageSets/Main": {**VOC, **lists(PLAIN, "{}", "ImageSets/Main/")},
    "VOC, ImageSets": {**VOC, **lists(PLAIN, "{}", "ImageSets/")},
    "VOC, lists of two files": {
        **VOC,
        **lists(("train", "valid", "test"), "./JPEGImages/{0}.png ./Annotations/{0}.xml"),
    },
    "LabelMe, folders of images": {
        **{f"json/{name}.json": labelme(name, word) for word, of in PARTS.items() for name in of},
        **images(PLAIN),
    },
}


@pytest.mark.parametrize("name", FOLDERS)
def test_images_are_in_the_part_that_is_named(tmp_path, name):
    found = read(write(tmp_path, FOLDERS[name]))
    stems = {p: tuple(i.rsplit("/")[-1][0] for i in images) for p, images in found.items()}
    assert stems == PARTS
    assert counts(tmp_path) == {}


@pytest.mark.parametrize(
    "path", ["dataset", "contest", "latest", "devkit", "image_data", "VOCdevkit/JPEGImages"]
)
def test_other_words_name_no_part(path):
    assert part_of(path) == ""


def test_a_list_of_other_things_is_none_of_images(tmp_path):
    write(tmp_path, {**VOC, "test.txt": "Test this camera.\n", "train.txt": "5 trains\n"})
    assert list(read(tmp_path)) == ["train"]


def test_images_that_no_list_of_yolo_names_are_counted(tmp_path):
    yaml = "train: train\nval: val\nnames: [cat]\n"
    write(tmp_path, {**labels(PLAIN), **images(PLAIN), "data.yaml": yaml})
    assert list(read(tmp_path)) == ["train", "val"]
    assert counts(tmp_path) == {"annotation files that no image set lists": 1}


def test_a_subset_of_cvat_beside_known_ones_is_refused(tmp_path):
    def content(*subsets):
        its = (
            f'<image name="{name}.png" subset="{subset}" width="80" height="60">'
            '<box label="cat" xtl="1" ytl="1" xbr="9" ybr="9"/></image>'
            for name, subset in zip("abc", subsets, strict=True)
        )
        return f"<annotations>{''.join(its)}</annotations>"

    write(tmp_path, {f"{name}.png": None for name in "abc"})
    write(tmp_path, {"a.xml": content("Train", "Test", "holdout")})
    refuses(tmp_path, "subset is 'holdout'; expected train, val or test")
    write(tmp_path, {"a.xml": content("Train", "default", "Validation")})
    assert {part: list(its) for part, its in read(tmp_path).items()} == {
        "train": ["a.png", "b.png"],
        "val": ["c.png"],
    }
    write(tmp_path, {"a.xml": content("monday", "monday", "tuesday")})
    assert list(read(tmp_path)) == ["train"]
