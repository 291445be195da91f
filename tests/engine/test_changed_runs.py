"""A training that is resumed with other settings or data says what differs from its run so far."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import toy
from test_training_job import config, start

from crnas_d2.common.errors import JobError
from crnas_d2.engine import Trainer


def part(entry, folder, name, images):
    """Writes the first images of a dataset as a dataset of their own."""
    content = json.loads(Path(entry[1]).read_text())
    content["images"] = content["images"][:images]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    file = Path(folder) / f"{name}.json"
    file.write_text(json.dumps(content))
    return [name, str(file), entry[2]]


@pytest.fixture(scope="module")
def finished(toy_datasets, tmp_path_factory):
    """Two steps on eight images."""
    folder = tmp_path_factory.mktemp("changed")
    [entry] = [e for e in toy_datasets["DATASETS.COCO_FORMAT"] if e[0] == "toy_archtrain"]
    data = {"DATASETS.COCO_FORMAT": [part(entry, folder, "changed_part", 8)]}
    data |= {"DATASETS.TRAIN": ("changed_part",), "DATASETS.ARCHVAL": ()}
    cfg = config({**toy_datasets, **data}, folder / "run")
    start(cfg)
    return cfg, entry


@pytest.fixture
def resumed(finished, tmp_path, registered, caplog):
    """Resumes a copy of the training with changes; returns its trainer and what it warns of."""

    def resume(settings, images=8):
        cfg, entry = finished
        cfg = cfg.clone()
        shutil.copytree(cfg.OUTPUT_DIR, tmp_path / "run")
        file = Path(cfg.DATASETS.COCO_FORMAT[0][1])
        before = file.read_text()
        cfg.merge_from_list(toy.as_list({"SOLVER.MAX_ITER": 3}, settings))
        cfg.OUTPUT_DIR = str(tmp_path / "run")
        try:
            part(entry, file.parent, "changed_part", images)
            with caplog.at_level(logging.WARNING, logger="crnas_d2"):
                start(cfg, resume=True)
        finally:
            file.write_text(before)
        words = "goes on otherwise than it was run so far: "
        return [r.message.partition(words)[2] for r in caplog.records if words in r.message]

    return resume


# Changes of the settings, the number of images, and what is said of them.
CHANGES = {
    "longer": ({}, 8, ["SOLVER.MAX_ITER 2, now 3"]),
    "nothing": ({"SOLVER.MAX_ITER": 2, "DATALOADER.NUM_WORKERS": 0, "VIS_PERIOD": 9}, 8, None),
    "more images": ({}, 12, ["images of DATASETS.TRAIN 8, now 12", "of changed_part changed"]),
    "less images": ({}, 4, ["images of DATASETS.TRAIN 8, now 4", "of changed_part changed"]),
    "a default": (
        *({"MODEL.RPN.NMS_THRESH": 0.6, "SEED": 5}, 8),
        ["MODEL.RPN.NMS_THRESH the default, now 0.6", "SEED 1, now 5"],
    ),
    "rates": (
        *({"SOLVER.BASE_LR": 0.02, "SOLVER.STEPS": (1,)}, 8),
        ["SOLVER.BASE_LR 0.04, now 0.02", "now [1]"],
    ),
}


@pytest.mark.parametrize(("settings", "images", "words"), CHANGES.values(), ids=CHANGES)
def test_what_differs_is_said(settings, images, words, resumed):
    found = resumed(settings, images)
    if words is None:
        assert found == []
    else:
        [message] = found
        assert all(word in message for word in words), message


def test_other_data_are_another_training(resumed):
    with pytest.raises(JobError, match="a training on changed_part, not on toy_archval: resume it"):
        resumed({"DATASETS.TRAIN": ("toy_archval",)})


def test_data_under_another_name_are_the_same(finished, tmp_path, resumed):
    cfg, _ = finished
    _, file, folder = cfg.DATASETS.COCO_FORMAT[0]
    moved = shutil.copy(file, tmp_path / "moved.json")
    settings = {"DATASETS.COCO_FORMAT": [["moved", str(moved), folder]]}
    [message] = resumed({**settings, "DATASETS.TRAIN": ("moved",)})
    assert "DATASETS.TRAIN ['changed_part'], now ['moved']" in message


def test_rates_of_the_config_count(finished):
    """The optimizer's settings are in a checkpoint, too; those of the config count."""
    cfg, _ = finished
    cfg = cfg.clone()
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY = 4, 0.01, 0.5
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 2
    groups = trainer._trainer.optimizer.param_groups
    # Half of the way, cosine.
    assert [group["lr"] for group in groups] == pytest.approx([0.005] * len(groups))
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}
