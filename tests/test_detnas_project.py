"""The configs of projects/DetNAS: the paper's numbers, the commands of the README."""

import re
import shlex

import pytest
import torch
from project_toy import (
    PROJECTS,
    body,
    check_data,
    check_schedule,
    copy_configs,
    cost_of,
    num_classes,
)
from shell import printed_commands

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.engine import Trainer
from crnas_d2.engine.checks import check_config
from crnas_d2.engine.solver import build_optimizer
from crnas_d2.search import build_searcher
from crnas_d2.space import Genotype, genotype_file, is_feasible

PROJECT = PROJECTS["DetNAS"]
config, names = PROJECT.config, PROJECT.names
DETECTORS = names("baseline", "searched")
RUNS = names("baseline", "pretrain", "search", "searched", "supernet")


@pytest.mark.parametrize("name", RUNS)
def test_a_config_is_accepted(name):
    cfg = config(name).clone()
    cfg.MODEL.WEIGHTS = ""
    check_config(cfg, [])


# Iterations, and those after which the rate is divided by 10 (DetNAS section 4.1 and table 1; the
# steps of VOC and from scratch at the same fractions).
SCHEDULES = {"COCO": (90_000, (60_000, 80_000)), "VOC": (22_500, (15_000, 20_000))}


def check_detector(cfg, detector, data, times=1):
    """All that the paper says of a detector and its training."""
    iterations, steps = SCHEDULES[data]
    check_schedule(cfg, times * iterations, [times * step for step in steps])
    model, retinanet = cfg.MODEL, detector == "RetinaNet"
    assert ("RetinaNet" if retinanet else "GeneralizedRCNN") == model.META_ARCHITECTURE
    assert num_classes(cfg) == {"COCO": 80, "VOC": 20}[data]
    assert model.SHUFFLENETV2.NORM == model.RESNETS.NORM == "SyncBN"
    assert ("" if retinanet else "SyncBN") == model.FPN.NORM
    levels = ["res3", "res4", "res5"] if retinanet else ["res2", "res3", "res4", "res5"]
    if model.SUPERNET.FAMILY == "detnet":
        assert [*levels, "res6"] == model.FPN.IN_FEATURES == model.RESNETS.OUT_FEATURES
    else:
        assert levels == model.FPN.IN_FEATURES == model.SHUFFLENETV2.OUT_FEATURES
    if not retinanet:
        head = model.ROI_BOX_HEAD
        assert (head.NAME, head.NUM_CONV, head.NUM_FC) == ("FastRCNNConvFCHead", 4, 1)
        assert (head.CONV_DIM, head.FC_DIM, head.NORM) == (256, 1024, "SyncBN")


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_has_the_schedule_and_the_network_of_its_name(name):
    cfg = config(name)
    data = "VOC" if name.endswith("_VOC") else "COCO"
    check_detector(cfg, "RetinaNet" if "/retinanet" in name else "FPN", data)
    check_data(cfg, data)
    network = re.search(r"_(R\d+|DetNet-59|ShuffleNetV2-\d+|DetNASNet-[\w.]+-\w+?)_", name)[1]
    assert f"output/DetNAS/pretrain/{network}/model_final.pth" == cfg.MODEL.WEIGHTS
    if network == "DetNet-59":
        assert cfg.MODEL.SUPERNET.FAMILY == "detnet"
        assert NetworkSpec.from_config(cfg).genotype.depths == (3, 4, 6, 3, 3)
    elif network.startswith("R"):
        assert cfg.MODEL.SUPERNET.FAMILY == "resnet" and network == f"R{cfg.MODEL.RESNETS.DEPTH}"
    else:
        published = load_config(genotype_file(f"DetNAS/{network}"), []).MODEL.GENOTYPE
        assert published == cfg.MODEL.GENOTYPE
        assert len(NetworkSpec.from_config(cfg).genotype.ops) == cfg.MODEL.SHUFFLENETV2.DEPTH


def test_supernets_are_trained_as_the_paper_says():
    for name in names("supernet"):
        cfg = config(name)
        label = "P-FPN-COCO" if name.endswith("/DetNASNet") else name.split("/")[1]
        scheme, detector, data = label.split("-")
        check_detector(cfg, detector, data, times={"P": 1, "S": 2}[scheme])
        space = 2 if name.endswith("/DetNASNet") else 1
        pretrained = f"output/DetNAS/pretrain/supernet-space{space}/model_final.pth"
        assert (pretrained if scheme == "P" else "") == cfg.MODEL.WEIGHTS
        splits = {"COCO": "coco_2017", "VOC": "voc_0712"}[data]
        assert ((f"{splits}_archtrain",), ()) == (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
        assert (f"{splits}_archval",) == cfg.DATASETS.ARCHVAL


@pytest.mark.parametrize("name", names("pretrain"))
def test_pretraining_is_that_of_the_paper(name):
    cfg = config(name)
    solver = cfg.SOLVER
    assert (solver.MAX_ITER, solver.IMS_PER_BATCH, solver.BASE_LR) == (300_000, 1024, 0.5)
    assert (solver.LR_SCHEDULER_NAME, solver.BASE_LR_END) == ("WarmupLinearLR", 0)
    assert (solver.MOMENTUM, solver.WEIGHT_DECAY, solver.WARMUP_ITERS) == (0.9, 4e-5, 0)
    assert cfg.MODEL.SHUFFLENETV2.OUT_FEATURES == ["head"]
    assert cfg.MODEL.SHUFFLENETV2.NORM == cfg.MODEL.RESNETS.NORM == "SyncBN"


@pytest.mark.parametrize("name", names("search"))
def test_a_search_is_algorithm_2_by_the_metric_of_its_dataset(name):
    cfg = config(name)
    evolution = cfg.SEARCH.EVOLUTION
    assert cfg.SEARCH.ALGORITHM == "evolution"
    assert (evolution.POPULATION, evolution.GENERATIONS, evolution.PARENTS) == (50, 20, 10)
    assert (evolution.MUTATION_PROBABILITY, evolution.CROSSOVER_SHARE) == (0.1, 0.5)
    assert cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES == 500 * 8
    if name.endswith("/ClsNASNet"):
        assert (cfg.SEARCH.METRIC, cfg.DATASETS.TEST) == ("classification/top1", ())
        assert cfg.DATASETS.ARCHVAL == ("imagenet_val",)
        return
    assert ("bbox/AP50" if name.endswith("VOC") else "bbox/AP") == cfg.SEARCH.METRIC
    most = 1_300_000_000 if name.endswith("/DetNASNet") else 300_000_000
    assert [0, most] == cfg.SEARCH.BUDGET.MACS and cfg.SEARCH.COST_INPUT_SIZE == [224, 224]


@pytest.mark.parametrize(
    ("search", "blocks", "most", "network"),
    [
        ("P-FPN-COCO", 20, 300e6, "DetNASNet-300M-FPN"),
        ("P-RetinaNet-COCO", 20, 300e6, "DetNASNet-300M-RetinaNet"),
        ("ClsNASNet", 20, 300e6, "DetNASNet-300M-FPN"),
        ("DetNASNet", 40, 1.3e9, "DetNASNet-1.3G-FPN"),
    ],
)
def test_a_search_has_the_space_and_the_budget_of_the_paper(search, blocks, most, network):
    cfg = config(f"search/{search}")
    spec = NetworkSpec.from_config(cfg)
    [budget] = build_budgets(cfg, build_costs(cfg, spec))
    assert spec.space.size == 4**blocks
    assert build_searcher(cfg, spec.space, [budget]).total == 20 * 50
    # A classifier's body has a convolution more, which no detector has.
    detecting = config(f"pretrain/{network}").clone()
    detecting.MODEL.SHUFFLENETV2.OUT_FEATURES = ["res5"]
    macs = cost_of(detecting, (224, 224)).macs
    genotype = NetworkSpec.from_config(detecting).genotype
    assert is_feasible(genotype, [budget])
    assert (budget.low, budget.high - budget.cost(genotype)) == (0, most - macs)


COSTS = {
    "R50": "3855.93",
    "R101": "7568.15",
    **dict(re.findall(r"^\| `([\w.-]+)`.* \| ([\d.]+) M \|$", PROJECT.readme, re.MULTILINE)),
}


@pytest.mark.parametrize("network", [name.split("/")[1] for name in names("pretrain")])
def test_a_network_costs_what_the_readme_says(network):
    if network.startswith("supernet"):
        return
    cfg = config(f"pretrain/{network}").clone()
    cfg.MODEL.SHUFFLENETV2.OUT_FEATURES = ["res5"]
    assert f"{cost_of(cfg, (224, 224)).macs / 1e6:.2f}" == COSTS[network]
    assert f"{COSTS[network]} M" in PROJECT.readme


def test_the_baselines_are_as_large_as_the_paper_says():
    assert 0.98 < float(COSTS["ShuffleNetV2-20"]) / 300 <= 1
    assert 0.98 < float(COSTS["ShuffleNetV2-40"]) / 1300 <= 1


def test_the_configs_that_the_readme_writes_train_the_networks_of_ones_own(tmp_path):
    [script] = re.findall(r"```\n(mkdir -p output/DetNAS/own\n.*?)```", PROJECT.readme, re.DOTALL)
    output = copy_configs(tmp_path) / "output" / "DetNAS"
    searches = [name.split("/")[1] for name in names("search") if "DetNASNet" not in name]
    files = {name: f"search/{name}/genotype.yaml" for name in searches}
    files |= {f"random-{i}": f"random/random-{i}.yaml" for i in range(1, 6)}
    genotypes = {
        name: Genotype((4, 4, 8, 4), tuple((index * step) % 4 for step in range(20)))
        for index, name in enumerate(files)
    }
    for name, file in files.items():
        (output / file).parent.mkdir(parents=True, exist_ok=True)
        genotypes[name].to_yaml(output / file, family="shufflenetv2")
    everywhere = {"ClsNASNet", *(f"random-{i}" for i in range(1, 6))}
    detectors = {"1x": "FPN-COCO", "VOC": "FPN-VOC"}
    detectors |= {"RetinaNet-1x": "RetinaNet-COCO", "RetinaNet-VOC": "RetinaNet-VOC"}
    expected = {(name, base) for name in everywhere for base in detectors}
    expected |= {(f"{scheme}-{of}", base) for scheme in "PS" for base, of in detectors.items()}
    pretrained, found = {}, set()
    for line in printed_commands(script, tmp_path):
        file = re.fullmatch(r"train_net\.py --num-gpus 8 --config-file (\S+)", line)[1]
        cfg = load_config(str(tmp_path / file), [])
        name = file.removeprefix("output/DetNAS/own/").removesuffix(".yaml")
        assert f"output/DetNAS/own/{name}" == cfg.OUTPUT_DIR
        if name.startswith("pretrain-"):
            network = name.removeprefix("pretrain-")
            assert config("pretrain/DetNASNet-300M-FPN").SOLVER == cfg.SOLVER
            pretrained[f"{cfg.OUTPUT_DIR}/model_final.pth"] = cfg
        else:
            network, base = name.split("_")
            assert body(pretrained[cfg.MODEL.WEIGHTS]) == body(cfg)
            check_detector(cfg, *detectors[base].split("-"))
            found.add((network, base))
        assert NetworkSpec.from_config(cfg).genotype == genotypes[network], name
    assert found == expected and len(pretrained) == len(genotypes)


def test_the_detector_of_detectrons_model_zoo_is_an_override_away():
    [command] = re.findall(r"\n(python train_net\.py [^`]*R-50\.pkl[^`]*)```", PROJECT.readme)
    words = shlex.split(command.replace("\\\n", "").replace("$CONFIGS", str(PROJECT.configs)))
    file = words.index("--config-file") + 1
    cfg = load_config(words[file], words[file + 1 :])
    check_config(cfg, [])
    cfg.MODEL.WEIGHTS = ""
    model = Trainer.build_model(cfg)
    kinds = {type(module).__name__ for module in model.modules()}
    assert "FrozenBatchNorm2d" in kinds and not kinds & {"BatchNorm2d", "SyncBatchNorm"}
    linear = [type(module) for module in model.roi_heads.box_head].count(torch.nn.Linear)
    assert linear == 2
    assert model.backbone.bottom_up.res3[0].conv1.stride == (2, 2)  # as MSRA's weights have it


def test_the_readme_prints_a_command_for_every_supernet_and_search(tmp_path):
    [script] = re.findall(r"```\n(# Splits.*?)```", PROJECT.readme, re.DOTALL)
    lines = printed_commands(f"CONFIGS={PROJECT.configs}\n{script}", tmp_path)
    found = [re.search(r"configs/(\S+)\.yaml", line) for line in lines]
    pretrained = {"pretrain/supernet-space1", "pretrain/supernet-space2"}
    expected = pretrained | {*names("supernet", "search")}
    assert {match[1] for match in found if match} == expected


def test_the_weight_decay_of_bn_is_that_of_the_authors():
    pretraining, detector = config("pretrain/supernet-space1"), config("supernet/P-RetinaNet-VOC")
    for cfg, scale, rate in ((pretraining, 0.0, 1), (detector, 1e-4, 2)):
        solver = cfg.SOLVER
        assert (scale, 0.0) == (solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_BIAS)
        assert rate == solver.BIAS_LR_FACTOR
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    optimizer = build_optimizer(detector, model)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    rates = [(groups[id(p)]["weight_decay"], groups[id(p)]["lr"]) for p in model.parameters()]
    rate = detector.SOLVER.BASE_LR
    assert rates == [(1e-4, rate), (0.0, 2 * rate)] * 2
