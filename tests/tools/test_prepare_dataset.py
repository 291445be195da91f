import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import real_data
import toy
from detectron2.data import DatasetCatalog
from voc_toy import write_voc

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.data import check_disjoint
from crnas_d2.data.prepare.starter_configs import starter_configs
from crnas_d2.jobs import check_config

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture(scope="module")
def tool():
    path = toy.ROOT / "tools" / "prepare_dataset.py"
    spec = importlib.util.spec_from_file_location("prepare_dataset", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def coco(tmp_path):
    """``[json, images]`` of 20 images in two classes."""
    return toy.make_dataset(tmp_path, "source", 20, seed=1)[1:]


def sizes(folder):
    return {
        path.stem: len(json.loads(path.read_text())["images"])
        for path in (folder / "annotations").iterdir()
    }


def test_the_configs_load_and_say_what_the_data_has(tool, coco, tmp_path, capsys):
    folder = tmp_path / "out"
    before = Path(coco[0]).read_text()
    tool.main(["mine", "--coco", *coco, "--output", str(folder)])
    assert sizes(folder) == {"archtrain": 13, "archval": 3, "test": 4}
    assert Path(coco[0]).read_text() == before

    cfg = load_config(str(folder / "supernet.yaml"), [])
    check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == cfg.MODEL.RETINANET.NUM_CLASSES == 2
    assert cfg.MODEL.SUPERNET.SPACE == "stage"
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.ARCHVAL) == (("mine_archtrain",), ("mine_archval",))
    assert str(folder / "output" / "supernet") == cfg.OUTPUT_DIR
    check_disjoint("A", cfg.DATASETS.ARCHVAL, "B", (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))

    genotype = folder / "output" / "search" / "genotype.yaml"
    genotype.parent.mkdir(parents=True)
    genotype.write_text("MODEL:\n  GENOTYPE:\n    DEPTHS: [1, 3, 5, 7]\n")
    for name, depths in (("baseline", [3, 4, 6, 3]), ("searched", [1, 3, 5, 7])):
        cfg = load_config(str(folder / f"{name}.yaml"), [])
        check_config(cfg, ["TRAIN", "TEST"])
        assert depths == cfg.MODEL.GENOTYPE.DEPTHS
        assert cfg.DATASETS.TRAIN == ("mine_archtrain", "mine_archval")
        assert str(folder / "output" / name) == cfg.OUTPUT_DIR
    cfg = load_config(str(folder / "channels.yaml"), [])
    check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])
    assert cfg.MODEL.SUPERNET.SPACE == "channel" and "R-50" in cfg.MODEL.WEIGHTS
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.ARCHVAL) == (("mine_archtrain",), ("mine_archval",))
    space = NetworkSpec.from_config(cfg).channels
    channels = [[1] * conv.num_groups for conv in space.convs]
    genotype = folder / "output" / "channels" / "genotype.yaml"
    genotype.parent.mkdir(parents=True)
    space.genotype(channels).to_yaml(genotype, family="resnet", channel=space.to_config())
    for name, expected in (("pretrained", []), ("mixed", channels)):
        cfg = load_config(str(folder / f"{name}.yaml"), [])
        check_config(cfg, ["TRAIN", "TEST"])
        assert expected == cfg.MODEL.GENOTYPE.CHANNELS and "R-50" in cfg.MODEL.WEIGHTS
        assert cfg.DATASETS.TRAIN == ("mine_archtrain", "mine_archval")
    output = capsys.readouterr().out
    assert f"python train_net.py --config-file {folder}/supernet.yaml" in output
    assert f"python train_net.py --config-file {folder}/channels.yaml" in output
    assert f"MODEL.WEIGHTS {folder}/output/supernet/model_final.pth" in output


def test_the_schedule_follows_the_number_of_images(tool, coco, tmp_path):
    tool.main(["mine", "--coco", *coco, "--output", str(tmp_path / "out")])
    assert load_config(str(tmp_path / "out/supernet.yaml"), []).SOLVER.MAX_ITER == 5000
    texts = starter_configs(
        "big",
        {"archtrain": (tmp_path, tmp_path), "archval": (tmp_path, tmp_path)},
        num_classes=80,
        num_images={"archtrain": 113287, "archval": 5000},
        folder=tmp_path / "big",
        shipped=toy.ROOT,
    )
    (tmp_path / "big").mkdir()
    for path, text in texts.items():
        path.write_text(text)
    ours = load_config(str(tmp_path / "big" / "supernet.yaml"), [])
    paper = load_config(str(toy.ROOT / "configs" / "supernet-stage-R50.yaml"), [])
    assert ours.DATASETS.TEST == ()
    assert ours.SOLVER == paper.SOLVER, "COCO's own schedule for COCO's number of images"
    search = load_config(str(tmp_path / "big" / "channels.yaml"), []).SOLVER
    paper = load_config(str(toy.ROOT / "projects/NATS/configs/search/R50-G16.yaml"), []).SOLVER
    assert round(25 * 113287 / 16) == search.MAX_ITER
    assert search.BASE_LR / search.IMS_PER_BATCH == paper.BASE_LR / paper.IMS_PER_BATCH
    assert search.BASE_LR_END / search.IMS_PER_BATCH == paper.BASE_LR_END / paper.IMS_PER_BATCH
    assert search.LR_SCHEDULER_NAME == paper.LR_SCHEDULER_NAME == "WarmupCosineLR"


def test_running_again_changes_nothing_and_another_split_is_refused(tool, coco, tmp_path, capsys):
    folder = tmp_path / "out"
    command = ["mine", "--coco", *coco, "--output", str(folder)]
    tool.main(command)
    capsys.readouterr()
    tool.main(command)
    assert capsys.readouterr().out.count("exists already, identical") == 11
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match=r"exists and differs.*--overwrite"):
        tool.main([*command, "--seed", "1"])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    tool.main([*command, "--seed", "1", "--overwrite"])
    assert (folder / "annotations/archval.json").read_bytes() not in before.values()


def test_configs_that_the_user_edited_outlive_data_that_moves(tool, coco, tmp_path, capsys):
    folder = tmp_path / "out"
    tool.main(["mine", "--coco", *coco, "--output", str(folder)])
    edited = folder / "baseline.yaml"
    edited.write_text(edited.read_text().replace("BASE_LR: 0.02", "BASE_LR: 0.01"))
    before = {path: path.read_bytes() for path in folder.glob("*.yaml")}
    moved = str(tmp_path / "moved")
    os.rename(coco[1], moved)
    command = ["mine", "--coco", coco[0], moved, "--output", str(folder)]
    with pytest.raises(SystemExit, match=r"data\.yaml exists and differs"):
        tool.main(command)
    capsys.readouterr()
    tool.main([*command, "--overwrite"])
    assert f"kept: {edited}, which you may have edited" in capsys.readouterr().out
    changed = [path.name for path, content in before.items() if path.read_bytes() != content]
    assert changed == ["data.yaml"] and moved in (folder / "data.yaml").read_text()


def test_faults_are_reported_mended_and_recorded(tool, coco, tmp_path, capsys):
    content = json.loads(Path(coco[0]).read_text())
    content["annotations"][0]["bbox"][2] = 0
    content["annotations"][1]["id"] = 0
    (tmp_path / "faulty.json").write_text(json.dumps(content))
    folder = tmp_path / "out"
    tool.main(["mine", "--coco", str(tmp_path / "faulty.json"), coco[1], "--output", str(folder)])
    output = capsys.readouterr().out
    assert "zero-area boxes" in output and "renumbered" in output
    found = json.loads((folder / "annotation_report.json").read_text())["train"]
    assert found["zero-area boxes"]["done"] == "dropped"
    assert len(found["zero-area boxes"]["examples"]) == 1
    parts = [json.loads(path.read_text()) for path in (folder / "annotations").iterdir()]
    assert sum(len(part["annotations"]) for part in parts) == len(content["annotations"]) - 1
    assert all(part["info"]["checked"]["zero-area boxes"] == 1 for part in parts)


def test_faults_that_cannot_be_mended_write_nothing(tool, coco, tmp_path, capsys):
    os.remove(os.path.join(coco[1], "003.png"))
    with pytest.raises(SystemExit, match=r"Nothing was written; .*missing image files \(train\)"):
        tool.main(["mine", "--coco", *coco, "--output", str(tmp_path / "out")])
    assert "003.png" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_test_set_of_its_own_stays_whole_and_loses_its_images_elsewhere(tool, coco, tmp_path):
    _, test_json, test_images = toy.make_dataset(tmp_path, "own_test", 5, seed=9)
    twin = os.path.join(test_images, "002.png")
    with open(os.path.join(coco[1], "004.png"), "rb") as stream, open(twin, "wb") as target:
        target.write(stream.read())
    folder = tmp_path / "out"
    command = ["mine", "--coco", *coco, "--test", test_json, test_images, "--archval", "3"]
    tool.main([*command, "--output", str(folder)])
    assert sizes(folder) == {"archtrain": 16, "archval": 3, "test": 5}
    found = json.loads((folder / "annotation_report.json").read_text())["train"]
    assert found["images with the content of another"]["examples"] == ["004.png = 002.png in test"]


def test_no_test_set(tool, coco, tmp_path, capsys):
    tool.main(["mine", "--coco", *coco, "--test", "0", "--output", str(tmp_path / "out")])
    assert sizes(tmp_path / "out") == {"archtrain": 16, "archval": 4}
    cfg = load_config(str(tmp_path / "out" / "supernet.yaml"), [])
    check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])
    assert cfg.DATASETS.TEST == () and "compare_networks" not in capsys.readouterr().out


def test_voc_image_sets(tool, tmp_path):
    images = {f"i{n}": [("cat", 0, 1, 1, 30, 10 + n), ("dog", 0, 2, 2, 9, 9)] for n in range(12)}
    sets = {
        "test": ["i0", "i1"],
        "val": ["i2", "i3", "i4"],
        "trainval": [f"i{n}" for n in range(2, 9)],
    }
    voc = write_voc(tmp_path / "voc", images, sets)
    command = ["mine", "--voc", str(voc), "--test", "test", "--archval", "val", "--output"]
    tool.main([*command, str(tmp_path / "all")])
    assert sizes(tmp_path / "all") == {"archtrain": 7, "archval": 3, "test": 2}
    tool.main([*command, str(tmp_path / "set"), "--train", "trainval"])
    assert sizes(tmp_path / "set") == {"archtrain": 4, "archval": 3, "test": 2}
    cfg = load_config(str(tmp_path / "set" / "supernet.yaml"), [])
    check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])
    assert len(DatasetCatalog.get("mine_archtrain")) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a b", "--coco", "a", "b"], "expected letters, digits"),
        (
            ["coco_2017", "--coco", "a", "b"],
            "NAME is 'coco_2017', but this dataset exists already; choose another",
        ),
        (["mine", "--coco", "a", "b", "--train", "x"], "--train goes with --voc"),
        (["mine", "--coco", "a", "b", "--test", "1", "2", "3"], "expected a size or JSON IMAGES"),
        (["mine", "--voc", "a", "--test", "a", "b"], "expected a size or one image set"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tool, capsys, arguments, words):
    with pytest.raises(SystemExit):
        tool.main([*arguments, "--output", "out"])
    assert words in capsys.readouterr().err


def test_parts_with_other_categories_are_refused(tool, coco, tmp_path):
    content = json.loads(Path(coco[0]).read_text())
    content["categories"][0]["name"] = "other"
    (tmp_path / "other.json").write_text(json.dumps(content))
    command = ["mine", "--coco", *coco, "--test", str(tmp_path / "other.json"), "--output", "out"]
    with pytest.raises(SystemExit, match="have different categories"):
        tool.main(command)


def test_bccd_in_one_command(tool, tmp_path, capsys):
    folder = real_data.folder("bccd")
    tool.main(["bccd", "--voc", str(folder), "--test", "test", "--output", str(tmp_path / "out")])
    assert sizes(tmp_path / "out") == {"archtrain": 234, "archval": 58, "test": 72}
    assert "zero-area boxes" in capsys.readouterr().out
    check_config(
        load_config(str(tmp_path / "out" / "supernet.yaml"), []), ["TRAIN", "ARCHVAL", "TEST"]
    )


@pytest.mark.slow
def test_the_printed_commands_run(tool, coco, tmp_path, capsys):
    tool.main(["mine", "--coco", *coco, "--output", str(tmp_path / "out")])
    printed = re.findall("^  python (.*)", capsys.readouterr().out, re.MULTILINE)
    assert len(printed) == 9
    wide = {"MODEL.RESNETS.RES2_OUT_CHANNELS": 8, "MODEL.RESNETS.NORM": "BN"}
    tiny = toy.as_arguments(toy.TINY, wide)
    space = toy.as_arguments(toy.STAGE_SPACE, {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0})
    groups = ["MODEL.SUPERNET.CHANNEL.NUM_GROUPS", "4"]
    for line in printed:
        command = shlex.split(line)
        if "--config-file" in command:
            command += [*tiny, *(space if "supernet.yaml" in line else [])]
            command += groups if "channels.yaml" in line else []
            by_gradient = re.search("(channels|mixed|pretrained).yaml", line)
            command += ["MODEL.WEIGHTS", ""] if by_gradient else []  # not downloaded here
        run = subprocess.run(
            [sys.executable, *command], cwd=toy.ROOT, capture_output=True, text=True
        )
        assert run.returncode == 0, f"{line}\n{run.stderr}"
    for report in ("report.html", "channels.html"):
        assert (tmp_path / "out" / "output" / report).stat().st_size > 0
