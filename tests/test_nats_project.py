"""The configs of projects/NATS: the paper's numbers; search, retraining, inference of each kind."""

import re

import pytest
import torch
import toy
import weight_files
from project_toy import (
    PROJECTS,
    TINY,
    Project,
    ToyTrainer,
    after_searches,
    body,
    check_data,
    check_schedule,
    copy_configs,
    cost_of,
    train_one_step,
)
from shell import printed_commands

from crnas_d2.checkpoint import TrainingCheckpointer
from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.engine import Trainer
from crnas_d2.engine.checks import check_config
from crnas_d2.modeling import find_supernet
from crnas_d2.report import write_found_network
from crnas_d2.space import Genotype

PROJECT, CRNAS = PROJECTS["NATS"], PROJECTS["CR-NAS"]
SEARCHES = PROJECT.names("search")
BASELINES, SEARCHED = PROJECT.names("baseline"), PROJECT.names("searched")
RUNS = [*SEARCHES, *BASELINES, *SEARCHED]

WIDTH = {"MODEL.RESNETS.WIDTH_PER_GROUP": 16}  # so that 16 channel groups fit


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project after all its searches, each of which has found a random network."""
    return Project("NATS", after_searches(tmp_path_factory.mktemp("searched")))


@pytest.mark.parametrize(
    ("search", "detector", "tasks", "losses"),
    [
        ("R50-G16", "faster_rcnn", {"bbox"}, {"loss_box_reg"}),
        ("R50-G16", "mask_rcnn", {"bbox", "segm"}, {"loss_mask"}),
        ("R50-G16", "cascade_rcnn", {"bbox"}, {"loss_box_reg_stage0", "loss_box_reg_stage2"}),
        ("R50-G16", "retinanet", {"bbox"}, {"loss_cls", "loss_box_reg"}),
        ("R50-G16-A", "faster_rcnn", {"bbox"}, {"loss_box_reg"}),
        ("X101-32x4d-C32", "faster_rcnn", {"bbox"}, {"loss_box_reg"}),
        ("CR-R50-G16", "faster_rcnn", {"bbox"}, {"loss_box_reg"}),
    ],
)
def test_what_a_search_finds_is_retrained_and_detects(
    search, detector, tasks, losses, masks, toy_datasets, tmp_path
):
    project = Project("NATS", copy_configs(tmp_path))
    width = {} if search.startswith("X101") else WIDTH
    output = tmp_path / "output" / "NATS" / "search" / search
    output.mkdir(parents=True)
    file = project.file(f"search/{search}")
    cfg, model, logged = train_one_step(file, {**toy_datasets, **width}, output)
    assert {"loss_box_reg", "alpha/loss_box_reg"} <= set(logged)
    assert all(conv.alpha.any() for conv in find_supernet(model).convs.values())
    space = NetworkSpec.from_config(cfg).space
    found = find_supernet(model).decode()
    write_found_network(found, space, cfg.OUTPUT_DIR, cfg.MODEL.SUPERNET.FAMILY, cfg.SEED)

    file = project.file(f"searched/{detector}_{search}_FPN_1x")
    cfg, model, logged = train_one_step(file, {**masks, **width}, tmp_path)
    assert NetworkSpec.from_config(cfg).genotype == found and losses <= set(logged)
    cfg.DATASETS.TEST = ("toy_masks",)
    results = ToyTrainer.test(cfg, model)
    assert set(results) == tasks and {"AP", "AP50"} <= set(results["bbox"])


@pytest.mark.parametrize(
    ("base", "losses"),
    [
        ("Base-Mask", {"loss_mask"}),
        ("Base-Cascade", {"loss_box_reg_stage0", "loss_box_reg_stage2"}),
        ("Base-RetinaNet", {"loss_cls", "loss_box_reg"}),
    ],
)
def test_a_search_with_another_detector_trains_both_halves(base, losses, masks, tmp_path):
    bases = ", ".join(map(PROJECT.file, (base, "network/R50", "search/Base-search")))
    file = tmp_path / "search.yaml"
    file.write_text(f"_BASE_: [{bases}]\n")
    images = {**masks, "DATASETS.ARCHVAL": masks["DATASETS.TRAIN"]}
    _, model, logged = train_one_step(str(file), {**images, **WIDTH}, tmp_path)
    assert losses | {f"alpha/{loss}" for loss in losses} <= set(logged)
    assert ("loss_rpn_cls" in logged) == (base != "Base-RetinaNet")
    convs = find_supernet(model).convs.values()
    assert len(convs) == 13 and all(conv.alpha.any() for conv in convs)


def test_search_and_retraining_start_from_the_weights_of_the_baseline(project, tmp_path):
    def build(name):
        cfg = load_config(project.file(name), toy.as_list(TINY, WIDTH))
        return Trainer.build_model(cfg)

    base = build("baseline/faster_rcnn_R50_FPN_1x")
    published = weight_files.known_values(base.backbone.bottom_up)
    file = weight_files.write(tmp_path, "caffe2.pkl", published)  # as MSRA's
    original = published["res4.2.conv2.weight"]

    search, found = build("search/R50-G16"), build("searched/faster_rcnn_R50-G16_FPN_1x")
    for model in (search, found):
        TrainingCheckpointer(model).load(file)
    mixed, decoded = (model.backbone.bottom_up.res4[2].conv2 for model in (search, found))
    assert len(mixed.weights) == 5
    assert all(torch.equal(weight, original) for weight in mixed.weights)
    loaded = torch.cat(list(decoded.weights))
    assert torch.equal(loaded, original[list(decoded.output_order)])


@pytest.mark.parametrize("name", RUNS)
def test_a_config_is_accepted(name, project):
    cfg = load_config(project.file(name), [])
    if "://" not in cfg.MODEL.WEIGHTS:
        cfg.MODEL.WEIGHTS = ""
    check_config(cfg, [])


@pytest.mark.parametrize("name", [*BASELINES, *SEARCHED])
def test_a_detector_is_trained_as_the_paper_says(name, project):
    cfg = project.config(name)
    check_schedule(cfg, 13 * 118_287 / 16, [8 * 118_287 / 16, 11 * 118_287 / 16])
    check_data(cfg, "COCO")
    assert ("mask_rcnn" in name) == cfg.MODEL.MASK_ON
    assert ("cascade" in name) == (cfg.MODEL.ROI_HEADS.NAME == "CascadeROIHeads")
    assert ("retinanet" in name) == (cfg.MODEL.META_ARCHITECTURE == "RetinaNet")
    assert (cfg.MODEL.RESNETS.NORM, cfg.MODEL.FPN.NORM) == ("SyncBN", "")


WEIGHTS = {
    "R50": "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
    "R101": "detectron2://ImageNetPretrained/MSRA/R-101.pkl",
    "X101-32x4d": "output/CR-NAS/pretrain/X101-32x4d/model_final.pth",
    "CR-R50": "output/CR-NAS/pretrain/CR-R50/model_final.pth",
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_the_network_and_the_weights_of_its_name(name, project):
    cfg = project.config(name)
    assert f"output/NATS/{name}" == cfg.OUTPUT_DIR
    network = re.search(r"(CR-R50|R50|R101|X101-32x4d)", name)[1]
    assert WEIGHTS[network] == cfg.MODEL.WEIGHTS
    if cfg.MODEL.WEIGHTS.startswith("detectron2://"):
        assert (f"R{cfg.MODEL.RESNETS.DEPTH}", True) == (network, cfg.MODEL.RESNETS.STRIDE_IN_1X1)
    else:
        pretrained = CRNAS.config(f"pretrain/{network}")
        assert f"{pretrained.OUTPUT_DIR}/model_final.pth" == cfg.MODEL.WEIGHTS
        assert body(pretrained)[2:] == body(cfg)[2:]  # all but SUPERNET and GENOTYPE
        assert pretrained.MODEL.GENOTYPE.OPS == cfg.MODEL.GENOTYPE.OPS
    if name.startswith("searched/"):
        search = re.fullmatch(r"searched/(?:\w+_rcnn|retinanet)_(.+)_FPN_1x", name)[1]
        genotype = project.root / "output" / "NATS" / "search" / search / "genotype.yaml"
        assert NetworkSpec.from_config(cfg).genotype == Genotype.from_yaml(genotype)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_has_the_splits_and_the_schedule_of_the_paper(name):
    cfg = PROJECT.config(name)
    assert cfg.DATASETS.TRAIN == ("coco_2014_train",) and cfg.DATASETS.TEST == ()
    assert cfg.DATASETS.ARCHVAL == ("coco_2014_valminusminival",)
    assert (*cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN) == (800, 1200)
    solver, alpha = cfg.SOLVER, cfg.SOLVER.ALPHA
    assert round(25 * 82_783 / 8) == solver.MAX_ITER
    assert (solver.IMS_PER_BATCH, solver.REFERENCE_WORLD_SIZE) == (8, 8)
    assert solver.LR_SCHEDULER_NAME == "WarmupCosineLR"
    assert (solver.BASE_LR, solver.BASE_LR_END) == (8 * 0.00125, 8 * 0.00005)
    assert (solver.MOMENTUM, solver.WEIGHT_DECAY) == (0.9, 1e-4)
    assert (alpha.BASE_LR, alpha.WEIGHT_DECAY, alpha.START) == (0.01, 1e-5, 10 / 25)
    assert (cfg.MODEL.SUPERNET.SHARING, cfg.MODEL.RESNETS.NORM) == ("none", "SyncBN")


# (height, width) in res3 and res4, and in res5.
A = (((1, 1), (3, 3)), ((1, 1), (3, 3), (5, 5)))
B = (((1, 1), (2, 2), (3, 3)), ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5)))
C = ((*B[0], (1, 3), (3, 1)), (*B[1], (1, 3), (3, 1), (1, 5), (5, 1)))
# Of each search: set, blocks of res3 to res5, channel groups of their convolutions.
SPACES = {
    **{f"R50-G{groups}": (C, (4, 6, 3), (groups,) * 3) for groups in (1, 2, 4, 8, 16, 32)},
    **{
        f"R50-C{size}": (C, (4, 6, 3), (128 // size, 256 // size, 512 // size))
        for size in (1, 8, 16, 32, 64)
    },
    "R50-G16-A": (A, (4, 6, 3), (16, 16, 16)),
    "R50-G16-B": (B, (4, 6, 3), (16, 16, 16)),
    "R101-C32": (C, (4, 23, 3), (4, 8, 16)),
    "X101-32x4d-C32": (C, (4, 23, 3), (8, 16, 32)),
    "CR-R50-G16": (C, (3, 5, 7), (16, 16, 16)),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_has_the_dilations_and_the_groups_of_the_paper(name):
    (early, late), blocks, groups = SPACES[name.removeprefix("search/")]
    expected = [
        (f"{stage}.{block}.conv2", late if stage == "res5" else early, number)
        for stage, depth, number in zip(("res3", "res4", "res5"), blocks, groups, strict=True)
        for block in range(depth)
    ]
    space = NetworkSpec.from_config(PROJECT.config(name)).space
    assert [(conv.name, conv.dilations, conv.num_groups) for conv in space.convs] == expected
    assert len(SPACES) == len(SEARCHES)


COSTS = re.findall(r"^\| (ResNe\S+) \| (\S+) G \| (\S+) M \| (\S+) M \|$", PROJECT.readme, re.M)
NAMES = {"ResNet-50": "R50-G16", "ResNet-101": "R101-C32", "ResNeXt-101-32x4d": "X101-32x4d-C32"}


@pytest.mark.parametrize(("network", "counted"), [(row[0], row[1:]) for row in COSTS])
def test_a_found_network_costs_what_its_base_and_the_readme_say(network, counted, project):
    name = NAMES[network]
    base = PROJECT.config(f"baseline/faster_rcnn_{name.rpartition('-')[0]}_FPN_1x")
    found = project.config(f"searched/faster_rcnn_{name}_FPN_1x")
    cost = cost_of(base, (800, 1088))
    assert cost_of(found, (800, 1088)) == cost and found.MODEL.GENOTYPE.CHANNELS
    mixed = cost_of(PROJECT.config(f"search/{name}"), (64, 64)).parameters
    numbers = (cost.macs / 1e9, cost.parameters / 1e6, mixed / 1e6)
    assert tuple(f"{number:.2f}" for number in numbers) == counted
    assert len(COSTS) == len(NAMES)


def test_channels_of_cr_resnet_cost_nothing_either(project):
    found = project.config("searched/faster_rcnn_CR-R50-G16_FPN_1x")
    base = CRNAS.config("searched/faster_rcnn_CR-R50_FPN_1x")
    assert cost_of(found, (800, 1088)) == cost_of(base, (800, 1088))
    assert found.MODEL.GENOTYPE.OPS == base.MODEL.GENOTYPE.OPS


def test_the_commands_of_the_readme_run_every_config(tmp_path):
    root = after_searches(tmp_path)
    script = "\n".join(re.findall(r"```\n(.*?)```", PROJECT.readme, re.DOTALL))
    first, *lines = printed_commands(script, root)
    assert first == "tools/prepare_archval.py --preset nats-coco2014"
    files = [re.search(r"--config-file (\S+)", line)[1] for line in lines]

    own = load_config(str(root / "output" / "NATS" / "own" / "search.yaml"), [])
    space, shipped = NetworkSpec.from_config(own).space, PROJECT.config("search/R50-G16")
    assert space == NetworkSpec.from_config(shipped).space and own.SOLVER == shipped.SOLVER
    genotype = space.genotype([[1] * conv.num_groups for conv in space.convs])
    (root / own.OUTPUT_DIR).mkdir()
    file = root / own.OUTPUT_DIR / "genotype.yaml"
    genotype.to_yaml(file, family="resnet", channel=space.to_config())
    network = load_config(str(root / "output" / "NATS" / "own" / "1x.yaml"), [])
    assert NetworkSpec.from_config(network).genotype == genotype
    assert body(network)[2:] == body(own)[2:]
    assert network.SOLVER == PROJECT.config("baseline/faster_rcnn_R50_FPN_1x").SOLVER

    done = {load_config(str(root / file), []).OUTPUT_DIR for file in files}
    assert {f"output/NATS/{name}" for name in RUNS} <= done


def test_all_rows_skip_what_one_row_has_made_and_resume_what_was_interrupted(tmp_path):
    root = copy_configs(tmp_path)
    [script] = re.findall(r"```\n(train\(\).*?)```", PROJECT.readme, re.DOTALL)
    for run, file in {
        "search/R50-G16": "model_final.pth",
        "baseline/faster_rcnn_R50_FPN_1x": "model_final.pth",
        "search/R50-G1": "last_checkpoint",
    }.items():
        folder = root / "output" / "NATS" / run
        folder.mkdir(parents=True)
        (folder / file).touch()
    lines = printed_commands(script, root)
    configs = "projects/NATS/configs"
    made = re.compile(r"search/R50-G16\.|baseline/faster_rcnn_R50_")
    assert not any(map(made.search, lines))
    command = "train_net.py --num-gpus 8"
    assert f"{command} --resume --config-file {configs}/search/R50-G1.yaml" in lines
    assert f"{command} --config-file {configs}/searched/faster_rcnn_R50-G16_FPN_1x.yaml" in lines
    # All but these two, the row that is in no table, and the pretraining of its network.
    everything = [n for n in RUNS if "CR-R50" not in n]
    assert len(lines) == len(everything) - 2 + 1 and len(set(lines)) == len(lines)
