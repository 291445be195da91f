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


CHANNEL = {
    "MODEL.SUPERNET.SPACE": "channel",
    "MODEL.SUPERNET.PATH_SAMPLER": "alpha",
    "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 4,
}
RETINANET = {"META_ARCHITECTURE": "RetinaNet", "FPN.IN_FEATURES": ["res9"]}
RES9 = r"FPN\.IN_FEATURES is \['res9'\]; expected some of .*res2, res3"
DETECTRON2 = {"MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone", "MODEL.RESNETS.DEPTH": 50}
CONFIGS = {
    "supernet": toy.supernet_config,
    "network": toy.network_config,
    "channel": lambda *overrides: toy.network_config(CHANNEL, *overrides),
    "Detectron2's builder": lambda *overrides: toy.network_config(DETECTRON2, *overrides),
}
# By config, what is set in addition (keys of MODEL, if they have no other section), and the words.
REFUSED = {
    "supernet": [
        (
            {"TEST.AUG.ENABLED": True},
            "AUG.ENABLED is True, but nothing is tested with aug",
        ),
        ({"SUPERNET.PATH_SAMPLER": "alpha"}, "'alpha', but the stage space.*'uniform'"),
        ({"SUPERNET.PATH_SAMPLER": "unifrom"}, "'unifrom'.*uniform.*fixed"),
        ({"GENOTYPE.CHANNELS": [[0]]}, "CHANNELS is set, but .*'stage'"),
        ({"GENOTYPE.OPS": [0] * 8}, r"GENOTYPE\.OPS is set, but .*SPACE is 'stage'"),
        ({"GENOTYPE.DEPTHS": [2, 2, 2, 2]}, "names one network, but .*PATH_SAMPLER"),
        (
            {"SUPERNET.PATH_SAMPLER": "fixed", "GENOTYPE.DEPTHS": [9, 1, 2, 2]},
            r"9 is not an option of res2\.depth",
        ),
        ({"TEST.PRECISE_BN.ENABLED": True}, r"TEST\.PRECISE_BN\.ENABLED is True"),
        ({"WEIGHTS": "no/such.pth"}, r"MODEL\.WEIGHTS is no/such\.pth"),
        ({"RESNETS.NORM": "FrozenBN"}, "FrozenBN"),
        (
            {"BACKBONE.NAME": "build_supernet_resnet"},
            "'build_supernet_resnet', which is not registered.*build_supernet_fpn_backbone",
        ),
        (
            {"META_ARCHITECTURE": "RetinaNet"},
            "'build_supernet_fpn_backbone', but that outputs p2, .*RetinaNet needs "
            "'build_supernet_retinanet_fpn_backbone'",
        ),
        (
            {"ROI_HEADS.NAME": "Res5ROIHeads", "BACKBONE.NAME": "build_supernet_backbone"},
            "'Res5ROIHeads'.*builds res5 itself.*'StandardROIHeads'",
        ),
        ({"ROI_HEADS.NUM_CLASSES": 7}, "NUM_CLASSES is 7, but 'toy_archtrain' has 2"),
        ({"DATASETS.TRAIN": ("toy_train",)}, r"DATASETS\.TRAIN names 'toy_train'"),
        ({"META_ARCHITECTURE": "RetinaNett"}, "META_ARCHITECTURE is .* mean RetinaNet"),
        ({"BACKBONE.NAME": "build_resnet_backbon"}, r"BACKBONE\.NAME.*build_resnet_backbone"),
        ({"PROPOSAL_GENERATOR.NAME": "RPNN"}, r"PROPOSAL_GENERATOR\.NAME is .* mean RPN"),
        ({"ROI_HEADS.NAME": "StandardRoiHead"}, r"ROI_HEADS\.NAME.* mean StandardROIHeads"),
        ({"ANCHOR_GENERATOR.NAME": "Anchors"}, r"ANCHOR_GENERATOR\.NAME is 'Anchors'"),
        ({"RPN.IN_FEATURES": ["p9"]}, "model cannot be built .KeyError in rpn.py.: 'p9'"),
        ({"FPN.IN_FEATURES": []}, r"FPN\.IN_FEATURES is \[\]; expected some of .*res2, res3"),
        ({"FPN.IN_FEATURES": ["res7"]}, r"FPN\.IN_FEATURES is \['res7'\]; expected some"),
        ({**RETINANET, "BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone"}, RES9),
        ({**RETINANET, "BACKBONE.NAME": "build_supernet_nasfpn_backbone"}, RES9),
        ({"ANCHOR_GENERATOR.SIZES": [[8], [16]]}, "cannot be built.*Got sizes of length 2"),
        ({"RPN.IOU_LABELS": [0, 1]}, r"cannot be built .AssertionError in matcher\.py"),
        ({"DEVICE": "meta"}, "MODEL.DEVICE is 'meta', but it holds no values"),
    ],
    "network": [
        ({"SOLVER.AMP.PRECISION": "half"}, r"AMP\.PRECISION is 'half'; expected one of 'float16'"),
        ({"SOLVER.GRADIENT_ACCUMULATION": 0}, r"ACCUMULATION is 0; expected a whole number of at"),
        (
            {"SOLVER.GRADIENT_ACCUMULATION": 4, "SOLVER.IMS_PER_BATCH": 6},
            r"GRADIENT_ACCUMULATION is 4; expected a divisor of SOLVER\.IMS_PER_BATCH, which is 6",
        ),
        ({"KEYPOINT_ON": True}, "KEYPOINT_ON is True, but 'toy_archtrain' has no names of"),
        ({"LOAD_PROPOSALS": True}, r"LOAD_PROPOSALS is True.*PROPOSAL_FILES_TRAIN has 0"),
    ],
    "channel": [
        ({"SUPERNET.PATH_SAMPLER": "uniform"}, "'uniform', but the channel space.*'alpha'"),
        ({"GENOTYPE.CHANNELS": [[0] * 4] * 13}, "CHANNELS names one network"),
        ({"DATASETS.ARCHVAL": ("toy_archtrain",)}, "share 12 images"),
    ],
}
UNREAD = [
    ({"SUPERNET.SPACE": "stage"}, "the stage supernet"),
    # With which Detectron2's builder fails: it wants other channels of a ResNet-34.
    ({"SUPERNET.SPACE": "stage", "RESNETS.DEPTH": 34}, "the stage supernet"),
    ({"SUPERNET.SPACE": "operation"}, "the operation supernet"),
    ({key.removeprefix("MODEL."): value for key, value in CHANNEL.items()}, "the channel supernet"),
    ({"GENOTYPE.DEPTHS": [1, 1, 1, 1]}, "that genotype"),
    ({"GENOTYPE.OPS": [1] * 16}, "that genotype"),
    (
        {
            "SUPERNET.SPACE": "stage",
            "SUPERNET.PATH_SAMPLER": "fixed",
            "GENOTYPE.DEPTHS": [3, 4, 6, 3],
            "SUPERNET.STAGE_OPTIONS": [[3], [4], [6], [3]],
        },
        "that genotype",
    ),
]
REFUSED["Detectron2's builder"] = [
    (
        settings,
        f"'build_resnet_fpn_backbone', which does not read .*cannot build {words}.*"
        "Use one of build_supernet_backbone",
    )
    for settings, words in UNREAD
]
CASES = [(config, *case) for config, cases in REFUSED.items() for case in cases]


@pytest.mark.parametrize(("config", "overrides", "words"), CASES)
def test_a_config_that_would_fail_or_mislead_later_is_refused(
    toy_datasets, config, overrides, words
):
    sections = ("TEST.", "DATASETS.", "SOLVER.")
    overrides = {
        key if key.startswith(sections) else f"MODEL.{key}": value
        for key, value in overrides.items()
    }
    keys = ["TRAIN", "ARCHVAL"] if config == "channel" else ["TRAIN"]
    with pytest.raises(ValueError, match=words):
        check_config(CONFIGS[config](toy_datasets, overrides), keys)


def test_a_backbone_of_somebody_else_is_left_alone_where_nothing_is_searched():
    check_config(toy.network_config(DETECTRON2), [])


def test_a_sound_config_passes(toy_datasets):
    check_config(toy.supernet_config(toy_datasets), ["TRAIN", "ARCHVAL", "TEST"])


def test_a_channel_supernet_is_checked_as_the_one_network_that_it_is(toy_datasets):
    norms = {"MODEL.RESNETS.NORM": "FrozenBN", "MODEL.BACKBONE.FREEZE_AT": 2}
    precise = {"TEST.PRECISE_BN.ENABLED": True}
    cfg = toy.network_config(toy_datasets, CHANNEL, norms, precise)
    check_config(cfg, ["TRAIN", "ARCHVAL", "TEST"])


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
