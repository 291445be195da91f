import math

import pytest
import toy

from crnas_d2 import NetworkSpec, load_config, run_search
from crnas_d2.cost.entropy import Entropy
from crnas_d2.engine.checks import check_search
from crnas_d2.space import Genotype


def config(*overrides):
    return load_config(str(toy.ROOT / "configs" / "Base-RCNN-FPN.yaml"), toy.as_list(*overrides))


def table(*overrides):
    cfg = config(*overrides)
    return Entropy().table(NetworkSpec.from_config(cfg), (64, 64))


# Two BasicBlock networks of 4 to 32 channels. The stem has a kernel of 7, each block two of 3.
NARROW = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 4,
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.SUPERNET.SPACE": "stage",
    "MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1], [1], [1]],
}


def test_the_entropy_equals_a_sum_by_hand():
    stem, res2 = math.log(49 * 3), 2 * math.log(9 * 4)
    res3 = math.log(9 * 4) + math.log(9 * 8)  # the first convolution widens, the second does not
    res4 = math.log(9 * 8) + math.log(9 * 16)
    res5 = math.log(9 * 16) + math.log(9 * 32)
    # What is in front of res3 counts for all three levels, 1 + 1 + 6 times.
    features = 0.5 * (8 * (stem + res2 + res3) + 7 * res4 + 6 * res5)
    channels = math.log(8) + math.log(16) + 6 * math.log(32)
    entropy = table(NARROW)
    assert entropy(Genotype(depths=(1, 1, 1, 1))) == pytest.approx(features + channels)
    assert entropy(Genotype(depths=(2, 1, 1, 1))) == pytest.approx(features + channels + 4 * res2)


def test_bottlenecks_have_the_entropy_of_the_published_code():
    options = {"MODEL.SUPERNET.STAGE_OPTIONS": [[2, 3], [3, 4], [5, 6], [3, 6]]}
    widths = {"DEPTH": 50, "STEM_OUT_CHANNELS": 64, "RES2_OUT_CHANNELS": 256}
    entropy = table(NARROW, {f"MODEL.RESNETS.{key}": w for key, w in widths.items()}, options)
    smaller_stem = 8 * 0.5 * math.log(49 / 9)  # the code's check value is for a stem of 3x3
    assert entropy(Genotype(depths=(3, 4, 6, 3))) - smaller_stem == pytest.approx(1167.5199)
    assert entropy(Genotype(depths=(2, 3, 5, 6))) - smaller_stem == pytest.approx(1160.6406)


def test_larger_kernels_have_more_entropy_and_dilations_the_same():
    operation = {"MODEL.SUPERNET.SPACE": "operation"}
    least, greatest = table(NARROW, operation, {"MODEL.GENOTYPE.DEPTHS": [1] * 4}).range
    assert least == pytest.approx(greatest)
    shuffle = {"MODEL.SUPERNET.FAMILY": "shufflenetv2"}
    options = table(NARROW, operation, shuffle).options["res5.3.op"]
    # Only the depthwise convolution grows, from 3x3 to 7x7, and it counts for the last level.
    assert options[2] - options[0] == pytest.approx(6 * math.log(7 / 3))


@pytest.mark.parametrize("family", ["mobilenetv2", "shufflenetv2"])
def test_each_family_has_an_entropy(family):
    space = {"MODEL.SUPERNET.FAMILY": family, "MODEL.SUPERNET.STAGE_OPTIONS": []}
    if family == "shufflenetv2":
        space["MODEL.SUPERNET.SPACE"] = "operation"
    least, greatest = table(NARROW, space).range
    assert 0 < least < greatest


def test_a_search_by_entropy_needs_neither_weights_nor_data(tmp_path):
    overrides = {
        "SEARCH.SCORE": "entropy",
        "SEARCH.BUDGET.BLOCKS": [5, 5],
        "MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1, 2], [1, 2], [1, 2]],
        "DATASETS.TRAIN": (),
        "DATASETS.TEST": (),
        "OUTPUT_DIR": str(tmp_path / "search"),
    }
    best = run_search(config(NARROW, overrides))
    assert best.genotype.depths == (1, 1, 2, 1)  # 7 ln(144) > 8 ln(72), 6 ln(288), 8 ln(36)
    assert best.fitness == pytest.approx(table(NARROW, overrides)(best.genotype))
    files = {path.name for path in (tmp_path / "search").iterdir()}
    assert files >= {"genotype.yaml", "candidates.csv", "report.html"}
    assert "model_best.pth" not in files
    report = (tmp_path / "search" / "report.html").read_text()
    assert "No image was looked at" in report and "archval" not in report


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"SEARCH.SCORE": "zen"}, "SEARCH.SCORE is 'zen'; known: supernet, loss, entropy"),
        ({"SEARCH.SCORE": "entropy", "SEARCH.ALGORITHM": "greedy"}, "scores parts of a network"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(overrides, message, tmp_path):
    cfg = config(NARROW, overrides, {"OUTPUT_DIR": str(tmp_path / "search")})
    with pytest.raises(ValueError, match=message):
        run_search(cfg)


def test_finalists_need_an_archval():
    overrides = {"SEARCH.SCORE": "entropy", "SEARCH.FINALISTS.NUMBER": 2}
    with pytest.raises(ValueError, match=r"DATASETS\.ARCHVAL is"):
        check_search(config(NARROW, overrides))
