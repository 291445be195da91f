"""The final round of a search: its best candidates are trained by themselves."""

import json
from pathlib import Path

import pytest
import toy

from crnas_d2 import load_config, run_search, run_training
from crnas_d2.runs.searches import read_search
from crnas_d2.search import Candidate
from crnas_d2.space import Genotype
from crnas_d2.verbs.search.finalists import _of_each_size


@pytest.fixture(scope="module")
def searched(trained, tmp_path_factory):
    """The config of a search with two finalists, and its best candidate."""
    cfg = trained.clone()
    cfg.OUTPUT_DIR = str(tmp_path_factory.mktemp("finalists") / "search")
    cfg.SEARCH.FINALISTS.NUMBER = 2
    cfg.SEARCH.FINALISTS.MAX_ITER = 2
    return cfg, run_search(cfg, num_workers=2)


def results(cfg):
    return json.loads(Path(cfg.OUTPUT_DIR, "finalists.json").read_text())["runs"]


def test_the_best_finalist_is_the_result(searched, toy_datasets):
    cfg, best = searched
    runs = sorted(results(cfg), key=lambda run: -run["AP"])
    assert len(runs) == 2 and all(run["iterations"] == 2 for run in runs)
    assert Genotype.from_config(runs[0]["genotype"]) == best.genotype
    found = Path(cfg.OUTPUT_DIR, "genotype.yaml")
    assert Genotype.from_yaml(found) == best.genotype
    assert f"{runs[0]['AP']} after its own training, the best of 2 finalists" in found.read_text()
    assert "Final round" in Path(cfg.OUTPUT_DIR, "report.html").read_text()

    config = Path(cfg.OUTPUT_DIR).parent / "found.yaml"
    config.write_text(f'_BASE_: ["{toy.SEARCHED}", "search/genotype.yaml"]\n')
    overrides = {
        "DATASETS.TEST": toy_datasets["DATASETS.ARCHVAL"],
        "MODEL.WEIGHTS": f"{cfg.OUTPUT_DIR}/model_best.pth",
        "OUTPUT_DIR": f"{cfg.OUTPUT_DIR}-found",
    }
    network = load_config(str(config), toy.as_list(toy.TINY, toy_datasets, overrides))
    scores = run_training(network, eval_only=True)
    assert abs(scores["bbox"]["AP"] - runs[0]["AP"]) < 1e-6
    assert best.fitness == runs[0]["AP"]  # that of model_best.pth, not that in the supernet


def test_finished_finalists_are_not_trained_again(searched):
    cfg, best = searched
    before = results(cfg)
    weights = sorted(Path(cfg.OUTPUT_DIR, "finalists").glob("*/model_final.pth"))
    times = [file.stat().st_mtime_ns for file in weights]
    assert run_search(cfg, resume=True).genotype == best.genotype
    assert results(cfg) == before
    assert [file.stat().st_mtime_ns for file in weights] == times


def test_the_final_round_is_read_from_the_folder(searched):
    cfg, best = searched
    found = read_search(cfg.OUTPUT_DIR)
    assert found.best.genotype == best.genotype
    assert [f.fitness for f in found.finalists] == sorted(r["AP"] for r in results(cfg))[::-1]
    assert all(Path(finalist.weights).is_file() for finalist in found.finalists)


def test_finalists_are_the_best_of_each_image_size_in_turn():
    genotypes = {
        name: Genotype((number + 1,), image_size=(size,))
        for number, (name, size) in enumerate([("a", 64), ("b", 64), ("c", 64), ("d", 32)])
    }
    ranked = [Candidate(genotype, 9.0, {}, 1.0) for genotype in genotypes.values()]

    assert [c.genotype for c in _of_each_size(ranked, 3)] == [genotypes[name] for name in "adb"]
    assert _of_each_size(ranked[:3], 2) == ranked[:2]  # of one size: the best
    assert len(_of_each_size(ranked, 9)) == 4
