import re
from pathlib import Path

import pytest
import toy

from crnas_d2.config import NetworkSpec, default_config, loading
from crnas_d2.cost import build_budgets, build_costs, latency_meter
from crnas_d2.data import register_coco_format
from crnas_d2.engine.scores import SCORE_REGISTRY
from crnas_d2.search import StudySettings, build_searcher, study_url
from crnas_d2.verbs.search import job
from crnas_d2.verbs.search.job import describe_search

GREEDY = {"SEARCH.ALGORITHM": "greedy", "SEARCH.BUDGET.BLOCKS": []}
SIZE = {"POPULATION": 3, "GENERATIONS": 2, "PARENTS": 2}
EVOLUTION = {f"SEARCH.EVOLUTION.{key}": value for key, value in SIZE.items()}
EVOLUTION["SEARCH.ALGORITHM"] = "evolution"
TWO = {**EVOLUTION, "SEARCH.ALGORITHM": "optuna", "SEARCH.SECOND_OBJECTIVE": "MACS"}
MACS = {"SEARCH.BUDGET.MACS": [0, 1e12]}


@pytest.fixture
def weights(tmp_path):
    weights = tmp_path / "model.pth"
    weights.write_bytes(b"a supernet")
    return weights


@pytest.fixture
def config(toy_datasets, tmp_path, weights):
    paths = {"MODEL.WEIGHTS": str(weights), "OUTPUT_DIR": str(tmp_path)}

    def config(*overrides):
        return toy.supernet_config(toy_datasets, paths, {"SEARCH.COSTS": []}, *overrides)

    return config


def open_config(cfg, resume=True):
    spec = NetworkSpec.from_config(cfg)
    costs = build_costs(cfg, spec)
    searcher = build_searcher(cfg, spec.space, build_budgets(cfg, costs))
    score = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
    described = describe_search(cfg, searcher, costs, score, None)
    return StudySettings(study_url(cfg), "search", described).open(resume=resume)


@pytest.fixture
def open_search(config):
    """Begins, or goes on with, the search of a few overrides in one folder."""
    return lambda *overrides, resume=True: open_config(config(*overrides), resume)


def test_a_search_does_not_go_on_with_other_latencies(open_search, tmp_path, monkeypatch):
    monkeypatch.setattr(latency_meter, "_LEAST_ROUNDS", 2)
    monkeypatch.setattr(latency_meter, "_MOST_ROUNDS", 2)
    limits = {"SEARCH.BUDGET.LATENCY": [0, 1e6]}
    open_search(limits, resume=False)
    latencies = tmp_path / "latency.json"
    measured = latencies.read_text()
    open_search(limits)
    latencies.unlink()
    refused = "digest of the costs of LATENCY was .* its original settings and files"
    with pytest.raises(ValueError, match=refused):
        open_search(limits)
    latencies.write_text(measured)
    open_search(limits)


def test_an_exhaustive_search_goes_on_with_other_settings_that_it_does_not_use(open_search):
    open_search(resume=False)
    for overrides in (
        {"SEARCH.GREEDY.TOP_K": 7},
        {"SEARCH.EVOLUTION.POPULATION": 7, "SEARCH.OPTUNA.SAMPLER": "RandomSampler"},
        {"SEARCH.COSTS": ["MACS"], "SEARCH.COST_INPUT_SIZE": [32, 32]},
        {"MODEL.DEVICE": "cuda:0", "SEARCH.IMAGE_CACHE": 1.0},
        {"DATASETS.TEST": ("toy_test",), "SOLVER.BASE_LR": 1.0, "DATALOADER.NUM_WORKERS": 3},
    ):
        open_search(overrides)


CHANGES = [  # the search, what changes, and how the message tells it
    (GREEDY, {"SEARCH.GREEDY.TOP_K": 7}, "greedy: top_k was at its default and is 7"),
    (EVOLUTION, {"SEARCH.EVOLUTION.POPULATION": 2}, "evolution: population was 3 and is 2"),
    (EVOLUTION, {"SEED": 7}, "SEED was 1 and is 7"),
    (EVOLUTION, GREEDY, "algorithm was 'evolution' and is 'greedy'"),
    (TWO, {"SEARCH.COST_INPUT_SIZE": [32, 32]}, "digest of the costs of MACS was"),
    (MACS, {"SEARCH.COST_INPUT_SIZE": [32, 32]}, "digest of the costs of MACS was"),
    ({}, {"SEARCH.BUDGET.BLOCKS": [7, 8]}, "BUDGET.BLOCKS was [8.0, 8.0] and is [7"),
    ({}, {"SEARCH.METRIC": "bbox/AP50"}, "metric was 'bbox/AP' and is 'bbox/AP50'"),
    ({}, {"SEARCH.IMS_PER_BATCH": 3}, "SEARCH.IMS_PER_BATCH was 4 and is 3"),
    ({}, {"SEARCH.IMS_PER_BATCH": 8}, "SEARCH.IMS_PER_BATCH was 4 and is at its default"),
    ({}, {"SEARCH.BN_CALIBRATION.NUM_IMAGES": 3}, "BN_CALIBRATION.NUM_IMAGES was 8 and is 3"),
    ({}, {"SEARCH.BN_CALIBRATION.IMS_PER_BATCH": 8}, "IMS_PER_BATCH was at its default and is 8"),
    ({}, {"SEARCH.BN_CALIBRATION.WEIGHT": 0.5}, "WEIGHT was at its default and is 0.5"),
    ({}, {"SEARCH.SCORE": "loss"}, "metric was 'bbox/AP' and is 'negative_loss'"),
    ({}, {"SEARCH.PRECISION": "bfloat16"}, "SEARCH.PRECISION was at its default and is 'bf"),
    ({}, {"SEARCH.CHANNELS_LAST": True}, "CHANNELS_LAST was at its default and is True"),
    ({}, {"INPUT.MIN_SIZE_TEST": 48}, "INPUT.MIN_SIZE_TEST was 64 and is 48"),
    ({}, {"TEST.DETECTIONS_PER_IMAGE": 5}, "DETECTIONS_PER_IMAGE was 20 and is 5"),
    ({}, {"MODEL.RPN.NMS_THRESH": 0.5}, "MODEL.RPN.NMS_THRESH was at its default and is 0.5"),
    (
        {},
        {"DATASETS.ARCHVAL": ("toy_test",)},
        "archval was [['toy_archval', ... and is [['toy_test', ",
    ),
]


@pytest.mark.parametrize(("search", "overrides", "words"), CHANGES)
def test_what_changes_candidates_or_scores_makes_another_search(
    open_search, search, overrides, words
):
    open_search(search, resume=False)
    open_search(search)
    with pytest.raises(ValueError, match=re.escape(words).replace(r"\.\.\.", ".*")):
        open_search(search, overrides)


def test_other_weights_make_another_search_and_another_place_of_them_does_not(
    open_search, weights, tmp_path
):
    open_search(resume=False)
    copy = tmp_path / "moved.pth"
    copy.write_bytes(weights.read_bytes())
    open_search({"MODEL.WEIGHTS": str(copy)})
    copy.write_bytes(b"another supernet")
    with pytest.raises(ValueError, match="weights was"):
        open_search({"MODEL.WEIGHTS": str(copy)})


def test_other_images_make_another_search_and_another_place_of_them_does_not(
    open_search, tmp_path, registered
):
    entries = [toy.make_dataset(tmp_path, name, 4, seed=3) for name in ("mine", "others")]
    register_coco_format(entries)
    data = {"DATASETS.ARCHVAL": ("mine",), "DATASETS.TRAIN": ("others",)}
    open_search(data, resume=False)
    for (_, _, folder), words in zip(entries, ("archval", "calibration"), strict=True):
        image = Path(folder) / "001.png"
        before = image.read_bytes()
        image.write_bytes(before + b"another")
        with pytest.raises(ValueError, match=f"{words} images was"):
            open_search(data)
        image.unlink()
        image.write_bytes(before)  # with another time of modification
        open_search(data)


def test_a_search_goes_on_that_an_earlier_version_began(open_search):
    study = open_search(resume=False)
    description = study.user_attrs["description"]
    assert description.pop("archval images") and description.pop("calibration images")
    study.set_user_attr("description", description)
    open_search()


def test_a_search_goes_on_with_a_later_version_that_has_another_key(config, monkeypatch):
    def with_new_keys(cfg):
        cfg.MODEL.NEW_HEAD = "plain"
        cfg.SEARCH.GREEDY.PATIENCE = 3
        return cfg

    open_config(config(), resume=False)
    later = lambda *plugins: with_new_keys(default_config(*plugins))  # noqa: E731
    for module in (job, loading):
        monkeypatch.setattr(module, "default_config", later)
    cfg = with_new_keys(config())
    open_config(cfg)
    # With another value it scores otherwise.
    cfg.MODEL.NEW_HEAD = "double"
    with pytest.raises(ValueError, match=r"MODEL\.NEW_HEAD was at its default and is 'double'"):
        open_config(cfg)
