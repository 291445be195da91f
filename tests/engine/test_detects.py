"""A supernet that detects nothing is known before its subnets are compared."""

from random import Random

import pytest
import toy
from detectron2.config import CfgNode
from scripts import run

from crnas_d2 import run_search, run_training
from crnas_d2.engine import Trainer, detects
from crnas_d2.engine.detects import base_network, check_detects, check_trained_supernet
from crnas_d2.engine.scores import build_score
from crnas_d2.engine.subnets import save_subnet
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype

NOTHING = "detects next to nothing"


def test_a_training_that_has_learnt_nothing_says_so(toy_datasets, tmp_path):
    settings = {"SOLVER.MAX_ITER": 1, "OUTPUT_DIR": str(tmp_path)}
    run_training(toy.supernet_config(toy_datasets, settings))
    lines = (tmp_path / "log.txt").read_text().splitlines()
    found = [line for line in lines if NOTHING in line]
    assert len(found) == 1 and "WARNING" in found[0] and "8 images of toy_archval" in found[0]
    assert (tmp_path / "model_final.pth").exists()


def test_a_supernet_that_detects_is_scored_as_its_search_will_score_it(
    trained, trained_supernet, caplog, monkeypatch
):
    caplog.set_level("INFO", "crnas_d2")
    genotype = Genotype(depths=(2, 2, 3, 3))
    evaluate = build_score(trained, trained_supernet)
    score = evaluate(genotype)["bbox/AP"]
    assert check_detects(trained, trained_supernet, genotype) == ""
    assert f"bbox/AP {score:.2f} on 8 images" in caplog.text and NOTHING not in caplog.text

    sampled = find_supernet(trained_supernet).space.sample(Random(trained.SEED))
    check_trained_supernet(trained, trained_supernet)
    found = f"{sampled} has bbox/AP {evaluate(sampled)['bbox/AP']:.2f} on 8 images"
    assert found in caplog.text

    # Of a part of archval, only the objects of its images count.
    monkeypatch.setattr(detects, "_IMAGES", 4)
    caplog.clear()
    check_detects(trained, trained_supernet, genotype)
    text = next(r.getMessage() for r in caplog.records if "One network" in r.getMessage())
    part = float(text.split("bbox/AP ")[1].split()[0])
    assert "on 4 images" in text and part > score / 2


def test_the_deepest_network_with_the_first_operations_is_the_one_that_is_inherited():
    cfg = toy.supernet_config({"MODEL.SUPERNET.SPACE": "joint", "SEARCH.BUDGET.BLOCKS": []})
    space = find_supernet(Trainer.build_model(cfg)).space
    assert base_network(space) == Genotype(depths=(2, 2, 3, 3), ops=(0,) * 10)


def test_a_search_of_a_detector_that_detects_nothing_warns_before_the_first_candidate(
    trained, tmp_path, capsys
):
    cfg: CfgNode = trained.clone()
    model = Trainer.build_model(cfg)  # random weights
    save_subnet(cfg, model, Genotype(depths=(2, 2, 3, 3)), tmp_path / "base.pth")
    cfg.merge_from_list(["MODEL.INHERIT", True, "MODEL.SUPERNET.SHARING", "prefix"])
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = str(tmp_path / "base.pth"), str(tmp_path / "search")
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0  # unsure detections count, so no candidate fails
    run_search(cfg)
    captured = capsys.readouterr()
    assert NOTHING in captured.err.partition("search:")[0]
    assert "candidates: 6, exhaustive" in captured.out
    assert "fitness: bbox/AP on 8 images of toy_archval" in captured.out


@pytest.mark.parametrize("kind", ["classifier", "no archval"])
def test_a_training_without_detections_on_archval_is_not_scored(kind, toy_datasets, tmp_path):
    settings = {"SOLVER.MAX_ITER": 1, "OUTPUT_DIR": str(tmp_path / "run")}
    if kind == "classifier":
        toy.make_image_folder(tmp_path / "images", 2, seed=0)
        folders = [["toy_detects_images", str(tmp_path / "images")]]
        cfg = toy.classifier_config(settings, {"DATASETS.IMAGE_FOLDERS": folders})
        cfg.DATASETS.TRAIN = cfg.DATASETS.ARCHVAL = ("toy_detects_images",)
    else:
        cfg = toy.supernet_config(toy_datasets, settings, {"DATASETS.ARCHVAL": ()})
    run_training(cfg)
    assert "One network scored" not in (tmp_path / "run" / "log.txt").read_text()
    assert (tmp_path / "run" / "model_final.pth").exists()


@pytest.mark.slow
def test_of_two_processes_the_first_scores_one_network(toy_datasets, tmp_path):
    settings = {"SOLVER.MAX_ITER": 2, "OUTPUT_DIR": tmp_path, "MODEL.RESNETS.NORM": "SyncBN"}
    options = toy.as_arguments(toy.TINY, toy.STAGE_SPACE, toy_datasets, settings)
    run("train_net.py", toy.SUPERNET, "--num-gpus", "2", opts=options)
    log = (tmp_path / "log.txt").read_text()
    assert "processes: 2 on cpu" in log and log.count("One network scored") == 1
    assert "One network scored" not in (tmp_path / "log.txt.rank1").read_text()
