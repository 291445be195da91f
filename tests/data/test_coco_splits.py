import hashlib
import json

import pytest

from crnas_d2.common.digests import sha256
from crnas_d2.data.annotations.coco import missing_categories, read_coco, save_files
from crnas_d2.data.annotations.splits import split_coco


@pytest.fixture
def coco():
    return {
        "info": {"description": "mine", "year": 2024},
        "licenses": [{"id": 1, "name": "CC BY"}],
        "extra": {"kept": True},
        "categories": [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}],
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9, "license": 1}
            for i in range(20)
        ],
        "annotations": [
            {"id": 1 + n, "image_id": n // 2, "category_id": 3 + 4 * (n % 2), "bbox": [0, 0, 1, 1]}
            for n in range(36)
        ],
    }


@pytest.mark.parametrize("stratify", [False, True])
def test_the_parts_are_disjoint_and_make_up_the_source(coco, stratify):
    before = json.dumps(coco)
    parts = split_coco(coco, 0.2, seed=1, stratify=stratify, sources={"a.json": "0" * 64})
    assert json.dumps(coco) == before
    for key in ("images", "annotations"):
        merged = sorted(parts[0][key] + parts[1][key], key=lambda record: record["id"])
        assert merged == coco[key]
    assert [len(part["images"]) for part in parts] == [16, 4]
    for part in parts:
        assert {a["image_id"] for a in part["annotations"]} <= {i["id"] for i in part["images"]}
        assert [part[key] for key in ("licenses", "extra", "categories")] == [
            coco[key] for key in ("licenses", "extra", "categories")
        ]


def test_info_says_how_the_part_was_made(coco):
    _, archval = split_coco(coco, 4, seed=9, stratify=True, sources={"a.json": "0" * 64})
    assert archval["info"]["description"] == "mine"
    assert "Sechidis" in archval["info"]["split"].pop("method")
    assert archval["info"]["split"] == {
        "part": "archval",
        "images": 4,
        "images_divided": 20,
        "seed": 9,
        "sources": {"a.json": "0" * 64},
    }


def test_crowd_regions_do_not_count_as_their_category(coco):
    for annotation in coco["annotations"]:
        annotation["iscrowd"] = int(annotation["category_id"] == 7)
    with_crowd = split_coco(coco, 4, seed=2, stratify=True, sources={})
    coco["annotations"] = [a for a in coco["annotations"] if not a["iscrowd"]]
    without = split_coco(coco, 4, seed=2, stratify=True, sources={})
    assert with_crowd[1]["images"] == without[1]["images"]


def test_records_that_would_be_lost_are_refused(coco):
    coco["annotations"][0]["image_id"] = 99
    with pytest.raises(ValueError, match=r"1 annotations, the first with id 1.*prepare_dataset"):
        split_coco(coco, 0.2, seed=0, stratify=False, sources={})
    coco["images"][5]["id"] = 6
    with pytest.raises(ValueError, match="image id 6 occurs twice"):
        split_coco(coco, 0.2, seed=0, stratify=False, sources={})


def test_categories_without_objects_in_a_part_are_named(coco):
    part = {**coco, "annotations": [a for a in coco["annotations"] if a["category_id"] == 3]}
    assert missing_categories(part, [coco]) == ["b"]
    assert missing_categories(coco, [part]) == []


def test_writing_again_changes_nothing_and_another_content_is_refused(tmp_path):
    files = {tmp_path / "new" / "a.json": {"a": 1}, tmp_path / "b.yaml": "b: 1\n"}
    assert list(save_files(files).values()) == [True, True]
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"a": 1}
    assert list(save_files(files).values()) == [False, False]

    other = {tmp_path / "c.json": {}, tmp_path / "b.yaml": "b: 2\n"}
    with pytest.raises(FileExistsError, match=r"b\.yaml exists and differs.*--overwrite"):
        save_files(other)
    assert not (tmp_path / "c.json").exists(), "a refusal writes nothing at all"
    assert (tmp_path / "b.yaml").read_text() == "b: 1\n"
    save_files(other, overwrite=True)
    assert (tmp_path / "b.yaml").read_text() == "b: 2\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.yaml", "c.json", "new"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    save_files({path: {"a": 1}})

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_files({path: {"a": 2}}, overwrite=True)
    assert list(tmp_path.iterdir()) == [path] and json.loads(path.read_text()) == {"a": 1}


def test_digests_are_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c")
    assert sha256(tmp_path / "a", tmp_path / "b") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is not JSON"),
        ("[]", "holds list; expected COCO's lists images, annotations, categories"),
        ('{"images": []}', r"holds \['images'\]; expected"),
        (
            '{"images": [{"id": 1}], "annotations": [], "categories": []}',
            r"images\[0\] is \{'id': 1\}; expected an object with the keys file_name, id",
        ),
    ],
)
def test_a_file_that_is_not_coco_is_refused(tmp_path, text, words):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.json.*{words}"):
        read_coco(tmp_path / "a.json")
