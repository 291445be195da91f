"""A kind of supernet from outside the package is one file."""

import pytest
import third_kind
import toy

from crnas_d2 import Genotype, NetworkSpec, run_training
from crnas_d2.engine import Trainer
from crnas_d2.engine.checks import check_training
from crnas_d2.engine.scores import SupernetScore
from crnas_d2.engine.subnets import load_supernet
from crnas_d2.modeling import find_supernet
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.testing import check_kind

KIND = {"MODEL.SUPERNET.SPACE": "last stage", "MODEL.SUPERNET.PATH_SAMPLER": "in turn"}


@pytest.fixture(scope="module")
def trained(toy_datasets, tmp_path_factory):
    cfg = toy.supernet_config(
        toy_datasets,
        KIND,
        {
            "PLUGINS": ["third_kind"],
            "SOLVER.MAX_ITER": 2,
            "DATASETS.TEST": ("toy_test",),
            "OUTPUT_DIR": str(tmp_path_factory.mktemp("third")),
        },
    )
    check_training(cfg)
    run_training(cfg)
    return cfg


def test_it_finds_a_network_while_it_is_trained(trained):
    cfg = toy.network_config(KIND, {"MODEL.SUPERNET.PATH_SAMPLER": "uniform"})
    with pytest.raises(ValueError, match=r"but the last stage space is trained with 'in turn'"):
        NetworkSpec.from_config(cfg)
    found = Genotype.from_yaml(f"{trained.OUTPUT_DIR}/genotype.yaml")
    assert found.depths in [(1, 1, 1, depth) for depth in third_kind.OPTIONS]


def test_it_keeps_the_contract_of_a_kind():
    check_kind(
        third_kind.LastStageKind(), ResNetFamily(18, stem_out_channels=4, res2_out_channels=8)
    )


def test_its_checks_are_those_of_the_training(trained):
    cfg = trained.clone()
    cfg.SOLVER.MAX_ITER, cfg.OUTPUT_DIR = 1, f"{cfg.OUTPUT_DIR}/other"
    with pytest.raises(ValueError, match="too small to try each depth"):
        check_training(cfg)


def test_its_subnets_are_scored(trained):
    cfg = trained.clone()
    cfg.MODEL.WEIGHTS = f"{cfg.OUTPUT_DIR}/model_final.pth"
    evaluator = SupernetScore.from_config(cfg, load_supernet(cfg))
    for genotype in find_supernet(Trainer.build_model(cfg)).space:
        assert "bbox/AP" in evaluator(genotype)
