import pytest
import torch
import toy
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone, build_model
from detectron2.modeling.backbone.fpn import build_resnet_fpn_backbone
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock

from crnas_d2.layers import ChoiceBlock, resolve_norm
from crnas_d2.modeling import (
    build_supernet_fpn_backbone,
    build_supernet_retinanet_fpn_backbone,
    find_supernet,
)
from crnas_d2.space import Genotype

STAGES = ("res2", "res3", "res4", "res5")


def fixed_config(depths, *overrides):
    fixed = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", "MODEL.GENOTYPE.DEPTHS": list(depths)}
    return toy.supernet_config(fixed, *overrides)


def test_sharing_none_gives_every_depth_its_own_blocks_and_prefix_shares_them():
    def blocks_of_res5(sharing):
        body = build_backbone(toy.supernet_config({"MODEL.SUPERNET.SHARING": sharing})).bottom_up
        return sum(isinstance(module, BasicBlock) for module in body.res5.modules())

    assert blocks_of_res5("none") == 2 + 3
    assert blocks_of_res5("prefix") == 3


def test_a_stage_with_one_option_is_built_without_a_choice():
    options = {"MODEL.SUPERNET.STAGE_OPTIONS": [[2], [1, 2], [2], [2, 3]]}
    body = build_backbone(toy.supernet_config(options)).bottom_up
    are_choices = [isinstance(getattr(body, stage)[0], ChoiceBlock) for stage in STAGES]
    assert are_choices == [False, True, False, True]
    find_supernet(body).set_path(Genotype(depths=(2, 1, 2, 3)))
    assert body(toy.images())["res5"].shape == (2, 32, 2, 2)


def test_running_without_a_path_says_what_to_do():
    backbone = build_backbone(toy.supernet_config())
    with pytest.raises(RuntimeError, match=r"no active path: call set_path\(genotype\)"):
        backbone(toy.images())


def test_a_path_outside_the_space_is_refused_and_the_old_one_stays():
    body = build_backbone(toy.supernet_config()).bottom_up.eval()
    supernet = find_supernet(body)
    supernet.set_path(Genotype(depths=(1, 1, 2, 2)))
    expected = body(toy.images())["res5"]
    with pytest.raises(ValueError, match=r"7 is not an option of res5\.depth"):
        supernet.set_path(Genotype(depths=(2, 2, 3, 7)))
    assert supernet.path == Genotype(depths=(1, 1, 2, 2))
    assert torch.equal(body(toy.images())["res5"], expected)


def test_a_supernet_is_found_inside_a_detector_and_not_in_a_fixed_network():
    supernet = find_supernet(build_model(toy.supernet_config()))
    assert supernet.space.names == tuple(f"{stage}.depth" for stage in STAGES)
    assert supernet.path is None
    assert find_supernet(build_model(toy.network_config())) is None


@pytest.mark.parametrize(
    ("depth", "allocation", "block"),
    [
        (18, [2, 2, 2, 2], BasicBlock),
        (34, [3, 4, 6, 3], BasicBlock),
        (50, [3, 4, 6, 3], BottleneckBlock),
        (101, [3, 4, 23, 3], BottleneckBlock),
        (152, [3, 8, 36, 3], BottleneckBlock),
    ],
)
def test_without_space_and_genotype_the_published_network_is_built(depth, allocation, block):
    body = build_backbone(toy.network_config({"MODEL.RESNETS.DEPTH": depth})).bottom_up
    assert [len(getattr(body, stage)) for stage in STAGES] == allocation
    assert all(type(b) is block for stage in STAGES for b in getattr(body, stage))


@pytest.mark.parametrize("groups", [1, 32])
def test_the_baseline_has_the_names_and_shapes_of_detectron2s_resnet50_fpn(groups):
    shape = {
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.NUM_GROUPS": groups,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 64 if groups == 1 else 4,
        "MODEL.DEVICE": "meta",
    }
    cfg = toy.network_config(shape)
    with torch.device("meta"):
        ours = build_supernet_fpn_backbone(cfg, toy.RGB)
        theirs = build_resnet_fpn_backbone(cfg, toy.RGB)
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


def test_the_baseline_computes_what_detectron2s_does():
    cfg = toy.network_config({"MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.STRIDE_IN_1X1": True})
    ours = build_supernet_fpn_backbone(cfg, toy.RGB)
    theirs = build_resnet_fpn_backbone(cfg, toy.RGB)
    theirs.load_state_dict(ours.state_dict())
    expected = theirs.eval()(toy.images())
    for level, value in ours.eval()(toy.images()).items():
        assert torch.equal(value, expected[level])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"MODEL.RESNETS.NORM": "FrozenBN"}, "NORM is 'FrozenBN'"),
        ({"MODEL.BACKBONE.FREEZE_AT": 2}, "FREEZE_AT is 2.*Set it to 0"),
    ],
    ids=["FrozenBN", "FREEZE_AT"],
)
def test_a_supernet_cannot_be_frozen_but_a_fixed_network_can(override, words):
    with pytest.raises(ValueError, match=words):
        build_backbone(toy.supernet_config(override))
    backbone = build_backbone(fixed_config((1, 1, 2, 2), override))
    body = backbone.bottom_up
    if "MODEL.BACKBONE.FREEZE_AT" in override:
        frozen = {name.split(".")[0] for name, p in body.named_parameters() if not p.requires_grad}
        assert frozen == {"stem", "res2"}
    assert any(isinstance(module, FrozenBatchNorm2d) for module in body.modules())


def test_retinanet_gets_p3_to_p7():
    cfg = toy.supernet_config({"MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"]})
    backbone = build_supernet_retinanet_fpn_backbone(cfg, toy.RGB).eval()
    find_supernet(backbone).set_path(Genotype(depths=(1, 1, 2, 2)))
    sizes = {level: tuple(value.shape[1:]) for level, value in backbone(toy.images()).items()}
    expected = {"p3": 8, "p4": 4, "p5": 2, "p6": 1, "p7": 1}
    assert sizes == {level: (16, size, size) for level, size in expected.items()}


@pytest.mark.parametrize("norm", ["BN", "GN", "FrozenBN", "", "naiveSyncBN"])
def test_other_norms_than_syncbn_stay(norm):
    assert resolve_norm(norm, "cpu") == resolve_norm(norm, "cuda") == norm


def test_one_process_gets_plain_bn_for_syncbn():
    assert resolve_norm("SyncBN", "cpu") == resolve_norm("SyncBN", "cuda:0") == "BN"
    cfg = toy.supernet_config({"MODEL.RESNETS.NORM": "SyncBN", "MODEL.FPN.NORM": "SyncBN"})
    norms = {type(m) for m in build_backbone(cfg).modules() if "Norm" in type(m).__name__}
    assert norms == {torch.nn.BatchNorm2d}


def test_a_pyramid_may_end_before_res5():
    keys = ("MODEL.RESNETS.OUT_FEATURES", "MODEL.FPN.IN_FEATURES")
    names = {key: ["res2", "res3"] for key in keys}
    backbone = build_backbone(fixed_config((2, 1, 2, 2), names)).eval()
    assert not hasattr(backbone.bottom_up, "res4")
    sizes = {name: value.shape[-1] for name, value in backbone(toy.images()).items()}
    assert sizes == {"p2": 16, "p3": 8, "p4": 4}
