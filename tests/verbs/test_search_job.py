"""A search as a function, and the weights of what it found."""

import csv

import pytest
import torch
import toy
from detectron2.modeling import build_model

from crnas_d2 import Genotype, load_config, run_search, run_training
from crnas_d2.engine.scores import build_score
from crnas_d2.engine.subnets import load_supernet, save_subnet


def test_the_weights_of_the_best_network_score_what_the_search_saw(trained, toy_datasets, tmp_path):
    cfg = trained.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "search")
    cfg.freeze()
    best = run_search(cfg)

    with open(tmp_path / "search" / "candidates.csv") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        assert float(row["fitness_low"]) <= float(row["fitness"]) <= float(row["fitness_high"])
    # 8 images are too few to tell so many candidates apart.
    assert "cannot be told apart" in (tmp_path / "search" / "report.html").read_text()

    config = tmp_path / "found.yaml"
    config.write_text(f'_BASE_: ["{toy.SEARCHED}", "search/genotype.yaml"]\n')
    overrides = {
        "DATASETS.TEST": toy_datasets["DATASETS.ARCHVAL"],
        "MODEL.WEIGHTS": str(tmp_path / "search" / "model_best.pth"),
        "OUTPUT_DIR": str(tmp_path / "found"),
    }
    network = load_config(str(config), toy.as_list(toy.TINY, toy_datasets, overrides))
    assert tuple(network.MODEL.GENOTYPE.DEPTHS) == best.genotype.depths
    results = run_training(network, eval_only=True)
    assert abs(results["bbox"]["AP"] - best.fitness) < 1e-6
    assert best.fitness > 0


BASE = Genotype(depths=(2, 2, 3, 3))


@pytest.fixture
def inherited(trained, trained_supernet, tmp_path):
    """The config of a search of a trained network."""
    save_subnet(trained, trained_supernet, BASE, tmp_path / "base.pth")
    cfg = trained.clone()
    cfg.merge_from_list(["MODEL.INHERIT", True, "MODEL.SUPERNET.SHARING", "prefix"])
    cfg.MODEL.WEIGHTS = str(tmp_path / "base.pth")
    return cfg


def test_a_trained_network_is_searched_without_a_training_of_the_supernet(
    trained, trained_supernet, inherited, tmp_path
):
    expected = build_score(trained, trained_supernet)(BASE)["bbox/AP"]
    inherited.SEARCH.BUDGET.BLOCKS = [9, 10]
    inherited.OUTPUT_DIR = str(tmp_path / "search")
    run_search(inherited)
    with open(tmp_path / "search" / "candidates.csv") as stream:
        scores = {
            tuple(int(row[f"res{stage}.depth"]) for stage in (2, 3, 4, 5)): float(row["fitness"])
            for row in csv.DictReader(stream)
        }
    assert len(scores) == 5
    assert abs(scores[BASE.depths] - expected) < 1e-6 and expected > 0
    report = (tmp_path / "search" / "report.html").read_text()
    assert f"{BASE} (baseline)" in report and "the network of MODEL.WEIGHTS" in report


def test_a_network_of_other_pixels_is_not_searched(inherited):
    said = inherited.INPUT.FORMAT
    inherited.INPUT.FORMAT = "RGB" if said == "BGR" else "BGR"
    with pytest.raises(ValueError, match=rf"scores would be wrong\. Add .* INPUT\.FORMAT {said}$"):
        load_supernet(inherited)


def test_a_supernet_with_untrained_parts_is_not_searched(tmp_path):
    shuffle = {
        "MODEL.SUPERNET.FAMILY": "shufflenetv2",
        "MODEL.SHUFFLENETV2.CHANNELS": [4, 8, 12, 16, 20],
        "MODEL.INHERIT": True,
        "MODEL.WEIGHTS": str(tmp_path / "base.pth"),
    }
    base = build_model(toy.network_config(shuffle))
    torch.save({"model": base.state_dict()}, tmp_path / "base.pth")
    space = {"MODEL.SUPERNET.SPACE": "operation"}
    with pytest.raises(ValueError, match=r"lack 20 parts .*Train the supernet from them first"):
        load_supernet(toy.network_config(shuffle, space))
    kernels = {"MODEL.SUPERNET.OPERATION_OPTIONS": [0, 1, 2]}
    load_supernet(toy.network_config(shuffle, space, kernels))
