"""Scores of one's own, and how often a search reads what it needs."""

import csv

import pytest
import toy

from crnas_d2 import run_search
from crnas_d2.checkpoint import weight_file
from crnas_d2.engine.scores import SCORE_REGISTRY, LossScore, Score, build_score
from crnas_d2.testing import check_score

OVERRIDES = {"SEARCH.BUDGET.BLOCKS": [6, 7], "SEARCH.COSTS": []}


def test_a_score_of_ones_own_searches_without_weights_and_images(tmp_path, monkeypatch):
    monkeypatch.setattr(SCORE_REGISTRY, "_obj_map", dict(SCORE_REGISTRY._obj_map))

    @SCORE_REGISTRY.register("balance")
    class Balance(Score):
        """Higher for networks whose stages have equally many blocks."""

        @classmethod
        def from_config(cls, cfg, model):
            assert model is None
            return cls()

        def __call__(self, genotype, race=None):
            return {"balance": -float(max(genotype.depths) - min(genotype.depths)), "other": 1.0}

    settings = {"SEARCH.SCORE": "balance", "OUTPUT_DIR": str(tmp_path / "search")}
    cfg = toy.supernet_config(OVERRIDES, settings)
    best = run_search(cfg)
    assert best.genotype.depths == (1, 1, 2, 2) and best.fitness == -1
    with open(tmp_path / "search" / "candidates.csv") as stream:
        assert {row["other"] for row in csv.DictReader(stream)} == {"1.0"}
    assert "balance" in (tmp_path / "search" / "report.html").read_text()
    assert not (tmp_path / "search" / "model_best.pth").exists()


def test_a_search_reads_its_weights_once(trained, tmp_path, monkeypatch):
    read, read_file = [], weight_file.read_file
    monkeypatch.setattr(weight_file, "read_file", lambda path: read.append(path) or read_file(path))
    cfg = trained.clone()
    cfg.merge_from_list(toy.as_list(OVERRIDES, {"OUTPUT_DIR": str(tmp_path)}))
    run_search(cfg)
    assert read == [cfg.MODEL.WEIGHTS]


def test_a_score_that_uses_a_supernet_loads_it(trained):
    evaluate = build_score(trained)
    genotype = evaluate.supernet.space.base
    assert "bbox/AP" in evaluate(genotype)
    assert evaluate.image_results("bbox/AP").num_images == 8


def test_a_search_by_loss_finds_the_network_with_the_lowest(trained, tmp_path):
    cfg = trained.clone()
    settings = {"SEARCH.SCORE": "loss", "OUTPUT_DIR": str(tmp_path / "search")}
    cfg.merge_from_list(toy.as_list(OVERRIDES, settings))
    best = run_search(cfg)
    with open(tmp_path / "search" / "candidates.csv") as stream:
        rows = list(csv.DictReader(stream))
    losses = [float(row["loss"]) for row in rows]
    assert best.fitness == -min(losses) and losses == sorted(losses) and len(set(losses)) > 1
    parts = [float(rows[0][name]) for name in rows[0] if name.startswith("loss_")]
    assert len(parts) == 4 and sum(parts) == pytest.approx(losses[0])
    assert (tmp_path / "search" / "model_best.pth").exists()
    assert build_score(cfg)(best.genotype)["loss"] == losses[0]
    cfg.merge_from_list(["SEARCH.SCORE", "supernet"])
    with pytest.raises(ValueError, match="negative_loss"):
        run_search(cfg, resume=True)


def test_the_loss_keeps_the_contract_of_a_score(trained, trained_supernet):
    check_score(LossScore, trained, trained_supernet)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"SEARCH.RACING.ENABLED": True}, "'loss' says nothing of single images"),
        ({"SEARCH.ALGORITHM": "greedy", "SEARCH.BUDGET.BLOCKS": []}, "'loss' scores whole ones"),
    ],
)
def test_what_needs_more_than_a_loss_is_refused(trained, tmp_path, settings, message):
    cfg = trained.clone()
    output = {"SEARCH.SCORE": "loss", "OUTPUT_DIR": str(tmp_path / "search")}
    cfg.merge_from_list(toy.as_list(output, settings))
    with pytest.raises(ValueError, match=message):
        run_search(cfg)
