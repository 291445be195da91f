"""A search as a function, and the weights of what it found."""

import toy

from crnas_d2 import load_config, run_search, run_training


def test_the_weights_of_the_best_network_score_what_the_search_saw(trained, toy_datasets, tmp_path):
    cfg = trained.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "search")
    cfg.freeze()
    best = run_search(cfg)

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
