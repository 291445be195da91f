"""The configs of projects/CR-NAS: the paper's numbers."""

import re

import pytest
import toy
from project_toy import PROJECTS, body, check_data, check_schedule, copy_configs

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.search import build_searcher
from crnas_d2.space import Genotype, genotype_file

PROJECT = PROJECTS["CR-NAS"]
config, names = PROJECT.config, PROJECT.names


COCO, VOC, ARCHTRAIN, IMAGENET = 118_287, 5_011 + 11_540, 118_287 - 5_000, 1_281_167
# Epochs, and those after which the rate is divided by 10 (CR-NAS section 4.1, A.1, A.3, A.4).
SCHEDULES = {
    "1x": (COCO, 13, (8, 11)),
    "2x": (COCO, 25, (16, 22)),
    "VOC": (VOC, 18, (15, 17)),
    "20e": (COCO, 20, (16, 19)),
}


@pytest.mark.parametrize("name", names("baseline", "searched"))
def test_a_detector_has_the_schedule_and_the_network_of_its_name(name):
    cfg = config(name)
    schedule = name.rsplit("_", 1)[1]
    images, epochs, steps = SCHEDULES[schedule]
    sizes = (600, 1000) if schedule == "VOC" else (800, 1333)
    check_schedule(cfg, epochs * images / 16, [step * images / 16 for step in steps], sizes)
    check_data(cfg, "VOC" if schedule == "VOC" else "COCO")
    assert ("retinanet" in name) == (cfg.MODEL.META_ARCHITECTURE == "RetinaNet")
    network = re.search(r"_((CR-|stage-)?(MobileNetV2|[RX]\d+(-32x4d)?))_", name)[1]
    if name.startswith("searched/"):
        published = load_config(genotype_file(f"CR-NAS/{network}"), []).MODEL.GENOTYPE
        assert published == cfg.MODEL.GENOTYPE
    else:
        assert not cfg.MODEL.GENOTYPE.DEPTHS and not NetworkSpec.from_config(cfg).genotype.ops
    assert f"output/CR-NAS/pretrain/{network}/model_final.pth" == cfg.MODEL.WEIGHTS


def test_supernets_are_trained_as_the_paper_says():
    for name in ("stage-R18", "stage-R50", "stage-X50-32x4d", "operation-MobileNetV2"):
        cfg = config(f"supernet/{name}")
        check_schedule(cfg, 25 * ARCHTRAIN / 16, [16 * ARCHTRAIN / 16, 22 * ARCHTRAIN / 16])
        assert cfg.DATASETS.TRAIN == ("coco_2017_archtrain",)
        assert cfg.DATASETS.ARCHVAL == ("coco_2017_archval",)
        solver = config(f"pretrain/supernet-{name}").SOLVER
        assert round(150 * IMAGENET / 1024) == solver.MAX_ITER
        assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (1024, 0.4)
        assert (solver.MOMENTUM, solver.WEIGHT_DECAY) == (0.9, 1e-4)


def test_bn_decays_like_all_else_and_a_stage_supernet_begins_as_the_identity():
    for name in names("baseline", "pretrain", "search", "searched", "supernet"):
        cfg = config(name)
        assert cfg.SOLVER.WEIGHT_DECAY_NORM == cfg.SOLVER.WEIGHT_DECAY == 1e-4, name
        is_stage = name.startswith("pretrain/supernet-stage")
        assert is_stage == cfg.MODEL.CLASSIFIER.ZERO_INIT_RESIDUAL, name


# Evaluations of a whole search: the eligible allocations, or 3 + 9 per further block.
SEARCHES = {
    "stage-R18": 9,
    "stage-R50": 153,
    "stage-R101": 374,
    "stage-X50-32x4d": 153,
    "stage-X101-32x4d": 374,
    "stage-MobileNetV2": 43,
    "operation-R18": 3 + 9 * 7,
    "operation-R50": 3 + 9 * 15,
    "operation-R101": 3 + 9 * 32,
    # The stem before, and the two convolutions after the 17 blocks have one operation each.
    "operation-MobileNetV2": 3 + 9 * 16,
}


def candidates(cfg):
    cfg = cfg.clone()
    cfg.SEARCH.COSTS = []  # columns that take time
    spec = NetworkSpec.from_config(cfg)
    budgets = build_budgets(cfg, build_costs(cfg, spec))
    return build_searcher(cfg, spec.space, budgets).total


def test_a_search_has_as_many_candidates_as_the_paper_lets_it_have():
    found = {name.split("/")[1]: candidates(config(name)) for name in names("search")}
    assert found == SEARCHES


def test_the_configs_that_the_readme_writes_go_on_from_a_genotype_of_ones_own(tmp_path):
    output = copy_configs(tmp_path) / "output" / "CR-NAS"
    stage, final = Genotype((2, 2, 5, 7)), Genotype((2, 2, 5, 7), (0, 1) * 8)
    for folder, genotype in (("search/stage-R50", stage), ("own/search-operation", final)):
        (output / folder).mkdir(parents=True)
        genotype.to_yaml(output / folder / "genotype.yaml", family="resnet")
    written = re.findall(
        r"cat > output/CR-NAS/(\S+) <<'END'\n(.*?)END\n", PROJECT.readme, re.DOTALL
    )
    for name, content in written:
        (output / name).write_text(content)
    own = {name: load_config(str(output / name), []) for name, _ in written}

    shipped = config("supernet/operation-R50")
    operation, first = own["own-operation.yaml"], own["own-pretrain-operation.yaml"]
    assert NetworkSpec.from_config(operation).space.base == stage
    assert candidates(operation) == candidates(shipped)
    assert operation.SOLVER == shipped.SOLVER and operation.MODEL.RESNETS == shipped.MODEL.RESNETS
    assert body(first) == body(operation)
    assert f"{first.OUTPUT_DIR}/model_final.pth" == operation.MODEL.WEIGHTS

    network, classifier = own["own-1x.yaml"], own["own-pretrain.yaml"]
    assert NetworkSpec.from_config(network).genotype == final
    assert NetworkSpec.from_config(classifier).genotype == final
    assert body(network) == body(classifier)
    assert f"{classifier.OUTPUT_DIR}/model_final.pth" == network.MODEL.WEIGHTS
    assert network.SOLVER == config("searched/faster_rcnn_CR-R50_FPN_1x").SOLVER
    for cfg in (first, classifier):
        assert cfg.SOLVER.MAX_ITER == config("pretrain/CR-R50").SOLVER.MAX_ITER
        assert cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupCosineLR" and cfg.MODEL.WEIGHTS == ""


ROW = r"^\| `([\w./-]+)` \|((?: [\d.]+ \|){4}) ([\d.]+) \| ([\d.]+) \| ([+-][\d.]+) % \|$"
FLOPS = re.findall(ROW, (toy.ROOT / "docs" / "FLOPS.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("row", FLOPS, ids=[row[0] for row in FLOPS])
def test_a_detector_costs_what_the_document_and_the_paper_say(row):
    name, parts, ours, published, difference = row
    macs = toy.detector_macs(config(name), (800, 1088))
    body, neck, rpn, *heads = (value / 1e9 for value in macs.values())
    counted = [body, neck, rpn, sum(heads)]
    assert [f"{value:.2f}" for value in counted] == parts.replace("|", "").split()
    assert f"{sum(counted):.2f}" == ours
    assert f"{100 * (sum(counted) / float(published) - 1):+.2f}" == difference
    # We count convolutions and linear layers; BN and activations make the paper's a bit more.
    assert -1 < float(difference) < 0


def test_the_document_has_every_row_and_cr_costs_what_its_baseline_costs():
    ours = {name: float(cost) for name, _, cost, _, _ in FLOPS}
    assert len(ours) == len(FLOPS) == 14
    for name, cost in ours.items():
        if name.startswith("searched/"):
            baseline = ours[name.replace("searched/", "baseline/").replace("_CR-", "_")]
            assert abs(cost / baseline - 1) <= 0.003, name
