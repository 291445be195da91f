"""Scores of one's own, and how often a search reads what it needs."""

import csv

import toy

from crnas_d2 import run_search
from crnas_d2.checkpoint import weight_file
from crnas_d2.engine.scores import SCORE_REGISTRY, Score, build_score

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
