"""Settings of a body that cannot be honoured, with the words that name them."""

import channel_toy
import pytest
import toy
from detectron2.modeling import build_backbone

STAGE = {"SUPERNET.SPACE": "stage"}
OPERATION = {"SUPERNET.SPACE": "operation"}
JOINT = {"SUPERNET.SPACE": "joint", "SUPERNET.STAGE_OPTIONS": [[1, 2], [2], [2, 1, 3], [2, 3]]}
OUTSIDE = {"GENOTYPE.DEPTHS": [1, 2, 4, 2], "GENOTYPE.OPS": [0] * 9}
FIXED = {"SUPERNET.PATH_SAMPLER": "fixed"}

# By body, what is set in addition (keys of MODEL), and the words.
REFUSED = {
    "stage": [
        (FIXED, r"'fixed'.* but MODEL\.GENOTYPE\.DEPTHS is empty"),
        ({"SUPERNET.SHARING": "suffix"}, r"'suffix'.*none.*prefix"),
        ({"RESNETS.RES5_DILATION": 2}, "RES5_DILATION"),
        ({"RESNETS.DEFORM_ON_PER_STAGE": [False, False, True, True]}, "DEFORM_ON_PER_STAGE"),
        ({"RESNETS.NORM": "FrozenBN"}, "NORM is 'FrozenBN'"),
        ({"BACKBONE.FREEZE_AT": 2}, "FREEZE_AT is 2.*Set it to 0"),
    ],
    "resnet": [({"RESNETS.DEPTH": 26}, "DEPTH is 26.*18, 34, 50, 101, 152")],
    "operation": [
        ({"SUPERNET.SHARING": "prefix"}, r"'prefix'.*none.*weight.*operation space"),
        ({"RESNETS.NORM": "FrozenBN"}, "NORM is 'FrozenBN'"),
        ({"GENOTYPE.DEPTHS": [1, 2, 1]}, r"DEPTHS is \[1, 2, 1\].*4 stages"),
    ],
    "joint": [
        ({"SUPERNET.SHARING": "suffix"}, r"'suffix'.*none.*prefix.*weight.*joint space"),
        ({"GENOTYPE.DEPTHS": [1, 2, 3, 2]}, r"GENOTYPE\.DEPTHS names one network.*'joint'"),
        ({"GENOTYPE.OPS": [0] * 8}, r"GENOTYPE\.OPS names one network.*'joint'"),
        (
            {**FIXED, "GENOTYPE.DEPTHS": [1, 2, 3, 2]},
            r"one network of the joint space, but MODEL\.GENOTYPE\.OPS is empty",
        ),
        (
            {**FIXED, **OUTSIDE},
            r"4 is not an option of res4\.depth; the joint space allows \[2, 1, 3\]",
        ),
        ({"RESNETS.NORM": "FrozenBN"}, "NORM is 'FrozenBN'"),
    ],
    "channel": [
        ({"SUPERNET.SHARING": "prefix"}, r"'prefix'.*none.*weight.*channel space"),
        ({"RESNETS.NORM": "GN"}, r"NORM is 'GN'.*reorders its channels"),
        ({"BACKBONE.FREEZE_AT": 3}, r"FREEZE_AT is 3, which freezes res3"),
        ({"SUPERNET.CHANNEL.NUM_GROUPS": 3}, "NUM_GROUPS, in res3"),
    ],
    "detnet": [
        ({"RESNETS.OUT_FEATURES": ["res7"]}, "res2, res3, res4, res5, res6"),
        ({"FPN.IN_FEATURES": ["res1"]}, r"FPN\.IN_FEATURES is \['res1'\]"),
        ({"RESNETS.DEPTH": 101}, "DEPTH is 101; expected a published depth, 50"),
    ],
    "mobilenetv2": [
        ({**STAGE, "BACKBONE.FREEZE_AT": 2}, "FREEZE_AT is 2.*Set it to 0"),
        ({**STAGE, "MOBILENETV2.NORM": "FrozenBN"}, r"MODEL\.MOBILENETV2\.NORM is 'FrozenBN'"),
        ({**STAGE, "SUPERNET.SHARING": "weight"}, r"SHARING is 'weight'.*none.*prefix"),
        ({"MOBILENETV2.WIDTH_MULT": 0.0}, r"WIDTH_MULT is 0\.0.*positive"),
        ({"MOBILENETV2.OUT_FEATURES": []}, r"OUT_FEATURES is \[\].*res2, res3, res4, res5"),
        ({"MOBILENETV2.OUT_FEATURES": ["c24"]}, r"OUT_FEATURES is \['c24'\].*\[res5\]"),
        ({"GENOTYPE.OPS": [1, *[0] * 19]}, r"those of stem; expected 0"),
    ],
    "shufflenetv2": [
        ({**OPERATION, "BACKBONE.FREEZE_AT": 2}, "FREEZE_AT is 2.*Set it to 0"),
        ({**OPERATION, "SHUFFLENETV2.NORM": "FrozenBN"}, r"SHUFFLENETV2\.NORM is 'FrozenBN'"),
        (
            {**OPERATION, "SUPERNET.SHARING": "weight"},
            r"'weight'.*'shufflenetv2' \(kernel 3, .*xception\).*different shapes.*to 'none'",
        ),
        ({**OPERATION, "SUPERNET.SHARING": "prefix"}, r"'prefix'.*none.*weight.*operation space"),
        (STAGE, r"Set MODEL\.SUPERNET\.STAGE_OPTIONS"),
        (
            {"SUPERNET.SPACE": "width"},
            "SPACE is 'width'; known: none, stage, operation, joint, channel",
        ),
        ({"SHUFFLENETV2.OUT_FEATURES": []}, r"OUT_FEATURES is \[\].*res2, res3, res4, res5, head"),
        (
            {"SHUFFLENETV2.OUT_FEATURES": ["res6"]},
            r"OUT_FEATURES is \['res6'\].*\[head\] for a classifier",
        ),
        (
            {"SHUFFLENETV2.CHANNELS": [4, 8, 15, 24, 32]},
            r"\[4, 8, 15, 24, 32\]; expected even .*in half",
        ),
        ({"SHUFFLENETV2.CHANNELS": [4, 8, 16, 24]}, r"CHANNELS is \[4, 8, 16, 24\]; expected five"),
        ({"SHUFFLENETV2.CHANNELS": [0, 8, 16, 24, 32]}, "expected five positive whole numbers"),
        ({"SHUFFLENETV2.CHANNELS": [4, 8, 8, 24, 32]}, "larger than the one before"),
        (
            {"SHUFFLENETV2.CHANNELS": [], "SHUFFLENETV2.DEPTH": 18},
            "DEPTH is 18; expected a published number of blocks, 20 or 40",
        ),
    ],
}
CASES = [(body, *case) for body, cases in REFUSED.items() for case in cases]


def config(body, overrides):
    overrides = {f"MODEL.{key}": value for key, value in overrides.items()}
    operation = {"MODEL.SUPERNET.SPACE": "operation", "MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 2]}
    detnet = {
        "MODEL.SUPERNET.FAMILY": "detnet",
        "MODEL.BACKBONE.NAME": "build_supernet_same_stride_fpn_backbone",
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5", "res6"],
    }
    joint = {f"MODEL.{key}": value for key, value in JOINT.items()}
    if body in toy.SMALL_BODIES:
        return toy.body_config(body, toy.SMALL_BODIES[body], overrides)
    return {
        "stage": toy.supernet_config,
        "resnet": toy.network_config,
        "operation": lambda overrides: toy.network_config(operation, overrides),
        "joint": lambda overrides: toy.network_config(joint, overrides),
        "detnet": lambda overrides: toy.network_config(detnet, overrides),
        "channel": channel_toy.supernet_config,
    }[body](overrides)


@pytest.mark.parametrize(("body", "overrides", "words"), CASES)
def test_settings_that_cannot_be_honoured_are_refused(body, overrides, words):
    with pytest.raises(ValueError, match=words):
        build_backbone(config(body, overrides))
