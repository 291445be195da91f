import argparse
import hashlib
import importlib.util
import json

import pytest
import toy
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.data.datasets.pascal_voc import CLASS_NAMES
from voc_toy import write_voc

from crnas_d2.verbs import prepare_archval

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture(scope="module")
def tool():
    path = toy.ROOT / "tools" / "prepare_archval.py"
    spec = importlib.util.spec_from_file_location("prepare_archval", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_coco(file, image_ids):
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9} for i in image_ids]
    annotations = [
        {"id": 5 * i, "image_id": i, "category_id": 1 + i % 3, "bbox": [0, 0, 2, 2], "iscrowd": 0}
        for i in image_ids
    ]
    toy.write_json(file, images, annotations, [{"id": k, "name": "abc"[k - 1]} for k in (1, 2, 3)])
    return file


def ids(file):
    return [image["id"] for image in json.loads(file.read_text())["images"]]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path


def test_any_coco_file_is_divided(tool, tmp_path, capsys):
    source = write_coco(tmp_path / "mine.json", range(1, 31))
    content = source.read_bytes()
    command = ["--json", str(source), "--archval", "0.2", "--stratify", "--seed", "4"]
    tool.main(command)
    train, val = ids(tmp_path / "mine_archtrain.json"), ids(tmp_path / "mine_archval.json")
    assert sorted(train + val) == list(range(1, 31)) and len(val) == 6
    assert sorted(i % 3 for i in val) == [0, 0, 1, 1, 2, 2]
    assert source.read_bytes() == content
    split = json.loads((tmp_path / "mine_archval.json").read_text())["info"]["split"]
    assert split["sources"] == {"mine.json": hashlib.sha256(content).hexdigest()}
    assert (split["seed"], split["images"], split["images_divided"]) == (4, 6, 30)

    capsys.readouterr()
    tool.main(command)
    assert capsys.readouterr().out.count("exists already, identical") == 2
    with pytest.raises(SystemExit, match=r"mine_archtrain\.json exists and differs.*--overwrite"):
        tool.main([*command[:-1], "5"])
    assert ids(tmp_path / "mine_archval.json") == val
    tool.main([*command[:-1], "5", "--overwrite"])
    assert ids(tmp_path / "mine_archval.json") != val


def make_images(folder, image_ids, twins):
    """An image per id; those of each group of twins have the same content."""
    folder.mkdir(parents=True)
    first = {i: min(group) for group in twins for i in group}
    for i in image_ids:
        (folder / f"{i}.jpg").write_bytes(b"image %d" % first.get(i, i) + 5000 * b"0")


@pytest.mark.parametrize("stratify", [(), ("--stratify",)])
def test_images_of_the_same_content_stay_in_archtrain(tool, tmp_path, capsys, stratify):
    source = write_coco(tmp_path / "mine.json", range(1, 31))
    twins = [{1, 2}, {3, 9, 27}, {29, 30}]
    make_images(tmp_path / "images", range(1, 31), twins)
    images = ("--images", str(tmp_path / "images"))
    command = ["--json", str(source), "--archval", "20", *stratify]
    tool.main([*command, *images])
    assert "7 images have the content of another one" in capsys.readouterr().out
    archval = ids(tmp_path / "mine_archval.json")
    assert len(archval) == 20 and not set.union(*twins) & set(archval)
    assert len(ids(tmp_path / "mine_archtrain.json")) == 10
    with pytest.raises(SystemExit, match="25 of 30 images cannot be held out: 7 have the content"):
        tool.main([*command, *images, "--archval", "25"])
    # Without them, the split is that of the image ids, whose twins may be on both sides.
    tool.main([*command, "--output", str(tmp_path / "not compared")])
    assert "Images are not compared: --images" in capsys.readouterr().out


def test_the_presets_compare_the_images_that_are_there(tool, root, capsys):
    write_coco(root / "coco/annotations/instances_train2017.json", range(1, 31))
    make_images(root / "coco/train2017", range(1, 31), [{4, 5}])
    tool.main(["--preset", "coco2017", "--archval", "28"])
    assert "2 images have the content" in capsys.readouterr().out
    assert ids(root / "coco/annotations/instances_archtrain2017.json") == [4, 5]
    (root / "coco/train2017/7.jpg").unlink()
    with pytest.raises(SystemExit, match=r"train2017/7\.jpg cannot be read"):
        tool.main(["--preset", "coco2017", "--archval", "28"])


def test_categories_that_archval_lacks_are_named(tool, tmp_path, capsys):
    source = write_coco(tmp_path / "mine.json", range(1, 31))
    tool.main(["--json", str(source), "--archval", "1", "--output", str(tmp_path / "new")])
    assert "not scored by a search" in capsys.readouterr().out
    assert len(ids(tmp_path / "new" / "mine_archval.json")) == 1


def test_the_preset_of_coco_writes_what_the_names_stand_for(tool, root):
    write_coco(root / "coco/annotations/instances_train2017.json", range(1, 31))
    with pytest.raises(SystemExit, match="5000 of 30 images cannot be held out"):
        tool.main(["--preset", "coco2017"])
    tool.main(["--preset", "coco2017", "--archval", "5"])
    registered = MetadataCatalog.get("coco_2017_archval").json_file
    assert registered.endswith("coco/annotations/instances_archval2017.json")
    assert len(ids(root / "coco/annotations/instances_archval2017.json")) == 5
    assert len(ids(root / "coco/annotations/instances_archtrain2017.json")) == 25


def test_the_preset_of_voc_joins_both_years(tool, root):
    for year in ("2007", "2012"):
        # Both years have an image of the same name, as far as anyone knows.
        images = {f"{n:06d}": [("cat", n % 2, 1, 1, 20, 20 + n)] for n in range(10)}
        write_voc(root / f"VOC{year}", images, {"trainval": list(images)})
    tool.main(["--preset", "voc0712", "--archval", "0.25"])
    loaded = [
        load_coco_json(str(root / "voc_0712" / f"instances_{part}.json"), str(root))
        for part in ("archtrain", "archval")
    ]
    assert [len(part) for part in loaded] == [15, 5]
    files = {image["file_name"] for part in loaded for image in part}
    assert len(files) == 20 and str(root / "VOC2012/JPEGImages/000003.jpg") in files
    archval = json.loads((root / "voc_0712" / "instances_archval.json").read_text())
    assert [category["name"] for category in archval["categories"]] == list(CLASS_NAMES)
    assert len(archval["info"]["split"]["sources"]) == 4


def test_the_preset_of_nats_selects_the_images_of_val2017(tool, root, capsys):
    folder = root / "coco/annotations"
    write_coco(folder / "instances_val2014.json", range(1, 31))
    write_coco(folder / "instances_val2017.json", [2, 3, 5, 7])
    tool.main(["--preset", "nats-coco2014"])
    assert ids(folder / "instances_minival2014.json") == [2, 3, 5, 7]
    assert len(ids(folder / "instances_valminusminival2014.json")) == 26

    # The published file has the same images, but other bytes: it stays.
    published = write_coco(folder / "instances_minival2014.json", [7, 5, 3, 2])
    tool.main(["--preset", "nats-coco2014"])
    assert "with these 4 images" in capsys.readouterr().out
    assert ids(published) == [7, 5, 3, 2]
    write_coco(folder / "instances_minival2014.json", [7, 5])
    with pytest.raises(SystemExit, match=r"minival2014\.json exists and differs"):
        tool.main(["--preset", "nats-coco2014"])
    write_coco(folder / "instances_val2017.json", [2, 99])
    with pytest.raises(SystemExit, match="has 2 images, 1 of them in instances_val2014"):
        tool.main(["--preset", "nats-coco2014"])


def test_the_command_in_the_metadata_is_one_that_the_tool_has():
    parser = argparse.ArgumentParser()
    prepare_archval.add_arguments(parser)
    for name in ("coco_2017_archval", "voc_0712_archval", "coco_2014_minival"):
        command = MetadataCatalog.get(name).made_by.split()
        assert command[:2] == ["python", "tools/prepare_archval.py"]
        assert parser.parse_args(command[2:]).preset == command[-1]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], "required"),
        (["--json", "a.json"], "needs --archval"),
        (["--preset", "nats-coco2014", "--seed", "1"], "is a fixed list"),
        (["--preset", "coco2017", "--output", "x"], "--output goes with --json"),
        (["--preset", "voc0712", "--images", "x"], "--images goes with --json"),
        (["--json", "a.json", "--archval", "3", "--images", "x"], "--images is x, which is no"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tool, capsys, command, words):
    with pytest.raises(SystemExit):
        tool.main(command)
    assert words in capsys.readouterr().err


def test_a_missing_source_is_named(tool, root):
    with pytest.raises(SystemExit, match=r"prepare_archval\.py: .*train2017\.json cannot be read"):
        tool.main(["--preset", "coco2017"])
    with pytest.raises(SystemExit, match="VOC2007 is not a VOC folder"):
        tool.main(["--preset", "voc0712"])
