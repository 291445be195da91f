"""ShuffleNetV2 as the search spaces of DetNAS (table 2)."""

from functools import partial

import pytest
import torch
import toy
from detectron2.modeling import build_backbone, build_model

from crnas_d2.checkpoint import (
    StrictCheckpointer,
    TrainingCheckpointer,
    fixed_names,
    subnet_state_dict,
)
from crnas_d2.checkpoint.matching import match_weights
from crnas_d2.config import NetworkSpec
from crnas_d2.cost import body_cost, count_parameters
from crnas_d2.evaluation.receptive_field import receptive_fields
from crnas_d2.layers import OperationChoice, ShuffleBlock, XceptionBlock
from crnas_d2.modeling import find_supernet
from crnas_d2.modeling.families import ShuffleNetV2, ShuffleNetV2Family
from crnas_d2.space import Genotype, genotype_file

STAGES = ("res2", "res3", "res4", "res5")
SMALL = toy.SMALL_BODIES["shufflenetv2"]
CHANNELS, DEPTHS = SMALL["MODEL.SHUFFLENETV2.CHANNELS"], tuple(SMALL["MODEL.GENOTYPE.DEPTHS"])
OPERATION = {"MODEL.SUPERNET.SPACE": "operation"}
PATHS = [Genotype(DEPTHS, ops) for ops in [(3, 1, 2, 0, 1, 3), (0, 3, 3, 2, 0, 1), (2,) * 6]]
FPN = {"MODEL.BACKBONE.NAME": "build_supernet_fpn_backbone"}
CLASSIFIER = {
    "MODEL.META_ARCHITECTURE": "ImageClassifier",
    "MODEL.SHUFFLENETV2.OUT_FEATURES": ["head"],
}


config = partial(toy.body_config, "shufflenetv2")
body_of = partial(toy.build_body, "shufflenetv2")


def network(genotype):
    return {f"MODEL.GENOTYPE.{key}": value for key, value in genotype.to_config().items()}


def test_blocks_are_the_operations_of_the_family():
    operations = ShuffleNetV2Family.operations
    assert [op.name for op in operations] == ["kernel 3", "kernel 5", "kernel 7", "xception"]
    body = body_of(SMALL, {"MODEL.GENOTYPE.OPS": [0, 1, 2, 3, 3, 0]})
    blocks = [block for stage in STAGES for block in getattr(body, stage)]
    kinds = [ShuffleBlock] * 3 + [XceptionBlock] * 2 + [ShuffleBlock]
    assert [type(block) for block in blocks] == kinds
    assert [block.stride for block in blocks] == [2, 2, 1, 2, 2, 1]


# --------------------------------------------------------------------- network

# MACs of convolutions in the body at 224x224, and its parameters. The paper has at most 300M for
# space 1 (section 4.3) and 1.3G for DetNASNet (table 3); of the baselines it says that they are
# scaled to these, but not to which channels: those below that are not of table 2 are ours.
COSTS = {
    ("DetNASNet-300M-FPN", ()): (288_082_368, 1_849_664),
    ("DetNASNet-300M-RetinaNet", ()): (291_205_824, 2_041_872),
    ("DetNASNet-1.3G-FPN", ()): (1_269_181_536, 8_415_168),
    ("ShuffleNetV2-20", ()): (262_705_856, 1_473_472),
    ("ShuffleNetV2-20", (16, 68, 170, 340, 680)): (294_754_796, 1_659_824),
    ("ShuffleNetV2-40", ()): (1_036_681_632, 6_244_416),
    ("ShuffleNetV2-40", (48, 108, 270, 540, 1080)): (1_298_552_724, 7_881_420),
}


def published(name, *overrides):
    cfg = config(*overrides)
    cfg.merge_from_file(genotype_file(f"DetNAS/{name}"))
    cfg.MODEL.SHUFFLENETV2.DEPTH = sum(cfg.MODEL.GENOTYPE.DEPTHS)
    return cfg


@pytest.mark.parametrize(("name", "channels"), COSTS)
def test_published_networks_cost_what_the_paper_says(name, channels):
    cfg = published(name, {"MODEL.SHUFFLENETV2.CHANNELS": list(channels)})
    cost = body_cost(NetworkSpec.from_config(cfg), (224, 224))
    assert (cost.macs, cost.parameters) == COSTS[name, channels]
    if name.startswith("DetNASNet") or channels:
        limit = 1.3e9 if cost.macs > 1e9 else 300e6
        assert 0.95 * limit < cost.macs < limit


def test_the_classifier_of_detnasnet_has_the_parameters_that_its_authors_name():
    head = {"MODEL.SHUFFLENETV2.OUT_FEATURES": ["head"]}
    linear = 1024 * 1000 + 1000
    spec = NetworkSpec.from_config(published("DetNASNet-1.3G-FPN", head))
    body = body_cost(spec, (224, 224)).parameters
    assert round((body + linear) / 1e6, 1) == 10.4


@pytest.mark.parametrize("name", ["DetNASNet-300M-FPN", "DetNASNet-1.3G-FPN"])
def test_published_networks_run(name):
    body = build_backbone(published(name)).eval()
    assert type(body) is ShuffleNetV2 and find_supernet(body) is None
    with torch.no_grad():
        outputs = body(toy.images()[:1])
    channels = (64, 160, 320, 640) if "300M" in name else (96, 240, 480, 960)
    sizes = {stage: tuple(value.shape[1:]) for stage, value in outputs.items()}
    expected = zip(STAGES, channels, (16, 8, 4, 2), strict=True)
    assert sizes == {stage: (c, size, size) for stage, c, size in expected}


def test_the_head_is_for_classifiers():
    body = body_of(SMALL, {"MODEL.SHUFFLENETV2.OUT_FEATURES": ["head"]})
    shape = body.output_shape()["head"]
    assert (shape.channels, shape.stride) == (1024, 32)
    # 1x1 from 32 channels, its norm.
    assert count_parameters(body.head) == 32 * 1024 + 2 * 1024
    assert count_parameters(body) == count_parameters(body_of(SMALL)) + 32 * 1024 + 2 * 1024


def test_receptive_fields_follow_the_kernels():
    def field(ops):
        body = body_of(SMALL, {"MODEL.GENOTYPE.OPS": list(ops)})
        return receptive_fields(body)["res3"].size[0]

    # Stem: 3 pixels, stride 2. Then k - 1 more in steps of 2, 4 (res3.0) and 8 (res3.1) pixels.
    assert field((0, 0, 0, 0, 0, 0)) == 3 + 2 * (2 + 4 + 8)
    assert field((2, 1, 1, 0, 0, 0)) == 3 + 6 * 2 + 4 * 4 + 4 * 8
    # An Xception block sees 2 pixels more in each of its three convolutions, the last two of them
    # at the stride that the first one makes.
    assert field((0, 0, 3, 0, 0, 0)) == 3 + 2 * 2 + 2 * 4 + 3 * 2 * 8
    assert field((3, 0, 0, 0, 0, 0)) == 3 + 2 * (2 + 4 + 4) + 2 * 4 + 2 * 8


# -------------------------------------------------------------------- supernet


def test_every_block_of_the_supernet_has_four_candidates():
    supernet = body_of(SMALL, OPERATION)
    blocks = [block for stage in STAGES for block in getattr(supernet, stage)]
    assert len(blocks) == sum(DEPTHS)
    assert all(type(block) is OperationChoice for block in blocks)
    assert all(block.options == (0, 1, 2, 3) for block in blocks)
    assert type(supernet.res2[0].candidates["1"]) is ShuffleBlock
    names = set(fixed_names(supernet).values())
    assert {"stem.conv1.weight", "res3.1.branch.0.norm.weight"} <= names
    assert "res2.0.projection.0.weight" in names


# ------------------------------------------------------------------- detectors


def test_the_classifiers_body_goes_into_a_detector_and_its_head_is_left_over(tmp_path):
    classifier = build_model(config(SMALL, OPERATION, CLASSIFIER))
    assert classifier.linear.in_features == 1024
    toy.randomize_norms(classifier)
    detector = build_model(config(SMALL, OPERATION, FPN))
    matched = match_weights(detector, classifier.state_dict())
    assert matched.complete
    unused = {name.rpartition(".")[0] for name, _ in matched.unused}
    assert unused == {"backbone.head.0.conv1", "backbone.head.0.conv1.norm", "linear"}
    torch.save({"model": classifier.state_dict()}, tmp_path / "classifier.pth")
    TrainingCheckpointer(detector).load(str(tmp_path / "classifier.pth"))
    theirs = classifier.backbone.state_dict()
    for name, value in detector.backbone.bottom_up.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_a_subnet_of_a_detector_is_loaded_strictly(tmp_path):
    detector = build_model(config(SMALL, OPERATION, FPN))
    torch.save({"model": subnet_state_dict(detector, PATHS[0])}, tmp_path / "subnet.pth")
    fixed = build_model(config(SMALL, FPN, network(PATHS[0])))
    StrictCheckpointer(fixed).load(str(tmp_path / "subnet.pth"))
    for level, value in detector.eval().backbone(toy.images()).items():
        assert torch.equal(value, fixed.eval().backbone(toy.images())[level])


# ---------------------------------------------------------------------- errors


def test_the_stem_may_be_odd():
    assert (
        body_of(SMALL, {"MODEL.SHUFFLENETV2.CHANNELS": [5, *CHANNELS[1:]]}).stem.out_channels == 5
    )


def test_a_genotype_of_the_other_space_does_not_get_the_wrong_channels():
    deep = {"MODEL.GENOTYPE.DEPTHS": [8, 8, 16, 8]}
    words = r"DEPTHS is \[8, 8, 16, 8\], .*space of 40 blocks, .*DEPTH is 20\. Set DEPTH to 40"
    with pytest.raises(ValueError, match=words):
        body_of(deep)
    narrow = body_of(deep, {"MODEL.SHUFFLENETV2.CHANNELS": CHANNELS})
    assert [len(getattr(narrow, stage)) for stage in STAGES] == [8, 8, 16, 8]
