"""Searches whose candidates also differ in the size of their images."""

import csv
from pathlib import Path

import pytest
import torch
import toy
from detectron2.modeling import build_model

from crnas_d2 import load_config, run_search, run_training
from crnas_d2.checkpoint import TrainingCheckpointer, describe_network, read_file
from crnas_d2.common.errors import JobError
from crnas_d2.config import NetworkSpec
from crnas_d2.config.image_size import at_image_size
from crnas_d2.config.values import check_values
from crnas_d2.cost import body_cost, build_costs
from crnas_d2.engine.checks import check_search
from crnas_d2.engine.scores import ScoreBySize, build_score
from crnas_d2.engine.subnets import save_subnet
from crnas_d2.modeling.anchors import anchors_of
from crnas_d2.runs.searches import read_search
from crnas_d2.runs.training import Training, common_settings
from crnas_d2.space import Genotype

SMALL = toy.SIZE // 2
ANCHORS = [[6.0], [12.0], [24.0], [48.0], [80.0]]  # half of those of toy.TINY
BOTH = {"SEARCH.IMAGE_SIZES": [toy.SIZE, SMALL]}


@pytest.fixture(scope="module")
def searched(trained, tmp_path_factory):
    """The config of a finished search by two workers, and its best candidate."""
    cfg = trained.clone()
    folder = tmp_path_factory.mktemp("sizes")
    stages = {"MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1, 2], [2], [2, 3]]}
    cfg.merge_from_list(toy.as_list(BOTH, stages))
    cfg.MODEL.INHERIT, cfg.MODEL.SUPERNET.SHARING = True, "prefix"
    base = Genotype(depths=(2, 2, 2, 3))
    save_subnet(trained, build_trained(trained), base, folder / "base.pth")
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = str(folder / "base.pth"), str(folder / "search")
    cfg.SEARCH.BUDGET.BLOCKS = [8, 9]
    cfg.freeze()
    return cfg, run_search(cfg, num_workers=2)


def build_trained(cfg):
    model = build_model(cfg)
    TrainingCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model.eval()


def rows_of(cfg):
    with open(Path(cfg.OUTPUT_DIR, "candidates.csv")) as stream:
        return list(csv.DictReader(stream))


def depths_of(row):
    return tuple(int(value) for name, value in row.items() if name.endswith(".depth"))


def test_each_network_is_scored_at_each_size_and_costs_what_it_does_there(searched):
    cfg, _ = searched
    rows, plain = rows_of(cfg), cfg.clone()
    plain.defrost()
    plain.SEARCH.IMAGE_SIZES = []
    assert len(rows) == 2 * 4
    score = build_score(plain)
    for row in rows:
        depths, size = depths_of(row), int(row["image_size"])
        one = {"MODEL.GENOTYPE.DEPTHS": list(depths)}
        spec = NetworkSpec.from_config(toy.network_config(one))
        assert float(row["macs"]) == body_cost(spec, (size, size)).macs
        if size == toy.SIZE:
            assert float(row["fitness"]) == score(Genotype(depths=depths))["bbox/AP"]
    assert len({row["fitness"] for row in rows}) > 4
    page = Path(cfg.OUTPUT_DIR, "report.html").read_text()
    assert f"image_size=[{SMALL}]" in page and "(baseline)" in page
    result = read_search(cfg.OUTPUT_DIR)
    assert result.baseline.genotype == Genotype((2, 2, 2, 3), (), image_size=(toy.SIZE,))
    front = result.pareto_front(result.costs["MACS"])
    assert front[0].genotype.image_size == (SMALL,)


def test_the_smaller_network_is_used_as_it_was_scored(searched, toy_datasets, tmp_path):
    """``genotype.yaml`` alone sets images and anchors; weights and settings fit each other."""
    cfg, _ = searched
    again = cfg.clone()
    again.defrost()
    again.SEARCH.IMAGE_SIZES, again.OUTPUT_DIR = [SMALL], str(tmp_path / "search")
    best = run_search(again)
    known = {(row["image_size"], depths_of(row)): row["fitness"] for row in rows_of(cfg)}
    assert best.genotype.image_size == (SMALL,)
    assert float(known[str(SMALL), best.genotype.depths]) == best.fitness > 0

    weights, config = tmp_path / "search" / "model_best.pth", tmp_path / "found.yaml"
    config.write_text(f'_BASE_: ["base.yaml", "{tmp_path}/search/genotype.yaml"]\n')
    overrides = {"DATASETS.TEST": toy_datasets["DATASETS.ARCHVAL"], "SEARCH.IMAGE_SIZES": []}
    base = toy.network_config(toy_datasets, overrides)
    base.OUTPUT_DIR = str(tmp_path / "found")
    (tmp_path / "base.yaml").write_text(base.dump())
    network = load_config(str(config), ["MODEL.WEIGHTS", str(weights)])
    assert list(network.MODEL.GENOTYPE.IMAGE_SIZE) == [SMALL] == [network.INPUT.MIN_SIZE_TEST]
    assert network.INPUT.MIN_SIZE_TRAIN == (SMALL,) and network.INPUT.MAX_SIZE_TRAIN == SMALL
    assert network.MODEL.ANCHOR_GENERATOR.SIZES == ANCHORS
    results = run_training(network, eval_only=True)
    assert abs(results["bbox"]["AP"] - best.fitness) < 1e-6

    assert read_file(str(weights))["network"]["MODEL.ANCHOR_GENERATOR.SIZES"] == ANCHORS
    with pytest.raises(ValueError, match=r"ANCHOR_GENERATOR\.SIZES"):
        other = {"MODEL.WEIGHTS": str(weights), "MODEL.GENOTYPE.DEPTHS": best.genotype.depths}
        run_training(toy.network_config(toy_datasets, overrides, other), eval_only=True)
    with pytest.raises(ValueError, match=r"MIN_SIZE_TEST is 64, but .*IMAGE_SIZE is \[32\].*last"):
        load_config(str(config), ["INPUT.MIN_SIZE_TEST", "64"])


def test_anchors_of_another_factor_alone_pass_an_inheriting_network(searched, tmp_path):
    cfg, _ = searched
    network = at_image_size(toy.network_config({"MODEL.GENOTYPE.DEPTHS": [1, 2, 2, 2]}), SMALL)
    for sizes, passes in ((ANCHORS, True), ([[6], [12], [24], [48], [81.5]], False)):
        network.MODEL.ANCHOR_GENERATOR.SIZES = sizes
        model, settings = build_model(network), describe_network(network)
        checkpointer = TrainingCheckpointer(model, inherit=True, network=settings)
        checkpointer.load(cfg.MODEL.WEIGHTS)
        assert ("ANCHOR_GENERATOR.SIZES" in checkpointer.other_settings) != passes
    settings.pop("MODEL.GENOTYPE.IMAGE_SIZE")
    checkpointer = TrainingCheckpointer(model, inherit=True, network=settings)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    assert "ANCHOR_GENERATOR.SIZES" in checkpointer.other_settings


def test_a_search_is_resumed_with_its_own_sizes_alone(searched):
    cfg, best = searched
    before = rows_of(cfg)
    assert run_search(cfg, resume=True) == best and rows_of(cfg) == before
    other = cfg.clone()
    other.defrost()
    other.SEARCH.IMAGE_SIZES = [toy.SIZE, 48]
    with pytest.raises(JobError, match=r"is another search: .*space was .*image_size"):
        run_search(other, resume=True)


def test_a_pareto_front_over_blocks_and_sizes(searched, tmp_path):
    cfg = searched[0].clone()
    cfg.defrost()
    keys = {"ALGORITHM": "optuna", "SECOND_OBJECTIVE": "MACS", "OPTUNA.SAMPLER": "NSGAIISampler"}
    keys |= {"EVOLUTION.POPULATION": 6, "EVOLUTION.GENERATIONS": 1, "BUDGET.BLOCKS": []}
    cfg.merge_from_list(toy.as_list({f"SEARCH.{key}": value for key, value in keys.items()}))
    cfg.OUTPUT_DIR = str(tmp_path / "search")
    best = run_search(cfg)
    assert {row["image_size"] for row in rows_of(cfg)} == {str(toy.SIZE), str(SMALL)}
    result = read_search(cfg.OUTPUT_DIR)
    [cost] = result.compared_costs()
    front = result.pareto_front(cost)
    assert front[-1].fitness == best.fitness and front[0].genotype.image_size == (SMALL,)


def test_a_network_is_trained_by_itself_at_its_size(searched, tmp_path):
    """As finalists are, and the networks of a correlation."""
    cfg, _ = searched
    (tmp_path / "recipe.yaml").write_text(cfg.dump())
    configs = []
    for size in (toy.SIZE, SMALL):
        genotype = Genotype((1, 2, 2, 2), image_size=(size,))
        run = Training(genotype, 1, str(tmp_path / "recipe.yaml"), (), tmp_path)
        configs.append(run.config())
        check_values(configs[-1])
        common = common_settings(run)
    assert [c.MODEL.ANCHOR_GENERATOR.SIZES[1] for c in configs] == [[24], [12.0]]
    assert [c.INPUT.MIN_SIZE_TRAIN for c in configs] == [(toy.SIZE,), (SMALL,)]
    assert not {"INPUT.MIN_SIZE_TRAIN", "MODEL.ANCHOR_GENERATOR.SIZES"} & common.keys()
    assert configs[0].OUTPUT_DIR != configs[1].OUTPUT_DIR


def test_latencies_are_measured_at_each_size(tmp_path, monkeypatch):
    monkeypatch.setattr("crnas_d2.cost.latency_meter._MOST_ROUNDS", 5)
    cfg = toy.supernet_config(BOTH, {"SEARCH.COSTS": ["LATENCY"], "OUTPUT_DIR": str(tmp_path)})
    cost = build_costs(cfg, NetworkSpec.from_config(cfg))["LATENCY"]
    assert {file.name for file in tmp_path.iterdir()} == {"latency-64.json", "latency-32.json"}
    genotypes = [Genotype((1, 1, 2, 2), image_size=(size,)) for size in (toy.SIZE, SMALL)]
    assert [cost(g) for g in genotypes] == [
        cost.tables[size](Genotype((1, 1, 2, 2))) for size in (toy.SIZE, SMALL)
    ]


def test_sizes_share_the_memory_of_the_images_and_are_built_when_needed():
    built = []

    def build(cfg):
        built.append((cfg.INPUT.MIN_SIZE_TEST, cfg.SEARCH.IMAGE_CACHE))
        return lambda genotype: {"score": cfg.INPUT.MIN_SIZE_TEST}

    cfg = toy.supernet_config(BOTH, {"SEARCH.IMAGE_CACHE": 5.0})
    score = ScoreBySize(cfg, torch.nn.Identity(), build)
    for size in (SMALL, toy.SIZE, SMALL):
        assert score(Genotype((1, 1, 2, 2), image_size=(size,))) == {"score": size}
    assert built == [(SMALL, 1.0), (toy.SIZE, 4.0)]
    with pytest.raises(ValueError, match=r"has no image size; expected one of SEARCH\.IMAGE_SIZES"):
        score(Genotype((1, 1, 2, 2)))


RETINANET = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16, 20]],  # for all features
}


@pytest.mark.parametrize("settings", [{}, RETINANET], ids=["rcnn", "retinanet"])
def test_anchors_of_another_size_are_given_back(settings):
    cfg = toy.network_config({"MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1]}, settings)
    model = build_model(cfg)
    [head] = [module for module in model.modules() if hasattr(module, "anchor_generator")]
    own = head.anchor_generator
    with anchors_of(model, at_image_size(cfg, SMALL)):
        for cells, before in zip(head.anchor_generator.cell_anchors, own.cell_anchors, strict=True):
            torch.testing.assert_close(cells, before / 2)
        assert head.anchor_generator.strides == own.strides
    assert head.anchor_generator is own


REFUSED = [
    ({"SEARCH.SCORE": "entropy"}, r"IMAGE_SIZES is \[64, 32\], but .*looks at no images"),
    ({"MODEL.META_ARCHITECTURE": "ImageClassifier"}, "not known to detect objects"),
    ({"MODEL.ANCHOR_GENERATOR.NAME": "Mine"}, "'Mine' cannot be scaled"),
    ({"INPUT.MIN_SIZE_TEST": 0}, "MIN_SIZE_TEST is 0, but SEARCH.IMAGE_SIZES scales it"),
    ({"SEARCH.IMAGE_SIZES": [64, 64]}, r"IMAGE_SIZES is \[64, 64\]; expected different"),
    ({"SEARCH.IMAGE_SIZES": [0.5]}, r"IMAGE_SIZES is \[0.5\]; expected .*whole numbers"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_sizes_that_cannot_be_searched_are_refused(settings, message, toy_datasets):
    weights = {"MODEL.WEIGHTS": "some.pth", "OUTPUT_DIR": "none"}
    with pytest.raises(ValueError, match=message):
        check_search(toy.supernet_config(toy_datasets, BOTH, weights, settings))
