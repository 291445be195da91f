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
import torch
import toy
from detectron2.data import DatasetCatalog
from voc_toy import write_voc

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import body_cost
from crnas_d2.data import check_disjoint
from crnas_d2.engine import Trainer
from crnas_d2.engine.checks import check_config
from crnas_d2.engine.measured_speed import measure_speed
from crnas_d2.space import Genotype
from crnas_d2.verbs.main import main
from crnas_d2.verbs.prepare import chains
from crnas_d2.verbs.prepare.recipe import BASE

# Overrides for a search.yaml whose detector has not been trained yet.
UNTRAINED = ["MODEL.WEIGHTS", "", "MODEL.INHERIT", "False"]
# What finds the packages of weights; patched, none is installed.
NO_LITE = "crnas_d2.config.installation.find_spec"
# A body of bottleneck blocks small enough for a test, and images to match.
BOTTLENECK = {
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
    "INPUT.MIN_SIZE_TRAIN": (toy.SIZE,),
    "INPUT.MIN_SIZE_TEST": toy.SIZE,
}
SHORT = {
    "SOLVER.MAX_ITER": 4,
    "SOLVER.IMS_PER_BATCH": 2,
    "SEARCH.BN_CALIBRATION.NUM_IMAGES": 4,
}
pytestmark = pytest.mark.usefixtures("registered", "untimed")


@pytest.fixture(scope="module")
def tool():
    path = toy.ROOT / "tools" / "prepare_dataset.py"
    spec = importlib.util.spec_from_file_location("prepare_dataset", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def untimed(monkeypatch):
    """No steps are timed, for speed."""
    monkeypatch.setattr(chains, "measure_speed", lambda cfg, timed: measure_speed(cfg, timed=False))


@pytest.fixture
def coco(tmp_path):
    """``[json, images]`` of 20 images in two classes."""
    return toy.make_dataset(tmp_path, "source", 20, seed=1)[1:]


def sizes(folder):
    return {
        path.stem: len(json.loads(path.read_text())["images"])
        for path in (folder / "annotations").iterdir()
    }


@pytest.mark.parametrize(
    ("family", "depths"),
    [("resnet", (1, 3, 5, 2)), ("efficientnet_lite", (1, 1, 1, 2, 2, 3, 3, 1, 1))],
)
def test_the_configs_load_and_say_what_the_data_has(
    family, depths, tool, coco, tmp_path, capsys, monkeypatch
):
    if family == "resnet":
        monkeypatch.setattr(NO_LITE, lambda name: None)
    folder = tmp_path / "out"
    before = Path(coco[0]).read_text()
    tool.main(["mine", "--coco", *coco, "--output", str(folder)])
    assert sizes(folder) == {"archtrain": 11, "archval": 5, "test": 4}
    assert Path(coco[0]).read_text() == before

    parts = {"baseline": ("archtrain",), "search": ("archtrain",)}
    parts |= dict.fromkeys(("finetuned", "found"), ("archtrain", "archval"))
    genotype = folder / "output" / "search" / "genotype.yaml"
    genotype.parent.mkdir(parents=True)
    Genotype(depths).to_yaml(genotype, family=family)
    (folder / "output" / "baseline").mkdir()
    (folder / "output" / "baseline" / "model_final.pth").touch()
    found = {}
    for name, trained in parts.items():
        cfg = found[name] = load_config(str(folder / f"{name}.yaml"), [])
        check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])
        assert tuple(f"mine_{part}" for part in trained) == cfg.DATASETS.TRAIN
        assert cfg.DATASETS.TEST == ("mine_test",)
        assert str(folder / "output" / name) == cfg.OUTPUT_DIR
        assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == cfg.MODEL.RETINANET.NUM_CLASSES == 2
        assert cfg.SEED == 1 and cfg.SOLVER.REFERENCE_WORLD_SIZE == 1
        assert cfg.INPUT.MIN_SIZE_TEST == cfg.INPUT.MAX_SIZE_TEST == toy.SIZE
        assert cfg.SEARCH.COST_INPUT_SIZE == [toy.SIZE, toy.SIZE]
    check_disjoint("A", ("mine_archval",), "B", ("mine_archtrain", "mine_test"))
    assert found["search"].DATASETS.ARCHVAL == ("mine_archval",)
    assert list(depths) == found["found"].MODEL.GENOTYPE.DEPTHS
    outputs = folder / "output"
    assert str(outputs / "baseline" / "model_final.pth") == found["search"].MODEL.WEIGHTS
    assert str(outputs / "baseline" / "model_final.pth") == found["finetuned"].MODEL.WEIGHTS
    assert found["found"].MODEL.WEIGHTS == found["finetuned"].MODEL.WEIGHTS
    assert found["found"].MODEL.INHERIT
    assert found["found"].SOLVER == found["finetuned"].SOLVER

    assert family == found["baseline"].MODEL.SUPERNET.FAMILY
    detector = body_cost(NetworkSpec.from_config(found["baseline"]), (toy.SIZE, toy.SIZE)).macs
    least, most = found["search"].SEARCH.BUDGET.MACS
    assert least < most == round(0.65 * detector)
    output = capsys.readouterr().out
    assert f"python train_net.py --config-file {folder}/baseline.yaml" in output
    assert f"python search_net.py --config-file {folder}/search.yaml" in output


def test_the_plan_says_what_each_step_takes(tool, coco, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()  # untimed
    tool.main(["mine", "--coco", *coco, "--output", str(tmp_path / "out")])
    rows = re.findall(
        r"^  (\w+) +(.*?)  +([\d.]+ \w+) +([\d.]+ .iB) +([\d.]+ .iB)$",
        capsys.readouterr().out,
        re.MULTILINE,
    )
    assert [row[0] for row in rows] == ["baseline", "search", "found", "finetuned", "all"]
    cfg = load_config(str(tmp_path / "out" / "baseline.yaml"), [])
    solver = cfg.SOLVER
    assert rows[0][1] == f"{solver.MAX_ITER:,} iterations of {solver.IMS_PER_BATCH} images"
    assert re.fullmatch(r"\d+ candidates on 5 images", rows[1][1])


def test_without_the_gpu_that_was_asked_for_times_are_unknown(tool, coco, tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    command = ["mine", "--coco", *coco, "--output", str(tmp_path / "out"), "--device", "gpu"]
    tool.main(command)
    output = capsys.readouterr().out
    assert "Times are unknown, because this machine has no GPU" in output
    assert re.search(r"^  all +unknown +unknown +[\d.]+ GiB$", output, re.MULTILINE)
    cfg = load_config(str(tmp_path / "out" / "baseline.yaml"), [])
    assert "torchvision/R-50" in cfg.MODEL.WEIGHTS and cfg.INPUT.FORMAT == "RGB"
    assert "--weights FILE" in output and cfg.MODEL.WEIGHTS in output


def test_own_weights_are_what_all_configs_start_from(tool, coco, tmp_path, capsys, monkeypatch):
    cfg = load_config(BASE, ["MODEL.RESNETS.DEPTH", "50", "MODEL.DEVICE", "cpu"])
    body = Trainer.build_model(cfg).backbone.bottom_up.state_dict()
    weights = {"model": {f"backbone.bottom_up.{name}": value for name, value in body.items()}}
    said = {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_STD": [1.0, 2.0, 3.0]}
    file = tmp_path / "R50.pth"
    torch.save({**weights, "network": said}, file)
    flags = ["--coco", *coco, "--device", "gpu"]
    monkeypatch.chdir(tmp_path)
    tool.main(["mine", *flags, "--weights", "R50.pth", "--output", str(tmp_path / "out")])
    assert "downloaded" not in capsys.readouterr().out
    cfg = load_config(str(tmp_path / "out" / "baseline.yaml"), [])
    check_config(cfg, ["TRAIN", "TEST"])
    assert str(file) == cfg.MODEL.WEIGHTS
    assert (cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_STD) == ("BGR", [1.0, 2.0, 3.0])

    torch.save({"model": {"stem.conv1.weight": torch.ones(1)}, "network": said}, file)
    before = set(tmp_path.rglob("*"))
    for path, words in ((file, "no tensor of the backbone fits"), ("none.pth", "does not exist")):
        with pytest.raises(SystemExit, match=words):
            tool.main(["other", *flags, "--weights", str(path), "--output", str(tmp_path / "new")])
    assert set(tmp_path.rglob("*")) == before


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
    edited.write_text(edited.read_text() + "VERSION: 2\n")
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


def test_another_preset_replaces_what_the_user_has_not_edited(tool, coco, tmp_path, capsys):
    folder = tmp_path / "out"
    command = ["mine", "--coco", *coco, "--output", str(folder)]
    tool.main(command)
    quick = load_config(str(folder / "baseline.yaml"), [])
    edited = folder / "finetuned.yaml"
    edited.write_text(edited.read_text() + "VERSION: 2\n")
    capsys.readouterr()
    tool.main([*command, "--preset", "standard"])
    standard = load_config(str(folder / "baseline.yaml"), [])
    assert standard.MODEL.FPN.OUT_CHANNELS > quick.MODEL.FPN.OUT_CHANNELS
    assert standard.SOLVER.MAX_ITER > quick.SOLVER.MAX_ITER
    output = capsys.readouterr().out
    assert output.count("kept: ") == 1 and f"kept: {edited}, which you may have edited" in output


def test_faults_are_reported_mended_and_recorded(tool, coco, tmp_path, capsys):
    content = json.loads(Path(coco[0]).read_text())
    content["annotations"][0]["bbox"][2] = 0
    content["annotations"][1]["id"] = 0
    (tmp_path / "faulty.json").write_text(json.dumps(content))
    folder = tmp_path / "out"
    tool.main(["mine", "--coco", str(tmp_path / "faulty.json"), coco[1], "--output", str(folder)])
    output = capsys.readouterr().out
    assert "boxes without area" in output and "numbered from 1" in output
    found = json.loads((folder / "annotation_report.json").read_text())["train"]
    assert found["boxes without area"]["done"] == "dropped"
    assert len(found["boxes without area"]["examples"]) == 1
    parts = [json.loads(path.read_text()) for path in (folder / "annotations").iterdir()]
    assert sum(len(part["annotations"]) for part in parts) == len(content["annotations"]) - 1
    assert all(part["info"]["checked"]["boxes without area"] == 1 for part in parts)


def test_faults_that_cannot_be_mended_write_their_page_alone(tool, coco, tmp_path, capsys):
    os.remove(os.path.join(coco[1], "003.png"))
    with pytest.raises(
        SystemExit, match=r"No dataset was .*image files that are missing \(train\)"
    ):
        tool.main(["mine", "--coco", *coco, "--output", str(tmp_path / "out")])
    assert "003.png" in capsys.readouterr().out
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["look.html"]


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
    assert found["images with the content of another"]["examples"] == [
        "004.png has dark [5, 7, 25, 26], dark [30, 8, 26, 34]; 002.png in test has dark [47, 15, "
        "16, 27]"
    ]


def test_no_test_set(tool, coco, tmp_path, capsys):
    tool.main(["mine", "--coco", *coco, "--test", "0", "--output", str(tmp_path / "out")])
    assert sizes(tmp_path / "out") == {"archtrain": 13, "archval": 7}
    cfg = load_config(str(tmp_path / "out" / "search.yaml"), UNTRAINED)
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
    cfg = load_config(str(tmp_path / "set" / "search.yaml"), UNTRAINED)
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
        (["mine", "--voc", "a", "--test", "a", "b"], "expected a size or the name of a part"),
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
    assert sizes(tmp_path / "out") == {"archtrain": 195, "archval": 97, "test": 72}
    assert "VOC boxes with equal corners" in capsys.readouterr().out
    cfg = load_config(str(tmp_path / "out" / "search.yaml"), UNTRAINED)
    check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])
    # Cells are round, from 43 pixels of 480 to 167; most are of 80 to 125.
    assert cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS == [[1.0]]
    scale = cfg.INPUT.MIN_SIZE_TEST / 480
    anchors = [size / scale for sizes in cfg.MODEL.ANCHOR_GENERATOR.SIZES for size in sizes]
    assert 35 < anchors[0] < 50 and 140 < anchors[-1] < 190


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "installed"), [("quick", True), ("quick", False), ("paper", True)]
)
def test_the_printed_commands_run(preset, installed, tool, coco, tmp_path, capsys, monkeypatch):
    if not installed:
        monkeypatch.setattr(NO_LITE, lambda name: None)
    # Instead of the published weights, which are not downloaded here.
    cfg = load_config(BASE, [*toy.as_list(BOTTLENECK), "MODEL.DEVICE", "cpu"])
    torch.save({"model": Trainer.build_model(cfg).state_dict()}, tmp_path / "R50.pth")
    tool.main(["mine", "--coco", *coco, "--output", str(tmp_path / "out"), "--preset", preset])
    printed = re.findall("^  python (.*)", capsys.readouterr().out, re.MULTILINE)
    assert len(printed) == {"quick": 5, "paper": 14}[preset]
    narrow = BOTTLENECK if preset == "paper" else {}
    unsure = {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0, "SEARCH.BUDGET.MACS": []}
    options = [[1, 3], [4], [6], [2, 3]]
    if preset == "quick" and installed:  # EfficientNet-Lite0
        options = [[1], [1], [1, 2], [2], [3], [3], [3, 4], [1], [1]]
    space = {"MODEL.SUPERNET.STAGE_OPTIONS": options}
    for line in printed:
        command = shlex.split(line)
        run = re.search(r"/(\w+)\.yaml", line)
        if "--config-file" in command:
            settings = {**SHORT, **unsure, **narrow}
            if run[1] in ("search", "supernet", "supernet_search"):
                settings |= space | {"SEARCH.BUDGET.BLOCKS": []}
            if run[1] == "channels":
                settings["MODEL.SUPERNET.CHANNEL.NUM_GROUPS"] = 4
            if run[1] in ("baseline", "channels", "mixed", "pretrained") and preset == "paper":
                settings["MODEL.WEIGHTS"] = tmp_path / "R50.pth"
            command += toy.as_arguments(settings)
        ended = subprocess.run(
            [sys.executable, *command], cwd=toy.ROOT, capture_output=True, text=True
        )
        assert ended.returncode == 0, f"{line}\n{ended.stderr}"
    reports = {"report"} | ({"channels", "supernet_search"} if preset == "paper" else set())
    for report in reports:
        assert (tmp_path / "out" / "output" / f"{report}.html").stat().st_size > 0


@pytest.mark.parametrize("crowd", [True, False])
def test_data_without_an_object_to_train_on_are_refused_before_anything_is_written(
    crowd, coco, tmp_path
):
    content = json.loads(Path(coco[0]).read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    content["annotations"] = content["annotations"] if crowd else []
    Path(coco[0]).write_text(json.dumps(content))
    with pytest.raises(SystemExit, match="No dataset was written"):
        main(["prepare", "mine", "--coco", *coco, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "annotations").exists()
