import logging
import re
from pathlib import Path

import detectron2
import pytest
import torch
import toy

from crnas_d2.config import load_config
from crnas_d2.engine.checks import check_config, check_search


def test_overrides_come_after_the_file_and_keep_their_types():
    cfg = load_config(str(toy.SUPERNET), ["SOLVER.MAX_ITER", "7", "DATASETS.ARCHVAL", "('a',)"])
    assert cfg.SOLVER.MAX_ITER == 7 and cfg.DATASETS.ARCHVAL == ("a",)
    assert cfg.MODEL.SUPERNET.SPACE == "stage"


def test_a_genotype_that_was_not_searched_yet_is_named(tmp_path):
    file = tmp_path / "searched" / "1x.yaml"
    file.parent.mkdir()
    for name, words in [
        ("../search/genotype.yaml", "search/genotype.yaml, which does not exist. A search leaves"),
        ("Base.yaml", "searched/Base.yaml, which does not exist."),
    ]:
        file.write_text(f"_BASE_: {name}\n")
        with pytest.raises(ValueError, match=re.escape(f"{file} inherits from {tmp_path}/{words}")):
            load_config(str(file), [])


def test_without_a_gpu_everything_runs_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load_config("", []).MODEL.DEVICE == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert load_config("", []).MODEL.DEVICE == "cuda"
    assert load_config("", ["MODEL.DEVICE", "cpu"]).MODEL.DEVICE == "cpu"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"MODEL.SUPERNET.PATH_SAMPLER": "alpha"}, "'alpha', but the stage space.*'uniform'"),
        ({"MODEL.GENOTYPE.CHANNELS": [[0]]}, "CHANNELS is set, but .*'stage'"),
        ({"MODEL.SUPERNET.PATH_SAMPLER": "unifrom"}, "'unifrom'.*uniform.*fixed"),
        ({"TEST.PRECISE_BN.ENABLED": True}, r"TEST\.PRECISE_BN\.ENABLED is True"),
        ({"MODEL.WEIGHTS": "no/such.pth"}, r"MODEL\.WEIGHTS is no/such\.pth"),
        (
            {"MODEL.GENOTYPE.DEPTHS": [9, 1, 2, 2], "MODEL.SUPERNET.PATH_SAMPLER": "fixed"},
            r"9 is not an option of res2\.depth",
        ),
        ({"MODEL.GENOTYPE.DEPTHS": [2, 2, 2, 2]}, "names one network, but .*PATH_SAMPLER"),
        ({"MODEL.RESNETS.NORM": "FrozenBN"}, "FrozenBN"),
        (
            {"MODEL.BACKBONE.NAME": "build_supernet_resnet"},
            "'build_supernet_resnet', which is not registered.*build_supernet_fpn_backbone",
        ),
        (
            {"MODEL.META_ARCHITECTURE": "RetinaNet"},
            "'build_supernet_fpn_backbone', but that outputs p2, .*RetinaNet needs "
            "'build_supernet_retinanet_fpn_backbone'",
        ),
        (
            {
                "MODEL.ROI_HEADS.NAME": "Res5ROIHeads",
                "MODEL.BACKBONE.NAME": "build_supernet_backbone",
            },
            "'Res5ROIHeads'.*builds res5 itself.*'StandardROIHeads'",
        ),
        ({"MODEL.ROI_HEADS.NUM_CLASSES": 7}, "NUM_CLASSES is 7, but 'toy_archtrain' has 2"),
        ({"DATASETS.TRAIN": ("toy_train",)}, r"DATASETS\.TRAIN names 'toy_train'"),
    ],
    ids=[
        "path sampler of another space",
        "channels",
        "path sampler",
        "PreciseBN",
        "weights",
        "genotype",
        "genotype of a supernet",
        "norm",
        "unknown backbone",
        "backbone of another head",
        "head with a stage of its own",
        "classes",
        "dataset",
    ],
)
def test_a_config_that_would_fail_or_mislead_later_is_refused(toy_datasets, overrides, words):
    cfg = toy.supernet_config(toy_datasets, overrides)
    with pytest.raises(ValueError, match=words):
        check_config(cfg, ["TRAIN"])


CHANNEL = {
    "MODEL.SUPERNET.SPACE": "channel",
    "MODEL.SUPERNET.PATH_SAMPLER": "alpha",
    "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 4,
}
DETECTRON2 = {"MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"MODEL.SUPERNET.SPACE": "stage"}, "cannot build the stage supernet"),
        # With which Detectron2's builder fails: it wants other channels of a ResNet-34.
        ({"MODEL.SUPERNET.SPACE": "stage", "MODEL.RESNETS.DEPTH": 34}, "the stage supernet"),
        ({"MODEL.SUPERNET.SPACE": "operation"}, "cannot build the operation supernet"),
        (CHANNEL, "cannot build the channel supernet"),
        ({"MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1]}, "cannot build that genotype"),
        ({"MODEL.GENOTYPE.OPS": [1] * 16}, "cannot build that genotype"),
        (
            {
                "MODEL.SUPERNET.SPACE": "stage",
                "MODEL.SUPERNET.PATH_SAMPLER": "fixed",
                "MODEL.GENOTYPE.DEPTHS": [3, 4, 6, 3],
                "MODEL.SUPERNET.STAGE_OPTIONS": [[3], [4], [6], [3]],
            },
            "cannot build that genotype",
        ),
    ],
    ids=["stage", "narrow", "operation", "channel", "depths", "ops", "fixed"],
)
def test_a_backbone_that_does_not_read_what_is_set_is_refused(overrides, words):
    cfg = toy.network_config(DETECTRON2, {"MODEL.RESNETS.DEPTH": 50}, overrides)
    named = r"'build_resnet_fpn_backbone', which does not read .*Use one of build_supernet_backbone"
    with pytest.raises(ValueError, match=named) as refused:
        check_config(cfg, [])
    assert words in str(refused.value)


def test_a_backbone_of_somebody_else_is_left_alone_where_nothing_is_searched():
    check_config(toy.network_config(DETECTRON2, {"MODEL.RESNETS.DEPTH": 50}), [])


def test_a_sound_config_passes(toy_datasets):
    check_config(toy.supernet_config(toy_datasets), ["TRAIN", "ARCHVAL", "TEST"])


def test_a_channel_supernet_is_checked_as_the_one_network_that_it_is(toy_datasets):
    norms = {"MODEL.RESNETS.NORM": "FrozenBN", "MODEL.BACKBONE.FREEZE_AT": 2}
    precise = {"TEST.PRECISE_BN.ENABLED": True}
    cfg = toy.network_config(toy_datasets, CHANNEL, norms, precise)
    check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"MODEL.SUPERNET.PATH_SAMPLER": "uniform"}, "'uniform', but the channel space.*'alpha'"),
        ({"MODEL.GENOTYPE.CHANNELS": [[0] * 4] * 13}, "CHANNELS names one network"),
        ({"DATASETS.ARCHVAL": ("toy_archtrain",)}, "share 12 images"),
    ],
    ids=["path sampler", "genotype", "overlap"],
)
def test_a_channel_search_that_would_mislead_is_refused(toy_datasets, overrides, words):
    cfg = toy.network_config(toy_datasets, CHANNEL, overrides)
    with pytest.raises(ValueError, match=words):
        check_config(cfg, ["TRAIN", "ARCHVAL"])


def test_pretrained_weights_without_the_plain_dilation_are_warned_of(
    toy_datasets, tmp_path, caplog
):
    weights = tmp_path / "model.pth"
    weights.touch()
    dilations = {
        "MODEL.SUPERNET.CHANNEL.STAGES": ["res4", "res5"],
        "MODEL.SUPERNET.CHANNEL.DILATIONS": [[1, 2], [2, 3]],
    }
    cfg = toy.network_config(toy_datasets, CHANNEL, dilations)
    with caplog.at_level(logging.WARNING, logger="crnas_d2"):
        check_config(cfg, ["TRAIN", "ARCHVAL"])
        assert "(1, 1)" not in caplog.text
        cfg.MODEL.WEIGHTS = str(weights)
        check_config(cfg, ["TRAIN", "ARCHVAL"])
    assert "dilations of res5.0.conv1" in caplog.text and "do not include (1, 1)" in caplog.text
    assert "res4" not in caplog.text


def test_a_warm_up_that_never_ends_is_warned_of(toy_datasets, caplog):
    with caplog.at_level(logging.WARNING, logger="crnas_d2"):
        check_config(toy.supernet_config(toy_datasets), ["TRAIN"])
        assert "WARMUP" not in caplog.text
        short = {"SOLVER.WARMUP_ITERS": 10, "SOLVER.MAX_ITER": 10}
        check_config(toy.supernet_config(toy_datasets, short), ["TRAIN"])
    assert "SOLVER.WARMUP_ITERS is 10, but SOLVER.MAX_ITER is 10" in caplog.text


def test_search_net_says_that_channels_are_searched_by_training(toy_datasets):
    with pytest.raises(ValueError, match=r"'channel'.*train_net\.py writes genotype\.yaml"):
        check_search(toy.network_config(toy_datasets, CHANNEL))


def test_a_detector_of_detectron2_may_have_what_ours_lack():
    file = Path(detectron2.__file__).parent / "model_zoo" / "configs" / "Base-RCNN-DilatedC5.yaml"
    cfg = load_config(str(file), ["MODEL.WEIGHTS", ""])
    assert cfg.MODEL.RESNETS.RES5_DILATION == 2 and check_config(cfg, []) is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"MODEL.META_ARCHITECTURE": "RetinaNett"}, "META_ARCHITECTURE is .* mean RetinaNet"),
        ({"MODEL.BACKBONE.NAME": "build_resnet_backbon"}, r"BACKBONE\.NAME.*build_resnet_backbone"),
        ({"MODEL.PROPOSAL_GENERATOR.NAME": "RPNN"}, r"PROPOSAL_GENERATOR\.NAME is .* mean RPN"),
        ({"MODEL.ROI_HEADS.NAME": "StandardRoiHead"}, r"ROI_HEADS\.NAME.* mean StandardROIHeads"),
        ({"MODEL.ANCHOR_GENERATOR.NAME": "Anchors"}, r"ANCHOR_GENERATOR\.NAME is 'Anchors'"),
        ({"MODEL.RPN.IN_FEATURES": ["p9"]}, "model cannot be built .KeyError in rpn.py.: 'p9'"),
        ({"MODEL.FPN.IN_FEATURES": []}, r"FPN\.IN_FEATURES is \[\]; expected some of .*res2, res3"),
        ({"MODEL.FPN.IN_FEATURES": ["res7"]}, r"FPN\.IN_FEATURES is \['res7'\]; expected some"),
        ({"MODEL.ANCHOR_GENERATOR.SIZES": [[8], [16]]}, "cannot be built.*Got sizes of length 2"),
        ({"MODEL.RPN.IOU_LABELS": [0, 1]}, r"cannot be built .AssertionError in matcher\.py"),
        ({"MODEL.DEVICE": "meta"}, "MODEL.DEVICE is 'meta', but it holds no values"),
        ({"MODEL.GENOTYPE.OPS": [0] * 8}, r"GENOTYPE\.OPS is set, but .*SPACE is 'stage'"),
    ],
    ids=str,
)
def test_a_model_that_cannot_be_built_is_refused(toy_datasets, overrides, words):
    with pytest.raises(ValueError, match=words):
        check_config(toy.supernet_config(toy_datasets, overrides), ["TRAIN"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"SOLVER.AMP.PRECISION": "half"}, r"AMP\.PRECISION is 'half'; expected one of 'float16'"),
        ({"SOLVER.GRADIENT_ACCUMULATION": 0}, r"ACCUMULATION is 0; expected a whole number of at"),
        (
            {"SOLVER.GRADIENT_ACCUMULATION": 4, "SOLVER.IMS_PER_BATCH": 6},
            r"GRADIENT_ACCUMULATION is 4; expected a divisor of SOLVER\.IMS_PER_BATCH, which is 6",
        ),
        ({"MODEL.KEYPOINT_ON": True}, "KEYPOINT_ON is True, but 'toy_archtrain' has no names of"),
        ({"MODEL.LOAD_PROPOSALS": True}, r"LOAD_PROPOSALS is True.*PROPOSAL_FILES_TRAIN has 0"),
    ],
    ids=str,
)
def test_what_lacks_what_a_training_needs_is_refused(toy_datasets, overrides, words):
    with pytest.raises(ValueError, match=words):
        check_config(toy.network_config(toy_datasets, overrides), ["TRAIN"])
