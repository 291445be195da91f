"""Pretraining as a classifier, and what the detector takes over from it."""

import copy
import json
import logging
from functools import partial

import pytest
import torch
import toy
from detectron2.utils.env import seed_all_rng

from crnas_d2.checkpoint import StrictCheckpointer
from crnas_d2.data import build_fixed_batches, register_image_folders
from crnas_d2.engine import PathSampling, Trainer
from crnas_d2.engine.checks import check_config
from crnas_d2.evaluation import SubnetEvaluator, build_evaluator, calibrated, evaluator_builder
from crnas_d2.layers import active_modules
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype

PATHS = [Genotype(depths=depths) for depths in toy.ELIGIBLE]
FIXED = {"MODEL.SUPERNET.SPACE": "none", "MODEL.GENOTYPE.DEPTHS": [1, 2, 2, 1]}


class PretrainingTrainer(Trainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return build_evaluator(cfg, dataset_name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    entries = []
    for seed, (name, per_class) in enumerate({"pre_train": 8, "pre_val": 4}.items()):
        toy.make_image_folder(folder / name, per_class, seed)
        entries.append([name, str(folder / name)])
    register_image_folders(entries)
    return {
        "DATASETS.IMAGE_FOLDERS": entries,
        "DATASETS.TRAIN": ("pre_train",),
        "DATASETS.ARCHVAL": ("pre_val",),
        "DATASETS.TEST": ("pre_val",),
    }


@pytest.fixture(scope="module", params=["fixed", "none", "prefix"])
def pretrained(request, folders, tmp_path_factory):
    """A trained classifier and its checkpoint: a fixed network, or a supernet of either kind."""
    kind = FIXED if request.param == "fixed" else {"MODEL.SUPERNET.SHARING": request.param}
    seed_all_rng(0)
    overrides = {
        "SOLVER.IMS_PER_BATCH": 12,
        "SOLVER.MAX_ITER": 40,
        "SOLVER.BASE_LR": 0.05,
        "OUTPUT_DIR": str(tmp_path_factory.mktemp("pretrained")),
    }
    cfg = toy.classifier_config(folders, overrides, kind)
    check_config(cfg, ["TRAIN", "TEST"])
    trainer = PretrainingTrainer(cfg)
    trainer.train()
    return kind, cfg, trainer, f"{cfg.OUTPUT_DIR}/model_final.pth"


def test_the_loss_goes_down_and_a_fixed_network_is_evaluated(pretrained):
    kind, cfg, trainer, _ = pretrained
    with open(f"{cfg.OUTPUT_DIR}/metrics.json") as stream:
        lines = [json.loads(line) for line in stream]
    losses = [line["total_loss"] for line in lines if "total_loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    if kind is FIXED:
        assert trainer._last_eval_results["classification"]["top1"] > 60
    else:
        assert trainer._last_eval_results == {}


def test_the_detector_starts_from_the_pretrained_body(pretrained, toy_datasets, tmp_path, caplog):
    kind, _, trainer, weights = pretrained
    config = toy.network_config if kind is FIXED else toy.supernet_config
    detection = config(toy_datasets, kind, {"MODEL.WEIGHTS": weights, "OUTPUT_DIR": str(tmp_path)})
    detector = Trainer(detection)
    with caplog.at_level(logging.INFO):
        detector.resume_or_load(resume=False)

    body, source = detector.model.backbone.bottom_up, trainer.model.backbone
    ours, theirs = body.state_dict(), source.state_dict()
    assert ours.keys() == theirs.keys() and len(ours) > 50
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name

    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for path in [None] if kind is FIXED else PATHS:
        if path is not None:
            find_supernet(detector.model).set_path(path)
            find_supernet(trainer.model).set_path(path)
        with torch.no_grad():
            assert torch.equal(body.eval()(image)["res5"], source.eval()(image)["res5"])

    # What starts from scratch is the neck and the heads; what is left over, the linear layer.
    [report] = [record for record in caplog.records if "of the body loaded" in record.message]
    assert report.levelno == logging.INFO
    for part in ("fpn_lateral2", "proposal_generator", "roi_heads", "linear"):
        assert part in report.message
    assert "bottom_up.res" not in report.message and "differ in shape" not in report.message


def test_a_classifier_is_reloaded_exactly(pretrained):
    _, cfg, trainer, weights = pretrained
    model = Trainer.build_model(cfg)
    StrictCheckpointer(model).load(weights)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize("pretrained", ["none", "prefix"], indirect=True)
def test_subnets_are_scored_by_their_top1(pretrained):
    _, cfg, trainer, _ = pretrained
    assert cfg.SEARCH.METRIC in evaluator_builder(cfg, "pre_val").metric_names()
    calibration = build_fixed_batches(cfg, cfg.DATASETS.TRAIN, num_images=12, with_annotations=True)
    evaluator = SubnetEvaluator(
        trainer.model,
        build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL),
        build_evaluator(cfg, "pre_val", in_search=True),
        partial(calibrated, batches=calibration),
    )
    scores = [evaluator(path) for path in PATHS]
    assert [evaluator(path) for path in PATHS] == scores
    assert all(set(score) == {"classification/top1", "classification/top5"} for score in scores)
    assert max(score["classification/top1"] for score in scores) > 50


@pytest.mark.parametrize("sharing", ["none", "prefix"])
def test_nothing_off_the_path_changes(sharing, folders, tmp_path):
    overrides = {
        "MODEL.SUPERNET.SHARING": sharing,
        "SOLVER.WEIGHT_DECAY": 0.01,
        "SOLVER.IMS_PER_BATCH": 6,
        "SOLVER.MAX_ITER": 4,
        "OUTPUT_DIR": str(tmp_path),
    }
    seed_all_rng(0)
    trainer = PretrainingTrainer(toy.classifier_config(folders, overrides))
    sampling = next(hook for hook in trainer._hooks if isinstance(hook, PathSampling))
    sampling.path_sampler = lambda iteration: PATHS[iteration]
    step = trainer.run_step
    moved = []

    def run_step():
        before = copy.deepcopy(trainer.model.state_dict())
        step()
        on_path = set(active_modules(trainer.model))
        for name, value in trainer.model.state_dict().items():
            module = trainer.model.get_submodule(name.rpartition(".")[0])
            if module not in on_path:
                assert torch.equal(value, before[name]), name
            elif not torch.equal(value, before[name]):
                moved.append(name)

    trainer.run_step = run_step
    trainer.train()
    assert {"linear.weight", "backbone.stem.conv1.weight"} <= set(moved)
