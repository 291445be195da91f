"""What prepare asks before it writes anything: classes, copies in other parts, rare classes."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image

from crnas_d2.data.annotations.part import Part
from crnas_d2.verbs.main import main
from crnas_d2.verbs.prepare import chains
from crnas_d2.verbs.prepare.look import write_look
from crnas_d2.verbs.prepare.parts import check_parts, divide, divide_folds
from crnas_d2.verbs.prepare.read_parts import change_classes, merged

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "Cat "}]


def make_part(folder, names, seed=0):
    """Photographs, each with one object, of the classes in turns."""
    generator = np.random.default_rng(seed)
    images, annotations = [], []
    for n, name in enumerate(names, start=1):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(file)
        images.append({"id": n, "file_name": name, "width": 64, "height": 64})
        annotations.append(
            {"id": n, "image_id": n, "category_id": CATEGORIES[n % 2]["id"]}
            | {"bbox": [n, 5, 20, 20], "area": 400, "iscrowd": 0}
        )
    coco = {"images": images, "annotations": annotations, "categories": CATEGORIES[:2]}
    return Part(coco, folder, {"a.json": "0"})


def names_of(part):
    return [category["name"] for category in part.coco["categories"]]


def ids_of(part):
    return [a["category_id"] for a in part.coco["annotations"]]


@pytest.mark.parametrize(
    ("changes", "names", "ids"),
    [
        ({}, ["cat", "dog", "Cat "], [7, 3, 7, 9]),
        ({"Cat ": "cat"}, ["cat", "dog"], [7, 3, 7, 3]),
        ({"cat": "pet", "dog": "pet"}, ["pet", "Cat "], [3, 3, 3, 9]),
        ({"dog": ""}, ["cat", "Cat "], [3, 9]),
    ],
)
def test_classes_are_renamed_merged_and_dropped(tmp_path, changes, names, ids):
    part = make_part(tmp_path, ["1.png", "2.png", "3.png", "4.png"])
    part.coco["categories"] = CATEGORIES
    part.coco["annotations"][3]["category_id"] = 9
    changed = change_classes({"train": part}, changes)["train"]
    assert names_of(changed) == names and ids_of(changed) == ids
    assert ids_of(part) == [7, 3, 7, 9], "the source stays as it is"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cta": "x"}, "'cta', which is no class. Did you mean cat"),
        ({"cat": "", "dog": ""}, "drops all classes: cat, dog"),
    ],
)
def test_changes_of_classes_that_say_nothing_are_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        change_classes({"train": make_part(tmp_path, ["1.png"])}, changes)


def test_classes_of_one_name_are_left_to_the_check(tmp_path):
    part = make_part(tmp_path, ["1.png", "2.png"])
    part.coco["categories"] = [{"id": 3, "name": "a"}, {"id": 7, "name": "a"}, CATEGORIES[2]]
    for changes in ({}, {"Cat ": "cat"}):
        assert names_of(change_classes({"train": part}, changes)["train"])[:2] == ["a", "a"]


@pytest.mark.parametrize(
    ("count", "sizes", "iscrowd", "words"),
    [
        (2, ("test", "archval"), 0, "2 images are .* for archtrain and test and archval.*--test 0"),
        (0, (), 0, "No image is left in train: all were dropped"),
        (4, ("archval",), 1, "archtrain has 3 images, and no object to train on"),
    ],
)
def test_too_little_to_train_on_is_refused(tmp_path, count, sizes, iscrowd, words):
    part = make_part(tmp_path, [f"{n}.png" for n in range(count)])
    for annotation in part.coco["annotations"]:
        annotation["iscrowd"] = iscrowd
    parts, _, groups = check_parts({"train": part})
    with pytest.raises(ValueError, match=words):
        divide(parts, [(name, None) for name in sizes], 0, groups)
    if parts["train"].num_images:
        with pytest.raises(ValueError, match=rf"--folds is 9; expected .* images, {count}"):
            divide_folds(parts["train"], 9, [], 0, groups)


def test_parts_of_a_folder_become_one(tmp_path):
    first = make_part(tmp_path, ["a/1.png", "a/2.png"])
    first.findings["ids written as text or decimals"] = ["a"]
    second = make_part(tmp_path, ["b/1.png", "b/2.png", "b/3.png"], seed=1)
    second.findings["ids written as text or decimals"] = ["b"]
    part = merged([first, second])
    images = {image["id"]: image["file_name"] for image in part.coco["images"]}
    assert sorted(images) == [1, 2, 3, 4, 5]
    assert [images[a["image_id"]] for a in part.coco["annotations"]] == [
        *("a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/3.png")
    ]
    assert [a["id"] for a in part.coco["annotations"]] == [1, 2, 3, 4, 5]
    assert part.findings == {"ids written as text or decimals": ["a", "b"]}
    assert merged([first]).coco == first.coco


def copy_of(photo, n):
    return f"p{photo}_jpg.rf.{hashlib.md5(f'{photo} {n}'.encode()).hexdigest()}.png"


def test_copies_of_a_photograph_go_to_one_part_and_are_counted(tmp_path):
    names = [copy_of(photo, n) for photo in range(20) for n in range(3)]
    parts, reports, groups = check_parts({"train": make_part(tmp_path, names)})
    assert reports["train"].refused == []
    assert groups.counts == {"copies of one image, by name": 60}
    divided = divide(parts, [("test", 0.2), ("archval", 0.2)], 0, groups)
    photographs = {
        name: {image["file_name"].split("_")[0] for image in part.coco["images"]}
        for name, part in divided.items()
    }
    assert sum(map(len, photographs.values())) == 20
    assert [len(divided[n].coco["images"]) for n in ("test", "archval")] == [12, 9]


def test_copies_of_images_in_another_part_are_dropped_and_counted(tmp_path):
    test = make_part(tmp_path, [copy_of(n, 0) for n in range(4)])
    train = make_part(tmp_path, [copy_of(n, 1) for n in range(2, 9)], seed=1)
    alike = Image.open(tmp_path / copy_of(0, 0)).resize((48, 48))
    alike.resize((64, 64)).save(tmp_path / copy_of(8, 1))  # of another name
    parts, reports, _ = check_parts({"test": test, "train": train})
    found = reports["train"].findings["images like one of another part"]
    assert len(found) == 3 and f"{copy_of(8, 1)} ~ {copy_of(0, 0)} in test" in found
    assert parts["train"].num_images == 4 and parts["test"].num_images == 4


def test_frames_of_one_video_in_two_parts_are_asked(tmp_path):
    test = make_part(tmp_path, ["v_frame_1.png", "v_frame_2.png"])
    train = make_part(tmp_path, ["v_frame_3.png", "v_frame_4.png", "x.png"], seed=1)
    for accepted in ([], ["shared-groups"]):
        parts, reports, _ = check_parts({"test": test, "train": train}, accepted=accepted)
        kind = "images of a video or group of another part"
        assert reports["train"].counts()[kind] == 2
        assert reports["train"].refused == ([] if accepted else [kind])
        assert parts["train"].num_images == 3
    assert parts["train"].coco["info"]["accepted"] == ["shared-groups"]


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize("empty", ["test", "archval", "train"])
def test_a_part_without_an_object_is_refused(tmp_path, empty, crowd):
    names = ("test", "archval", "train")
    parts = {
        name: make_part(tmp_path / name, ["1.png", "2.png"], n) for n, name in enumerate(names)
    }
    if crowd:
        for annotation in parts[empty].coco["annotations"]:
            annotation["iscrowd"] = 1
    else:
        parts[empty].coco["annotations"] = []
    _, reports, _ = check_parts(parts, accepted=["rare-classes"])
    refused = {name: report.refused for name, report in reports.items()}
    expected = {name: ["parts without an object"] if name == empty else [] for name in names}
    assert refused == expected


@pytest.mark.parametrize(
    "box", [[-3, 5, 20, 20], [5, -3, 20, 20], [50, 5, 20, 20], [5, 50, 20, 20]]
)
def test_boxes_that_leave_their_images_on_any_side_are_asked(tmp_path, box):
    part = make_part(tmp_path, [f"{n}.png" for n in range(8)])
    for n, annotation in enumerate(part.coco["annotations"]):
        annotation["bbox"] = box if n % 2 else [40, 40, 20, 20]
    _, reports, _ = check_parts({"train": part})
    assert reports["train"].refused == ["files most of whose boxes leave their images"]


def test_classes_of_one_object_in_all_parts_are_asked(tmp_path):
    test = make_part(tmp_path, ["1.png"])
    train = make_part(tmp_path, ["2.png", "3.png", "4.png"], seed=1)
    train.coco["annotations"][1]["category_id"] = 7
    *_, reports, _ = check_parts({"test": test, "train": train})
    assert reports["train"].refused == ["categories with at most one object"]
    assert reports["train"].findings["categories with at most one object"] == ["cat (objects: 0)"]
    *_, reports, _ = check_parts({"test": test, "train": train}, accepted=["rare-classes"])
    assert reports["train"].refused == []


@pytest.fixture
def source(tmp_path):
    """JSON file and folder of a dataset of 20 images."""
    part = make_part(tmp_path / "images", [f"{n}.png" for n in range(20)])
    (tmp_path / "a.json").write_text(json.dumps(part.coco))
    return [str(tmp_path / "a.json"), str(tmp_path / "images")]


def spoil(source):
    """One object twice."""
    content = json.loads(Path(source[0]).read_text())
    content["annotations"].append({**content["annotations"][0], "id": 99})
    Path(source[0]).write_text(json.dumps(content))


def test_a_check_alone_writes_a_page_and_has_an_exit_status(source, tmp_path, capsys):
    command = ["prepare", "mine", "--coco", *source, "--check"]
    main(command)
    assert "Nothing is refused" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    spoil(source)
    with pytest.raises(SystemExit, match=r"No dataset was written; .*objects that occur twice"):
        main([*command, "--output", str(tmp_path / "out")])
    assert "--accept repeated-boxes" in " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "out" / "look.html").read_text()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["look.html"]
    for words in ("objects that occur twice", "annotation 99 of 0.png", "cat (10)", "dog (11)"):
        assert words in page
    main([*command, "--accept", "repeated-boxes"])


def test_the_page_shows_parts_with_boxes_of_text_and_with_twins(tmp_path):
    part = make_part(tmp_path, ["1.png", "2.png", "3.png", "4.png"])
    part.coco["annotations"][0]["bbox"] = ["1", "2", "", "4"]
    for name in ("2.png", "3.png"):
        (tmp_path / "4.png").write_bytes((tmp_path / name).read_bytes())
    parts, reports, _ = check_parts({"train": part})
    write_look(tmp_path / "look.html", "mine", parts, reports)
    assert "boxes that are not 4 finite numbers" in (tmp_path / "look.html").read_text()


def test_what_is_accepted_is_recorded_and_not_refused_in_use(source, tmp_path, monkeypatch):
    monkeypatch.setattr(chains, "measure_speed", lambda cfg, timed: None)
    monkeypatch.setattr("crnas_d2.verbs.prepare.print_estimates", lambda *_, **__: None)
    content = json.loads(Path(source[0]).read_text())
    for annotation in content["annotations"]:
        annotation.update(bbox=[9, 9, 40, 50], area=31 * 41)
    Path(source[0]).write_text(json.dumps(content))
    command = ["prepare", "mine", "--coco", *source, "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="look like two corners"):
        main(command)
    main([*command, "--accept", "corner-boxes"])
    from crnas_d2.data.datasets.files_in_use import check_annotation_file

    file = tmp_path / "out" / "annotations" / "archtrain.json"
    check_annotation_file("DATASETS.TRAIN", file)
    content = json.loads(file.read_text())
    assert content["info"].pop("accepted") == ["corner-boxes"]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="look like two corners"):
        check_annotation_file("DATASETS.TRAIN", file)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected one of FOLDER, --coco JSON IMAGES and --voc FOLDER"),
        (["x", "--voc", "y"], "expected one of FOLDER"),
        (["x"], "--output DIR is needed, unless"),
        (["x", "--check", "--class", "a"], "--class is 'a'; expected OLD=NEW"),
        (["x", "--check", "--class", "a=b", "--class", "a=c"], "--class names 'a' twice"),
        (["x", "--check", "--accept", "a"], "invalid choice: 'a'"),
        (["x", "--check", "--folds", "1"], "--folds is 1; expected 2 or more"),
        (["x", "--check", "--folds", "3", "--test", "9"], "--folds tests every image once"),
        (["x", "--check", "--weights-config", "a"], "--weights-config goes with --weights"),
    ],
)
def test_arguments_that_do_not_fit_each_other(arguments, words, capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "mine", *arguments])
    assert words in capsys.readouterr().err


def test_toy_images_are_no_copies_of_each_other(tmp_path):
    _, file, root = toy.make_dataset(tmp_path, "source", 20, seed=1)
    part = Part(json.loads(Path(file).read_text()), Path(root), {})
    assert check_parts({"train": part})[2].counts == {}


def deep(file):
    Image.fromarray((np.arange(64 * 64).reshape(64, 64) + 50).astype(np.uint16)).save(file)


def in_alpha(file):
    image = Image.new("RGBA", (64, 64), "black")
    image.putalpha(Image.linear_gradient("L").resize((64, 64)))
    image.save(file)


def not_opaque(file):
    image = Image.open(file).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((64, 64)))
    image.save(file)


def several_pages(file):
    image = Image.open(file)
    image.save(file, format="TIFF", save_all=True, append_images=[image.rotate(90)])


PIXELS = {
    "16 bits": (deep, "images of more than 8 bits per channel", "0.png (values from 50 to 4145)"),
    "in alpha": (in_alpha, "images whose picture is in the alpha channel", "0.png"),
    "not opaque": (not_opaque, "images with pixels that are not opaque", "0.png"),
    "pages": (several_pages, "images with further pages", "0.png (2)"),
}


@pytest.mark.parametrize(("spoil", "kind", "where"), PIXELS.values(), ids=PIXELS)
def test_pixels_that_a_network_would_not_see_are_named(tmp_path, spoil, kind, where):
    part = make_part(tmp_path, [f"{n}.png" for n in range(4)])
    spoil(tmp_path / "0.png")
    _, reports, _ = check_parts({"train": part})
    assert reports["train"].findings[kind] == [where]
    assert (kind in reports["train"].refused) == (spoil in (deep, in_alpha))


def test_thin_images_are_dropped(tmp_path):
    part = make_part(tmp_path, [f"{n}.png" for n in range(6)])
    Image.new("RGB", (2000, 4)).save(tmp_path / "0.png")
    part.coco["images"][0] |= {"width": 2000, "height": 4}
    part.coco["annotations"][0]["bbox"] = [9, 1, 20, 2]
    parts, reports, _ = check_parts({"train": part})
    assert reports["train"].counts() == {"images that are too thin to be resized": 1}
    assert parts["train"].num_images == 5


def test_a_depth_range_admits_deep_images_and_is_recorded(source, tmp_path, monkeypatch):
    monkeypatch.setattr("crnas_d2.verbs.prepare.print_estimates", lambda *_, **__: None)
    deep(tmp_path / "images" / "0.png")
    command = ["prepare", "mine", "--coco", *source, "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="images of more than 8 bits per channel"):
        main(command)
    main([*command, "--depth-range", "50", "4145"])
    detector = (tmp_path / "out" / "detector.yaml").read_text()
    assert "DEPTH_RANGE: [50.0, 4145.0]" in detector


def test_folds_test_each_image_once_and_keep_copies_together(tmp_path):
    names = [copy_of(photo, n) for photo in range(10) for n in range(3)]
    parts, _, groups = check_parts({"train": make_part(tmp_path, names)})
    folds = divide_folds(parts["train"], 3, [("archval", None)], 0, groups)
    sets = [
        {part: {i["file_name"] for i in its.coco["images"]} for part, its in fold.items()}
        for fold in folds
    ]
    assert sorted(name for fold in sets for name in fold["test"]) == sorted(names)
    for fold in sets:
        assert 6 <= len(fold["test"]) <= 15
        assert sorted(set().union(*fold.values())) == sorted(names)
        groups_of = [{name.split("_")[0] for name in its} for its in fold.values()]
        assert len(set().union(*groups_of)) == sum(map(len, groups_of)), "copies in two parts"


@pytest.mark.parametrize("folds", [0, 2])
def test_a_script_runs_what_is_left(source, tmp_path, monkeypatch, folds):
    monkeypatch.setattr("crnas_d2.verbs.prepare.print_estimates", lambda *_, **__: None)
    out = tmp_path / "out"
    flags = ["--folds", str(folds)] if folds else []
    main(["prepare", "mine", "--coco", *source, "--output", str(out), *flags])
    folder = out / "fold2" if folds else out
    assert (folder / "annotations" / "test.json").exists() == (folder / "run.sh").exists() is True
    data = (folder / "data.yaml").read_text()
    assert f"mine_{'fold2_' if folds else ''}archtrain" in data
    log, stub = tmp_path / "log", tmp_path / "bin" / "python"
    stub.parent.mkdir()
    stub.write_text('#!/bin/bash\necho "$@" >> "$LOG"\n')
    stub.chmod(0o755)
    for file in ("search/search.db", "baseline/model_final.pth"):
        (folder / "output" / file).parent.mkdir(parents=True)
        (folder / "output" / file).touch()
    settings = {**os.environ, "LOG": str(log), "PATH": f"{stub.parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", str(folder / "run.sh")], env=settings, check=True)
    done = log.read_text().splitlines()
    assert [Path(line.split("--config-file ")[1].split()[0]).stem for line in done[:3]] == [
        *("search", "found", "finetuned")
    ]
    assert [line.endswith("--resume") for line in done[:3]] == [True, False, False]
    assert "compare" in done[3] and done[3].endswith("--overwrite")
