"""A job reads its config once: the network is parsed once, and each value is checked once."""

from unittest.mock import Mock

import channel_toy
import pytest
import toy
from detectron2.modeling import build_model

from crnas_d2 import run_search, run_training
from crnas_d2.config import spec, values
from crnas_d2.engine.checks import check_training
from crnas_d2.modeling.families import ResNetFamily


@pytest.fixture
def counts(monkeypatch):
    """Return how often the family was parsed, and the rules were gone through."""
    parse = Mock(side_effect=ResNetFamily.from_config)
    check = Mock(side_effect=values._wrong_combinations)
    monkeypatch.setattr(ResNetFamily, "from_config", parse)
    monkeypatch.setattr(values, "_wrong_combinations", check)
    spec._parse.cache_clear()
    return lambda: (parse.call_count, check.call_count)


@pytest.mark.parametrize(
    "config", [toy.supernet_config, channel_toy.base_config, channel_toy.supernet_config]
)
def test_building_a_model_parses_its_config_once(counts, config):
    build_model(config())
    assert counts()[0] == 1


def test_a_search_parses_its_config_once(counts, toy_datasets, tmp_path):
    scored = {"SEARCH.SCORE": "entropy", "SEARCH.BUDGET.BLOCKS": [6, 7]}
    cfg = toy.supernet_config(toy_datasets, scored, {"OUTPUT_DIR": str(tmp_path)})
    run_search(cfg)
    assert counts() == (1, 1)


def test_a_training_parses_its_config_once(counts, toy_datasets, tmp_path):
    # Not SyncBN, which the trainer replaces in its config.
    norms = {f"MODEL.{family}.NORM": "BN" for family in ("RESNETS", "MOBILENETV2", "SHUFFLENETV2")}
    steps = {"SOLVER.MAX_ITER": 2, "OUTPUT_DIR": str(tmp_path)}
    cfg = toy.supernet_config(toy_datasets, norms, steps)
    check_training(cfg)
    run_training(cfg)
    assert counts() == (1, 1)


def test_a_config_that_was_changed_is_read_again(counts):
    cfg = toy.supernet_config()
    for depth in (18, 34):
        cfg.MODEL.RESNETS.DEPTH = depth
        for _ in range(2):
            assert spec.NetworkSpec.from_config(cfg).family.depth == depth
    assert counts()[0] == 2
    cfg.SOLVER.MAX_ITER = -5
    with pytest.raises(ValueError, match=r"SOLVER\.MAX_ITER is -5"):
        values.check_values(cfg)
