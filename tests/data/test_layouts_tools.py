"""LabelMe, CVAT for images, Label Studio and VIA."""

import base64
import io
import math

import numpy as np
import pytest
from layout_toy import SIZE, boxes_of, counts, read, refuses, write
from PIL import Image
from pycocotools import mask as coco_mask

from crnas_d2.data.layouts import find_layout

ROTATED = "rotated boxes, read as upright ones"
ROUND = "ellipses and circles, read as boxes"
POLYGONS = "polygons, read as masks and boxes"
POINTS = "points and lines"
FROM_MASKS = "boxes read from masks"
TRIANGLE = [[10, 20], [30, 20], [30, 40]]
# A box of 20 x 10 that is turned by 90 degrees: about its middle, about its upper left corner.
ABOUT_MIDDLE, ABOUT_CORNER = (15, 15, 10, 20), (0, 20, 10, 20)


def labelme(*shapes, path="a.jpg", size=SIZE, **more):
    return {
        "version": "5.5.0",
        "shapes": [{"label": "cat", "group_id": None, **shape} for shape in shapes],
        "imagePath": path,
        "imageData": None,
        "imageWidth": size[0],
        "imageHeight": size[1],
        **more,
    }


def rectangle(*points):
    return {"shape_type": "rectangle", "points": points}


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def cvat(shapes, name="a.jpg", size=SIZE, more="", meta=""):
    return (
        f"<annotations><version>1.1</version>{meta}<image id='0' name='{name}' width='{size[0]}' "
        f"height='{size[1]}' {more}>{shapes}</image></annotations>"
    )


def box(more="", label="cat"):
    return f"<box label='{label}' xtl='10' ytl='20' xbr='30' ybr='30' {more}/>"


META = (
    "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label>"
    "<label><name>nose</name><parent>cat</parent></label></labels></task></meta>"
)


def studio(*values, image="/data/upload/1/0a1b2c3d-a.jpg", size=SIZE, **more):
    results = [
        {"id": str(n), "original_width": size[0], "original_height": size[1], "value": value}
        for n, value in enumerate(values)
    ]
    return [{"id": 7, "data": {"image": image}, "annotations": [{"result": results}], **more}]


def percent(x, y, width, height, **more):
    return {
        "x": x / 0.8,
        "y": y / 0.6,
        "width": width / 0.8,
        "height": height / 0.6,
        "rectanglelabels": ["cat"],
        **more,
    }


def via(*shapes, attributes=None, name="a.jpg"):
    regions = [
        {"shape_attributes": shape, "region_attributes": attributes or {"class": "cat"}}
        for shape in shapes
    ]
    return {f"{name}123": {"filename": name, "size": 123, "regions": regions}}


RECT = {"name": "rect", "x": 10, "y": 20, "width": 20, "height": 10}
BOXES = [("cat", 10, 20, 20, 10)]
A = {"train": {"a.jpg": BOXES}}
FOLDERS = {
    "LabelMe": ({"a.json": labelme(rectangle([30, 30], [10, 20])), "a.jpg": None}, A),
    "LabelMe, paths of Windows": (
        {
            "json/a.json": labelme(rectangle([10, 20], [30, 30]), path="..\\images\\a.jpg"),
            "images/a.jpg": None,
        },
        {"train": {"images/a.jpg": BOXES}},
    ),
    "LabelMe, parts, without shapes, stored on its side": (
        {
            "train/a.json": labelme(rectangle([10, 20], [30, 30]), size=SIZE[::-1]),
            "train/a.jpg": 6,
            "val/b.json": labelme(path="b.jpg"),
            "val/b.jpg": None,
        },
        {"train": {"train/a.jpg": BOXES}, "val": {"val/b.jpg": []}},
    ),
    "CVAT": (
        {"annotations.xml": cvat(box()), "images/a.jpg": None},
        {"train": {"images/a.jpg": BOXES}},
    ),
    "CVAT, subsets": (
        {
            "annotations.xml": "<annotations>"
            "<image name='sub/a.jpg' subset='Train' width='80' height='60'>" + box() + "</image>"
            "<image name='b.jpg' subset='Validation' width='80' height='60'/></annotations>",
            "images/sub/a.jpg": None,
            "images/b.jpg": None,
        },
        {"train": {"images/sub/a.jpg": BOXES}, "val": {"images/b.jpg": []}},
    ),
    "CVAT, stored on its side": (
        {"annotations.xml": cvat(box(), size=SIZE[::-1]), "a.jpg": 6},
        A,
    ),
    "Label Studio": (
        {"p.json": studio(percent(10, 20, 20, 10)), "0a1b2c3d-a.jpg": None},
        {"train": {"0a1b2c3d-a.jpg": BOXES}},
    ),
    "Label Studio, the file as it was uploaded": (
        {"p.json": studio(percent(10, 20, 20, 10)), "a.jpg": None},
        A,
    ),
    "Label Studio, local files": (
        {
            "p.json": studio(percent(10, 20, 20, 10), image="/data/local-files/?d=sub%20x/a.jpg"),
            "sub x/a.jpg": None,
            "other/a.jpg": None,
        },
        {"train": {"sub x/a.jpg": BOXES}},
    ),
    "Label Studio, shape and label apart, a choice about the image": (
        {
            "p.json": [
                {
                    "data": {"image": "s3://bucket/a.jpg", "note": "x"},
                    "completions": [
                        {
                            "result": [
                                {
                                    "id": "1",
                                    "original_width": 80,
                                    "original_height": 60,
                                    "value": value,
                                }
                                for value in (
                                    percent(10, 20, 20, 10, rectanglelabels=[]),
                                    percent(10, 20, 20, 10, rectanglelabels=[], labels=["cat"]),
                                )
                            ]
                            + [
                                {
                                    "id": "2",
                                    "value": {"choices": ["sharp"]},
                                    "original_width": 80,
                                    "original_height": 60,
                                }
                            ]
                        }
                    ],
                }
            ],
            "a.jpg": None,
        },
        A,
    ),
    "Label Studio, JSON-MIN": (
        {
            "p.json": [
                {
                    "image": "/data/upload/1/0a1b2c3d-a.jpg",
                    "id": 1,
                    "label": [
                        {**percent(10, 20, 20, 10), "original_width": 80, "original_height": 60}
                    ],
                    "annotator": 1,
                    "annotation_id": 1,
                }
            ],
            "a.jpg": None,
        },
        A,
    ),
    "VIA, an export": ({"via.json": via(RECT), "a.jpg": None}, A),
    "VIA, a project": (
        {"via.json": {"_via_settings": {}, "_via_img_metadata": via(RECT)}, "images/a.jpg": None},
        {"train": {"images/a.jpg": BOXES}},
    ),
    "VIA 1, regions by number": (
        {
            "via.json": {
                "a.jpg1": {
                    "filename": "a.jpg",
                    "regions": {
                        "0": {"shape_attributes": RECT, "region_attributes": {"class": " cat"}}
                    },
                }
            },
            "a.jpg": 6,
        },
        A,
    ),
    "VIA, checkboxes and parts": (
        {
            "train/via.json": via(RECT, attributes={"type": {"cat": True, "dog": False}}),
            "val/via.json": via(RECT, name="b.jpg"),
            "train/a.jpg": None,
            "val/b.jpg": None,
        },
        {"train": {"train/a.jpg": BOXES}, "val": {"val/b.jpg": BOXES}},
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read(tmp_path, name):
    files, expected = FOLDERS[name]
    assert read(write(tmp_path, files)) == expected
    assert find_layout(tmp_path).name.startswith(
        name.partition(",")[0].replace(" 1", "").replace(" ", "")
    )
    assert set(counts(tmp_path)) <= {
        "file names found by their base name",
        "images without an annotation file",
    }


def shape(kind, points, **more):
    return {"a.json": labelme({"shape_type": kind, "points": points, **more})}


def turned(shape):
    return {"annotations.xml": cvat(shape)}


def result(**value):
    return {"p.json": studio(value)}


def region(name, **values):
    return {"via.json": via({"name": name, **values})}


HALF = math.pi / 2
SHAPES = {
    "LabelMe polygon": (shape("polygon", TRIANGLE), (10, 20, 20, 20), POLYGONS),
    "LabelMe 3, without a type": (shape(None, TRIANGLE), (10, 20, 20, 20), POLYGONS),
    "LabelMe circle": (shape("circle", [[30, 30], [33, 34]]), (25, 25, 10, 10), ROUND),
    "AnyLabeling rotation": (
        shape("rotation", [[20, 10], [30, 20], [20, 30], [10, 20]]),
        (10, 10, 20, 20),
        ROTATED,
    ),
    "LabelMe mask": (
        shape("mask", [[10, 20], [12, 21]], mask=png([[0, 1, 1], [0, 0, 1]])),
        (11, 20, 2, 2),
        FROM_MASKS,
    ),
    "LabelMe point": (shape("point", [[1, 1]]), None, POINTS),
    "LabelMe line": (shape("linestrip", TRIANGLE), None, POINTS),
    "CVAT box": (turned(box("rotation='90'")), ABOUT_MIDDLE, ROTATED),
    "CVAT polygon": (
        turned("<polygon label='cat' points='10,20;30.0,20;30,40'/>"),
        (10, 20, 20, 20),
        POLYGONS,
    ),
    "CVAT ellipse": (
        turned("<ellipse label='cat' cx='30' cy='20' rx='10' ry='5' rotation='90'/>"),
        (25, 10, 10, 20),
        ROUND,
    ),
    "CVAT mask": (
        turned("<mask label='cat' left='10' top='20' width='3' height='2' rle='1, 2, 2, 1'/>"),
        (11, 20, 2, 2),
        FROM_MASKS,
    ),
    "CVAT polyline": (turned("<polyline label='cat' points='1,1;2,2'/>"), None, POINTS),
    "CVAT skeleton": (
        turned("<skeleton label='cat'><points label='nose' points='1,1'/></skeleton>"),
        None,
        POINTS,
    ),
    "Label Studio rectangle": (
        result(**percent(10, 20, 20, 10, rotation=90)),
        ABOUT_CORNER,
        ROTATED,
    ),
    "Label Studio polygon": (
        result(points=[[x / 0.8, y / 0.6] for x, y in TRIANGLE], polygonlabels=["cat"]),
        (10, 20, 20, 20),
        POLYGONS,
    ),
    "Label Studio ellipse": (
        result(x=50, y=50, radiusX=12.5, radiusY=50 / 6, rotation=90, ellipselabels=["cat"]),
        (35, 20, 10, 20),
        ROUND,
    ),
    "Label Studio key point": (result(x=1, y=1, width=1, keypointlabels=["cat"]), None, POINTS),
    "VIA polygon": (
        region("polygon", all_points_x=[10, 30, 30], all_points_y=[20, 20, 40]),
        (10, 20, 20, 20),
        POLYGONS,
    ),
    "VIA circle": (region("circle", cx=30, cy=20, r=5), (25, 15, 10, 10), ROUND),
    "VIA ellipse": (
        region("ellipse", cx=30, cy=20, rx=10, ry=5, theta=HALF),
        (25, 10, 10, 20),
        ROUND,
    ),
    "VIA polyline": (region("polyline", all_points_x=[1], all_points_y=[1]), None, POINTS),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_read_and_counted(tmp_path, name):
    files, expected, kind = SHAPES[name]
    part = find_layout(write(tmp_path, {**files, "a.jpg": None})).read()["train"]
    assert {
        kind: len(places)
        for kind, places in part.findings.items()
        if kind != "file names found by their base name"
    } == {kind: 1}
    assert boxes_of(part) == {"a.jpg": [("cat", *expected)] if expected else []}
    for annotation in part.coco["annotations"]:
        mask = annotation.get("segmentation")
        if kind == POLYGONS:
            assert (mask, annotation["area"]) == ([[10, 20, 30, 20, 30, 40]], 200)
        elif kind == FROM_MASKS:
            pixels = np.zeros((60, 80), np.uint8)
            pixels[20, 11:13] = pixels[21, 12] = 1
            assert (coco_mask.decode(mask) == pixels).all()
            assert annotation["area"] == 3
        else:
            assert mask is None


def test_shapes_of_a_group_are_one_object(tmp_path):
    pieces = [
        {"shape_type": "polygon", "points": [[x + dx, y] for x, y in TRIANGLE], "group_id": 4}
        for dx in (0, 30)
    ]
    write(tmp_path, {"a.json": labelme(*pieces), "a.jpg": None})
    part = find_layout(tmp_path).read()["train"]
    assert boxes_of(part) == {"a.jpg": [("cat", 10, 20, 50, 20)]}
    [annotation] = part.coco["annotations"]
    assert (len(annotation["segmentation"]), annotation["area"]) == (2, 400)
    assert part.findings["shapes of one group, read as one object"] == ["2 of cat in a.json"]


def test_classes_of_cvat_keep_their_order_and_attributes_are_kept(tmp_path):
    shape = box()[:-2] + "><attribute name='age'>3</attribute></box>"
    write(tmp_path, {"annotations.xml": cvat(shape, meta=META), "a.jpg": None})
    coco = find_layout(tmp_path).read()["train"].coco
    assert coco["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    [annotation] = coco["annotations"]
    assert (annotation["category_id"], annotation["attributes"]) == (2, {"age": "3"})


TWO = [{"result": []}, {"result": []}]


def test_one_of_several_annotations_is_the_ground_truth(tmp_path):
    tasks = studio(percent(10, 20, 20, 10), image="a.jpg")
    tasks[0]["annotations"][0]["ground_truth"] = True
    tasks[0]["annotations"] += [{"result": []}, {"result": [], "was_cancelled": True}]
    assert read(write(tmp_path, {"p.json": tasks, "a.jpg": None})) == A


def test_relations_of_objects_are_none(tmp_path):
    tasks = studio(percent(10, 20, 20, 10), image="a.jpg")
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}
    tasks[0]["annotations"][0]["result"].append(relation)
    assert read(write(tmp_path, {"p.json": tasks, "a.jpg": None})) == A


def test_tasks_without_annotation_are_images_without_one(tmp_path):
    tasks = studio(image="a.jpg") + studio(image="b.jpg", annotations=[])
    write(tmp_path, {"p.json": tasks, "a.jpg": None, "b.jpg": None})
    assert read(tmp_path) == {"train": {"a.jpg": []}}
    assert counts(tmp_path) == {"images without an annotation file": 1}


def test_an_attribute_can_be_named_as_the_class(tmp_path):
    regions = via(RECT, attributes={"colour": "red", "animal": "cat"})
    write(tmp_path, {"via.json": regions, "a.jpg": None})
    refuses(tmp_path, "via.json", "one of colour, animal", "--class-attribute")
    assert read(tmp_path, class_attribute="animal") == A
    refuses(tmp_path, "is 'size'", "one of colour, animal", class_attribute="size")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (shape("cuboid", TRIANGLE), ("a.json: shape_type of 'cat' is 'cuboid'", "circle, ")),
        (shape("polygon", [[1, 1]]), ("a.json: a polygon of 1 points",)),
        (shape("rectangle", [["x", 1], [2, 2]]), ("a.json: ",)),
        (shape("rectangle", [[float("nan"), 1], [2, 2]]), ("a.json", "no finite numbers")),
        (shape("rectangle", []), ("a.json: ",)),
        ({"a.json": labelme({"points": TRIANGLE, "label": 3})}, ("a.json", "3", "text")),
        (
            {"b.json": labelme(path="b.jpg", imageData="iVBO")},
            ("b.json: imagePath is 'b.jpg'", "inside the JSON alone", "Save imageData"),
        ),
        ({"a.json": labelme(), "b.json": "{"}, ("b.json is not JSON",)),
        (turned("<cuboid label='cat'/>"), ("annotations.xml: <cuboid> of a.jpg", "or tag")),
        (turned("<box label='cat' xtl='1'/>"), ("<box> of a.jpg: there is no 'ytl'",)),
        (
            {"annotations.xml": cvat(box(label="cow"), meta=META)},
            ("<box> of a.jpg: the class of an object is 'cow'", "['dog', 'cat']"),
        ),
        (
            turned("<mask label='cat' left='79' top='0' width='2' height='1' rle='1, 1'/>"),
            ("a mask that leaves its image",),
        ),
        (
            {"annotations.xml": "<annotations><track id='0'/></annotations>"},
            ("annotations.xml: the file is 'CVAT for video'; expected 'CVAT for images'",),
        ),
        (
            result(format="rle", rle=[1, 2], brushlabels=["cat"]),
            ("p.json: task 7: brush labels are not read", "COCO"),
        ),
        (result(**percent(1, 1, 1, 1, rectanglelabels=[])), ("task 7", "an object is []")),
        (
            result(**percent(1, 1, 1, 1, rectanglelabels=["cat", "dog"])),
            ("labels of an object is ['cat', 'dog']; expected one",),
        ),
        ({"p.json": studio(annotations=TWO)}, ("task 7: the number of its annotations is 2",)),
        ({"p.json": studio(image="text")}, ("task 7: the number of its images is 0",)),
        (
            {"p.json": [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [
                {"result": [{"value": percent(1, 1, 1, 1), "original_width": 80,
                             "original_height": 60, "image_rotation": 90}]}]}]},
            ("image_rotation is 90",),
        ),
        ({"annotations.xml": "<annotations><image></annotations>"}, ("annotations.xml is not an",)),
        ({"p.json": [*studio(), 5]}, ("p.json: task 1: its structure is not what",)),
        (
            {"via.json": {"a": {"filename": None, "regions": []}}},
            ("via.json: ",),
        ),
        ({"via.json": {"a": {"filename": "a.jpg", "regions": [5]}}}, ("via.json: its structure",)),
        ({"a.json": labelme() | {"imagePath": None}}, ("a.json: its structure is not what",)),
        ({"a.json": labelme() | {"shapes": 5}}, ("a.json: its structure is not what",)),
        (region("cube"), ("via.json: region 0 of a.jpg: its shape is 'cube'",)),
        (region("rect", x=1), ("region 0 of a.jpg: there is no 'y'",)),
        ({"via.json": via(RECT, attributes={"class": ""})}, ("region 0 of a.jpg: class is ''",)),
        ({"via.json": via(RECT, attributes={"class": {}})}, ("class is []",)),
        (
            {"via.json": {"a.jpg1": {"filename": "a.jpg", "regions": [
                {"shape_attributes": RECT, "region_attributes": {}}]}}},
            ("the attribute of regions with their class is ''", "an attribute in each region"),
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_placed_is_an_error_with_file_and_record(tmp_path, files, words):
    refuses(write(tmp_path, {"a.jpg": None, **files}), *words)


@pytest.mark.parametrize(
    ("files", "kind", "images"),
    [
        ({"a.jpg": None, "b.jpg": None}, "annotation files that name another image", ["a.jpg"]),
        ({"a.jpg": None}, "", ["a.jpg"]),
        ({"b.jpg": None}, "", ["b.jpg"]),
    ],
)
def test_a_renamed_image_of_labelme_is_that_of_the_files_own_name(tmp_path, files, kind, images):
    write(tmp_path, {"a.json": labelme(path="b.jpg"), **files})
    assert list(read(tmp_path)["train"]) == images
    findings = find_layout(tmp_path).read()["train"].findings
    assert [*findings][: bool(kind)] == [kind] * bool(kind)


def test_keys_that_occur_twice_are_found(tmp_path):
    twice = '{"shapes": [], "imagePath": "b.jpg", "imagePath": "a.jpg", "imageWidth": 80}'
    write(tmp_path, {"a.json": twice, "a.jpg": None})
    assert counts(tmp_path) == {"keys that occur twice in a JSON object": 1}
    assert read(tmp_path) == {"train": {"a.jpg": []}}


NO_NUMBERS = {
    "VIA rectangle": region("rect", x="q", y=1, width=5, height=5),
    "VIA circle": region("circle", cx=9, cy=9, r="q"),
    "VIA ellipse": region("ellipse", cx=9, cy=9, rx=3, ry=2, theta="q"),
    "CVAT box": turned("<box label='cat' xtl='q' ytl='1' xbr='5' ybr='5'/>"),
    "LabelMe": shape("rectangle", [["q", 1], [5, 5]]),
}


@pytest.mark.parametrize("files", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_a_coordinate_that_is_no_number_is_named_with_its_file(files, tmp_path):
    write(tmp_path, {**files, "a.jpg": None})
    refuses(tmp_path, next(iter(files)), "expected a number, not 'q'")
