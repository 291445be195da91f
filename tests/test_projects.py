"""All projects alike: a step and an inference of each kind of config, what runs start from."""

import re
from random import Random

import pytest
import torch
import toy
from project_toy import (
    PROJECTS,
    ToyTrainer,
    body,
    config_file,
    train_classifier_then_load,
    train_one_step,
)

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.engine.checks import check_config
from crnas_d2.modeling import find_supernet
from crnas_d2.space import genotype_file

BOX = {"loss_rpn_cls", "loss_box_reg"}
ONE_STAGE = {"loss_cls", "loss_box_reg"}
CASCADE = {"loss_mask", "loss_box_reg_stage0", "loss_box_reg_stage2"}


@pytest.mark.parametrize(
    ("name", "losses"),
    [
        ("CR-NAS/baseline/faster_rcnn_R18_FPN_1x", BOX),
        ("CR-NAS/searched/faster_rcnn_CR-R50_FPN_2x", BOX),
        ("CR-NAS/searched/faster_rcnn_stage-X50-32x4d_FPN_1x", BOX),
        ("CR-NAS/searched/faster_rcnn_CR-R50_NAS-FPN_1x", BOX),
        ("CR-NAS/searched/mask_rcnn_CR-MobileNetV2_FPN_1x", {"loss_mask"}),
        ("CR-NAS/searched/cascade_mask_rcnn_CR-R101_FPN_20e", CASCADE),
        ("CR-NAS/searched/retinanet_CR-R50_FPN_1x", ONE_STAGE),
        ("DetNAS/baseline/faster_rcnn_ShuffleNetV2-20_FPN_VOC", BOX),
        ("DetNAS/baseline/faster_rcnn_DetNet-59_FPN_1x", BOX),
        ("DetNAS/searched/faster_rcnn_DetNASNet-300M-FPN_1x", BOX),
        ("DetNAS/searched/retinanet_DetNASNet-300M-RetinaNet_1x", ONE_STAGE),
    ],
)
def test_a_network_trains_and_detects(name, losses, masks, tmp_path):
    cfg, model, logged = train_one_step(config_file(name), masks, tmp_path)
    assert losses <= set(logged)
    cfg.DATASETS.TEST = ("toy_masks",)
    results = ToyTrainer.test(cfg, model)
    assert set(results) == ({"bbox", "segm"} if "loss_mask" in losses else {"bbox"})
    assert {"AP", "AP50"} <= set(results["bbox"])


@pytest.mark.parametrize(
    "name",
    [
        "CR-NAS/supernet/stage-R50",
        "CR-NAS/supernet/operation-MobileNetV2",
        "DetNAS/supernet/P-FPN-COCO",
        "DetNAS/supernet/S-RetinaNet-VOC",
    ],
)
def test_a_supernet_trains_and_its_subnets_detect(name, masks, tmp_path):
    cfg, model, _ = train_one_step(config_file(name), masks, tmp_path)
    space = NetworkSpec.from_config(cfg).space
    for genotype in (next(iter(space)), space.sample(Random(0))):
        find_supernet(model).set_path(genotype)
        with torch.no_grad():
            [found] = model.eval()([{"image": torch.zeros(3, toy.SIZE, toy.SIZE)}])
        assert found["instances"].pred_boxes.tensor.isfinite().all()


@pytest.mark.parametrize(
    ("classifier", "detector"),
    [
        ("CR-NAS/pretrain/CR-MobileNetV2", "CR-NAS/searched/faster_rcnn_CR-MobileNetV2_FPN_1x"),
        ("CR-NAS/pretrain/supernet-operation-R18", "CR-NAS/supernet/operation-R18"),
        (
            "DetNAS/pretrain/DetNASNet-300M-RetinaNet",
            "DetNAS/searched/retinanet_DetNASNet-300M-RetinaNet_1x",
        ),
        ("DetNAS/pretrain/supernet-space1", "DetNAS/supernet/P-FPN-COCO"),
        ("CR-NAS/pretrain/X101-32x4d", "NATS/search/X101-32x4d-C32"),
    ],
)
def test_a_detector_starts_from_its_pretrained_body(
    classifier, detector, toy_datasets, tmp_path, registered
):
    pretrained, loaded = train_classifier_then_load(
        config_file(classifier), config_file(detector), toy_datasets, tmp_path
    )
    # A channel search has a replica for each dilation, and what describes the dilations.
    names = {name: re.sub(r"\.conv2\.weights\.\d+", ".conv2.weight", name) for name in loaded}
    for name, original in names.items():
        if not name.endswith((".alpha", ".dilation_set")):
            assert torch.equal(loaded[name], pretrained[original]), name
    # No detector has the last convolution of a ShuffleNetV2 before its classifier.
    left = {name.split(".")[0] for name in pretrained.keys() - names.values()}
    assert left == ({"head"} if classifier.startswith("DetNAS") else set())


@pytest.mark.parametrize(
    ("project", "scratch"), [("CR-NAS", "pretrain/"), ("DetNAS", ("pretrain/", "supernet/S-"))]
)
def test_every_run_has_its_folder_and_starts_from_a_run_with_the_same_body(project, scratch):
    names = PROJECTS[project].names("baseline", "pretrain", "search", "searched", "supernet")
    runs = {name: PROJECTS[project].config(name) for name in names}
    by_folder = {cfg.OUTPUT_DIR: name for name, cfg in runs.items()}
    assert len(by_folder) == len(runs), "two runs in one folder"
    for name, cfg in runs.items():
        assert (not cfg.MODEL.WEIGHTS) == name.startswith(scratch), name
        if cfg.MODEL.WEIGHTS:
            first = by_folder[cfg.MODEL.WEIGHTS.removesuffix("/model_final.pth")]
            assert body(runs[first]) == body(cfg), f"{name} starts from {first}"


@pytest.mark.parametrize(
    ("project", "in_no_table"),
    [
        ("CR-NAS", {"baseline/retinanet_R50_FPN_1x", "searched/retinanet_CR-R50_FPN_1x"}),
        ("DetNAS", set()),
        ("NATS", {"searched/faster_rcnn_CR-R50-G16_FPN_1x"}),
    ],
)
def test_a_readme_names_every_detector_and_search_and_no_missing_file(project, in_no_table):
    folder, readme = PROJECTS[project], PROJECTS[project].readme
    row = r"^\| `((?:baseline|searched)/[\w.-]+)` \|"
    listed = re.findall(row, readme, re.MULTILINE)
    rows = set(listed) if project == "NATS" else listed  # which lists networks in several tables
    assert sorted([*rows, *in_no_table]) == folder.names("baseline", "searched")
    for name in folder.names("search", "supernet"):
        assert name.split("/")[1] in readme, name
    text = readme.replace("$CONFIGS/", f"projects/{project}/configs/")
    pattern = r"(?<![\w./-])(?:projects|configs|tools)/[\w./-]+\.(?:yaml|py)"
    for file in re.findall(pattern, text):
        assert (toy.ROOT / file).is_file(), file


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("CR-NAS/searched/faster_rcnn_CR-R18_FPN_1x", "CR-NAS/pretrain/CR-R18"),
        ("DetNAS/supernet/P-FPN-COCO", "DetNAS/pretrain/supernet-space1"),
    ],
)
def test_weights_that_are_not_there_yet_are_named(name, weights, tmp_path, monkeypatch):
    cfg = load_config(config_file(name), [])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"output/{weights}/model_final\.pth"):
        check_config(cfg, [])


def test_a_genotype_of_another_family_is_refused_with_both_names(tmp_path):
    bases = [config_file("CR-NAS/searched/faster_rcnn_CR-R50_FPN_1x")]
    bases.append(genotype_file("CR-NAS/CR-MobileNetV2"))
    (tmp_path / "mixed.yaml").write_text(f"_BASE_: [{', '.join(map(str, bases))}]\n")
    cfg = load_config(str(tmp_path / "mixed.yaml"), ["MODEL.WEIGHTS", ""])
    with pytest.raises(ValueError, match=r"family 'mobilenetv2', but .*FAMILY is 'resnet'"):
        check_config(cfg, [])
