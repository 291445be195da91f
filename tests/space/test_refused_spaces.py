"""What a config cannot describe: refused with the key, its value, and what was expected."""

import pytest
import toy
from toy_spaces import budgets_of

from crnas_d2.config import NetworkSpec
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import StageKind
from crnas_d2.space import Genotype

KEYS = ("SPACE", "FAMILY", "PATH_SAMPLER", "SHARING", "STAGE_OPTIONS", "OPERATION_OPTIONS")
SPACE, FAMILY, SAMPLER, SHARING, OPTIONS, CHOICES = (f"MODEL.SUPERNET.{key}" for key in KEYS)
CHANNEL, GENOTYPE = "MODEL.SUPERNET.CHANNEL.", "MODEL.GENOTYPE."
DEPTHS, OPS, CHANNELS = f"{GENOTYPE}DEPTHS", f"{GENOTYPE}OPS", f"{GENOTYPE}CHANNELS"
BASES = {
    "network": {DEPTHS: [1, 2, 1, 2]},
    "operation": {SPACE: "operation"},
    "stage": {SPACE: "stage", OPTIONS: [[1, 2], [1, 2], [2, 3], [2, 3]]},
    "joint": {SPACE: "joint", OPTIONS: [[1, 2], [1], [2, 3], [1]], "SEARCH.BUDGET.BLOCKS": []},
    "shufflenetv2": {FAMILY: "shufflenetv2"},
    "detnas": {FAMILY: "shufflenetv2", SPACE: "operation"},
    "channel": {
        **{SPACE: "channel", SAMPLER: "alpha", DEPTHS: [1, 1, 2, 1]},
        f"{CHANNEL}STAGES": ["res4", "res5"],
        f"{CHANNEL}DILATIONS": [[1, 2], [1, 3, [1, 3]]],
        f"{CHANNEL}NUM_GROUPS": 4,
    },
}
FIXED, NET, SIX = {SAMPLER: "fixed"}, {DEPTHS: [2, 1, 2, 1]}, {OPS: [0, 1, 2, 0, 1, 2]}
KERNELS = r"0 \(kernel 3\), 1 \(kernel 5\), 2 \(kernel 7\), 3 \(xception\)"


@pytest.mark.parametrize(
    ("base", "change", "words"),
    [
        ("network", {OPS: [0, 1]}, r"OPS has 2 values, \[0, 1\]; DEPTHS \[1, 2, 1, 2\].* 6"),
        ("network", {OPS: [0, 0, 0, 3, 0, 0]}, r"\[3\] are those of res4.*2 \(dilation 3\)"),
        ("network", {OPS: [0, 0, 0, -1, 0, 0]}, "at least 0, one per block"),
        ("network", {f"{GENOTYPE}FAMILY": "mobilenetv2"}, "'mobilenetv2'.*FAMILY is 'resnet'"),
        ("network", {DEPTHS: [1, 2]}, r"\[1, 2\].*4 stages"),
        (
            "network",
            {FAMILY: "mobilenetv2", DEPTHS: [], OPS: [1] + [0] * 19},
            r"\[1\] are those of stem; expected 0 \(dilation 1\)\.",
        ),
        ("shufflenetv2", {OPS: [0] * 19}, r"OPS has 19 values.*DEPTHS \[4, 4, 8, 4\] has 20 blo"),
        ("shufflenetv2", {OPS: [0] * 19 + [-1]}, "at least 0, one per block"),
        ("shufflenetv2", {OPS: [0] * 19 + [4]}, rf"\[0, 0, 0, 4\] are those of res5.* {KERNELS}"),
        ("stage", {SPACE: "stages"}, r"'stages'.*none, stage, operation, joint, channel"),
        ("stage", {FAMILY: "vgg"}, r"'vgg'.*resnet"),
        (
            "stage",
            {OPTIONS: [[1, 2], [1, 2], [2, 3]]},
            r"STAGE_OPTIONS has 3 lists.*res2, res3, res4, res5",
        ),
        ("stage", {OPTIONS: [[0, 1], [1], [2], [3]]}, r"\[0, 1\].*at least 1"),
        ("stage", {OPTIONS: [[1], [1, 2.5], [2], [3]]}, r"2\.5.*whole numbers"),
        (
            "stage",
            {OPTIONS: [[1], [1], [2, 3, 2], [3]]},
            r"res4\.depth.*\[2, 3, 2\].*without duplicates",
        ),
        ("stage", {OPTIONS: [[1], [], [2], [3]]}, r"res3\.depth.*\[\].*at least one"),
        ("stage", FIXED, r"'fixed'.*of the stage space.*DEPTHS is empty"),
        ("stage", {**FIXED, DEPTHS: [9, 1, 2, 2]}, r"9 is not an option of res2\.depth"),
        *(
            (
                "shufflenetv2",
                {SPACE: "stage", SAMPLER: sampler},
                r"'stage'.*'shufflenetv2' .*resnet, mobilenetv2.*"
                r"Set MODEL\.SUPERNET\.STAGE_OPTIONS",
            )
            for sampler in ("uniform", "fixed")
        ),
        *(
            ("detnas", {CHOICES: some}, rf"OPERATION_OPTIONS is .*{KERNELS}")
            for some in ([0, 4], [1, 1], [-1, 0])
        ),
        ("joint", NET, r"DEPTHS names one network, but .*'joint'"),
        ("joint", SIX, r"OPS names one network, but .*'joint'"),
        ("joint", {**FIXED, **NET}, r"PATH_SAMPLER is 'fixed'.*joint space, but .*OPS is empty"),
        ("joint", {**FIXED, **NET, **SIX, OPTIONS: []}, r"1 is not an option"),
        ("joint", {OPTIONS: [[1], [1]]}, r"has 2 lists; expected one for each"),
        (
            "joint",
            {FAMILY: "shufflenetv2", OPTIONS: []},
            r"SPACE is 'joint'.*'shufflenetv2' .*Set MODEL\.SUPERNET\.STAGE_OPTIONS",
        ),
        ("joint", {SHARING: "depth"}, r"SHARING is 'depth'; .*prefix\+weight"),
        (
            "channel",
            {f"{CHANNEL}STAGES": ["res3", "p3"]},
            r"STAGES is \['res3', 'p3'\].*res2, res3",
        ),
        ("channel", {f"{CHANNEL}DILATIONS": [[1, 2]]}, r"has 1 lists.*one for each of .*res4"),
        ("channel", {f"{CHANNEL}DILATIONS": [[1, 2], [1, 0]]}, r"DILATIONS of res5.*with 0"),
        (
            "channel",
            {f"{CHANNEL}DILATIONS": [], f"{CHANNEL}DILATION_SET": "D"},
            r"'D'; expected.*A, B, C",
        ),
        (
            "channel",
            {f"{CHANNEL}DILATIONS": [], f"{CHANNEL}STAGES": ["res2"]},
            "has no dilations for res2",
        ),
        ("channel", {f"{CHANNEL}NUM_GROUPS": 12}, r"NUM_GROUPS, in res4: .* 12.*divisor of 16"),
        ("channel", {FAMILY: "shufflenetv2", DEPTHS: []}, "no channel space"),
        ("channel", {OPS: [0, 1]}, r"OPS has 2 values"),
        ("channel", {**FIXED, CHANNELS: []}, r"PATH_SAMPLER is 'fixed'.*CHANNELS is empty"),
        (
            "channel",
            {**FIXED, CHANNELS: [[0, 1]]},
            r"CHANNELS has 1 lists.*3 convolutions \(res4\.0\.conv1",
        ),
        (
            "channel",
            {**FIXED, CHANNELS: [[0, 1], [0, 2], [0, 1]]},
            r"CHANNELS of res4\.1\.conv1: .*with 2.*from 0 to 1",
        ),
        (
            "channel",
            {**FIXED, CHANNELS: [[0, 1], [0, 1, 0], [0, 1]]},
            r"CHANNELS of res4\.1\.conv1: num_groups is 3.*16",
        ),
    ],
)
def test_a_config_that_describes_no_network_is_refused(base, change, words):
    with pytest.raises(ValueError, match=words):
        NetworkSpec.from_config(toy.network_config(BASES[base], change))


@pytest.mark.parametrize(
    ("depths", "words"),
    [
        ((1, 2, 3), r"GENOTYPE\.DEPTHS is \[1, 2, 3\].*3 values; .*4 choices \(res2\.depth"),
        (
            (1, 11, 5, 7),
            r"\[1, 11, 5, 7\]: 11 is not an option of res3\.depth; "
            r".*\[1, 2, 3, 4, 5, 6, 7, 8, 9, 10\]",
        ),
        ((3, 4, 15, 11), r"15 is not an option of res4\.depth"),  # the published ResNeXt-101
    ],
)
def test_a_genotype_outside_the_space_is_refused_with_what_is_allowed(depths, words):
    with pytest.raises(ValueError, match=words):
        StageKind().build_space(ResNetFamily(), Genotype()).validate(Genotype(depths))


@pytest.mark.parametrize(
    ("base", "limits", "words"),
    [
        ("stage", [17, 16], r"SEARCH\.BUDGET\.BLOCKS is \[17, 16\]; expected \[least, most\]"),
        *(
            ("stage", limits, r"SEARCH\.BUDGET\.BLOCKS.*\[least, most\]")
            for limits in (
                *([16], [1, 2, 3], [-1, 16], ["few", 16], [True, 16]),
                *([0, ".inf"], [None, 1]),
            )
        ),
        ("operation", [16, 16], r"BLOCKS \[16, 16\] limits nothing.*operation space have the same"),
        ("detnas", [20, 20], r"BLOCKS \[20, 20\] limits nothing.*operation space have the same bl"),
    ],
)
def test_limits_of_blocks_are_two_numbers_of_a_space_in_which_they_differ(base, limits, words):
    budget = {"SEARCH.BUDGET.BLOCKS": limits, "SEARCH.COSTS": []}
    with pytest.raises(ValueError, match=words):
        budgets_of(toy.network_config(BASES[base], budget))
