"""A training and its folder: what is refused, what is left behind, what is left alone."""

import errno
import json
import logging
import os
import urllib.error
from pathlib import Path

import pytest
import torch
import toy
from PIL import Image

from crnas_d2 import run_training
from crnas_d2.common import files
from crnas_d2.common import output as jobs_output
from crnas_d2.common.errors import JobError
from crnas_d2.common.files import check_writable
from crnas_d2.engine import Trainer, checkpoint_size
from crnas_d2.engine.checks import check_evaluation, check_training

NETWORK = {"MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1], "SOLVER.MAX_ITER": 2}
TEST = {"DATASETS.TEST": ("toy_test",)}


def config(datasets, folder, *settings):
    return toy.network_config(datasets, NETWORK, {"OUTPUT_DIR": str(folder)}, *settings)


def start(cfg, **flags):
    cfg = cfg.clone()
    check_evaluation(cfg) if "eval_only" in flags else check_training(cfg, **flags)
    cfg.freeze()
    return run_training(cfg, **flags)


@pytest.fixture(scope="module")
def trained(toy_datasets, tmp_path_factory):
    cfg = config(toy_datasets, tmp_path_factory.mktemp("trained") / "run", TEST)
    start(cfg)
    for name in ("detectron2", "fvcore", "crnas_d2"):  # no other process has their log.txt
        logging.getLogger(name).handlers.clear()
    return cfg


def content(folder):
    return {file: file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


@pytest.mark.parametrize("width", [toy.SIZE, 2 * toy.SIZE])
def test_an_evaluation_says_where_its_padding_is_not_that_of_a_search(
    trained, tmp_path, registered, width
):
    name, file, root = toy.make_dataset(tmp_path, "shapes", 2, seed=0)
    records = json.loads(Path(file).read_text())
    records["images"][0]["width"] = width
    Path(file).write_text(json.dumps(records))
    Image.new("RGB", (width, toy.SIZE)).save(Path(root, records["images"][0]["file_name"]))
    cfg = trained.clone()
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = f"{cfg.OUTPUT_DIR}/model_final.pth", str(tmp_path / "run")
    cfg.DATASETS.COCO_FORMAT, cfg.DATASETS.TEST = [[name, file, root]], (name,)
    start(cfg, eval_only=True)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert ("Each image is padded by itself" in log) == (width != toy.SIZE)


def test_evaluations_leave_the_record_of_the_training_alone(trained):
    before = content(trained.OUTPUT_DIR)
    cfg = trained.clone()
    cfg.MODEL.WEIGHTS = f"{cfg.OUTPUT_DIR}/model_final.pth"
    cfg.DATASETS.TEST = ("toy_archval",)
    for number in (1, 2):
        assert "AP" in start(cfg, eval_only=True)["bbox"]
        folder = Path(cfg.OUTPUT_DIR) / f"evaluation-{number}"
        assert (folder / "inference" / "coco_instances_results.json").exists()
        assert "toy_archval" in (folder / "config.yaml").read_text()
    after = content(trained.OUTPUT_DIR)
    assert {file: after[file] for file in before} == before
    assert all("evaluation-" in str(file) for file in set(after) - set(before))


def test_an_evaluation_with_other_inputs_is_refused(trained, tmp_path):
    cfg = trained.clone()
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = f"{cfg.OUTPUT_DIR}/model_final.pth", str(tmp_path)
    cfg.MODEL.PIXEL_STD = [57.0, 57.0, 57.0]
    with pytest.raises(JobError, match=r"Add the overrides MODEL\.PIXEL_STD"):
        start(cfg, eval_only=True)


def unreachable(*args, **kwargs):
    raise urllib.error.URLError("no route")


@pytest.mark.parametrize("kind", ["url", "text", "other network"])
def test_after_a_refused_start_the_corrected_one_begins(kind, toy_datasets, tmp_path, monkeypatch):
    weights = tmp_path / "weights.pth"
    weights.write_text("text")
    if kind == "other network":
        torch.save({"model": {"backbone.bottom_up.stem.conv1.weight": torch.ones(1)}}, weights)
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    cfg = config(toy_datasets, tmp_path / "run")
    cfg.MODEL.WEIGHTS = "https://example.invalid/R-50.pkl" if kind == "url" else str(weights)
    with pytest.raises(ValueError, match=r"^MODEL\.WEIGHTS \S+(weights|R-50)") as error:
        start(cfg)
    assert "\n" not in str(error.value)
    cfg.MODEL.WEIGHTS = ""
    start(cfg)
    assert (tmp_path / "run" / "model_final.pth").exists()


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("", "OUTPUT_DIR is ''; expected the path of a folder"),
        ("file", "file is not a folder"),
        ("file/below/it", "file is not a folder"),
        ("link/below", "link is not a folder"),
        ("closed/below", "closed cannot be written to"),
    ],
)
def test_folders_that_cannot_be_written_are_known_at_the_start(
    folder, words, toy_datasets, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "closed").mkdir()
    # To root no folder is closed.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed")
    path = str(tmp_path / folder) if folder else ""
    with pytest.raises(ValueError, match=words):
        check_training(config(toy_datasets, path))
    check_writable(str(tmp_path / "new" / "folder"))
    assert not (tmp_path / "new").exists()


def full_disk(path, mode="r"):
    return open("/dev/full" if path.name.startswith(f"{FAILS}.") else path, mode)


FAILS = "model_0000001.pth"


def test_a_full_disk_is_a_sentence_and_the_training_goes_on(
    toy_datasets, tmp_path, monkeypatch, caplog
):
    settings = {"SOLVER.MAX_ITER": 3, "SOLVER.CHECKPOINT_PERIOD": 1}
    cfg = config(toy_datasets, tmp_path / "run", settings)
    with monkeypatch.context() as patch:
        patch.setattr(files, "open", full_disk, raising=False)
        with pytest.raises(JobError) as error:
            start(cfg)
    words = f"{tmp_path}/run/{FAILS} cannot be written (No space left on device)"
    assert words in str(error.value) and "--resume" in str(error.value)
    assert "Traceback" not in caplog.text
    names = sorted(file.name for file in (tmp_path / "run").glob("*.pth*"))
    assert names == ["model_0000000.pth"]
    start(cfg, resume=True)
    assert (tmp_path / "run" / "model_final.pth").exists()


def test_a_log_on_a_full_disk_is_a_sentence_too(toy_datasets, tmp_path, caplog):
    cfg = config(toy_datasets, tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").symlink_to("/dev/full")
    with pytest.raises(JobError, match=r"OUTPUT_DIR \S+run cannot be written \(No space left"):
        start(cfg)
    assert "Traceback" not in caplog.text


def test_too_little_space_is_known_at_the_start(toy_datasets, tmp_path, monkeypatch):
    cfg = config(toy_datasets, tmp_path / "run")
    usage = jobs_output.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(jobs_output.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(JobError, match=r"has 0\.0 MiB free, but a checkpoint needs 0\.\d MiB"):
        start(cfg)
    monkeypatch.undo()
    start(cfg)
    size = (tmp_path / "run" / "model_final.pth").stat().st_size
    assert 0.7 < checkpoint_size(cfg, Trainer(cfg).model) / size < 1


def test_other_errors_keep_their_type(tmp_path):
    with pytest.raises(FileNotFoundError), jobs_output.disk_errors_explained(str(tmp_path)):
        raise FileNotFoundError(errno.ENOENT, "an image is missing")


def test_half_a_line_of_metrics_does_not_spoil_the_next(toy_datasets, tmp_path):
    cfg = config(toy_datasets, tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text('{"iteration": 1, "tot')
    start(cfg, resume=True)
    lines = (tmp_path / "run" / "metrics.json").read_text().splitlines()
    assert lines[0] == '{"iteration": 1, "tot' and lines[1].startswith("{") and len(lines) > 1


def test_the_number_of_checkpoints_is_not_negative(toy_datasets, tmp_path):
    cfg = config(toy_datasets, tmp_path / "run")
    cfg.SOLVER.CHECKPOINT_MAX_TO_KEEP = -1
    with pytest.raises(ValueError, match="CHECKPOINT_MAX_TO_KEEP is -1"):
        check_training(cfg)


def test_a_channel_search_says_that_it_has_no_other_sampler(toy_datasets, tmp_path):
    repeated = {
        "MODEL.SUPERNET.SPACE": "channel",
        "MODEL.SUPERNET.PATH_SAMPLER": "alpha",
        "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 2,
        "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler",
        "OUTPUT_DIR": str(tmp_path),
    }
    cfg = toy.network_config(toy_datasets, repeated)
    with pytest.raises(ValueError, match=r"SAMPLER_TRAIN is 'Repeat.*Set it to 'TrainingSampler'"):
        check_training(cfg)


def test_expected_results_are_those_of_the_evaluator(toy_datasets, tmp_path):
    expected = {"TEST.EXPECTED_RESULTS": [["box", "AP", 38.5, 0.2]]}
    cfg = config(toy_datasets, tmp_path / "run", TEST, expected)
    with pytest.raises(ValueError, match=r"box/AP; toy_test gives .* Did you mean .*bbox/AP"):
        check_training(cfg)
