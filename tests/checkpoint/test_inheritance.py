"""A supernet that starts from a trained base network: every option computes what the base does."""

from random import Random

import pytest
import torch
import toy
from detectron2.modeling import build_model

from crnas_d2 import Genotype, find_supernet
from crnas_d2.checkpoint import StrictCheckpointer, TrainingCheckpointer
from crnas_d2.checkpoint.inheritance import fit_kernel
from crnas_d2.checkpoint.matching import match_weights
from crnas_d2.engine import Trainer
from crnas_d2.engine.checks import check_config

SHUFFLE = {
    "MODEL.SUPERNET.FAMILY": "shufflenetv2",
    "MODEL.SHUFFLENETV2.CHANNELS": [4, 8, 12, 16, 20],
    "MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1],
}
OPERATION = {"MODEL.SUPERNET.SPACE": "operation"}
FAMILIES = {
    "basic": toy.RESNETS["basic"],
    "bottleneck": toy.RESNETS["bottleneck"],
    "mobilenetv2": {"MODEL.SUPERNET.FAMILY": "mobilenetv2", "MODEL.MOBILENETV2.WIDTH_MULT": 0.25},
}
# By family, a base that is the shallowest network of its options.
OPTIONS = {
    "basic": [[1, 2], [1, 3], [2, 3], [1, 2]],
    "bottleneck": [[1, 2], [1, 3], [2, 3], [1, 2]],
    "mobilenetv2": [[1], [1], [1, 2], [1, 2], [3, 4], [2, 3], [2, 3], [1], [1], [1]],
}
STAGE = {"MODEL.SUPERNET.SPACE": "stage", "SEARCH.BUDGET.BLOCKS": []}


def save_base(folder, *overrides):
    """A base network whose norms all differ, saved; the network."""
    torch.manual_seed(0)
    base = build_model(toy.network_config(*overrides)).eval()
    toy.randomize_norms(base)
    torch.save({"model": base.state_dict()}, folder / "base.pth")
    return base


def inherit(folder, *overrides, **keywords):
    torch.manual_seed(1)
    model = build_model(toy.network_config(*overrides)).eval()
    checkpointer = TrainingCheckpointer(model, inherit=True, **keywords)
    checkpointer.load(str(folder / "base.pth"))
    return model


def assert_same_outputs(model, base, **tolerance):
    expected = base.backbone(toy.images())
    for level, features in model.backbone(toy.images()).items():
        torch.testing.assert_close(features, expected[level], **tolerance)


@pytest.mark.parametrize("sharing", ["none", "prefix"])
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_that_the_base_does_not_have_are_identities(family, sharing, tmp_path):
    shallowest = [min(depths) for depths in OPTIONS[family]]
    base = save_base(tmp_path, FAMILIES[family], {"MODEL.GENOTYPE.DEPTHS": shallowest})
    options = {"MODEL.SUPERNET.STAGE_OPTIONS": OPTIONS[family], "MODEL.SUPERNET.SHARING": sharing}
    model = inherit(tmp_path, FAMILIES[family], STAGE, options)
    supernet = find_supernet(model)
    for genotype in supernet.space:
        supernet.set_path(genotype)
        assert_same_outputs(model, base, rtol=0, atol=0)


def test_larger_kernels_compute_what_the_base_does(tmp_path):
    depths = {"MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1]}
    base = save_base(tmp_path, SHUFFLE, depths)
    model = inherit(tmp_path, SHUFFLE, depths, OPERATION)
    supernet = find_supernet(model)
    random = Random(0)
    for _ in range(6):
        ops = tuple(random.choice((0, 1, 2)) for _ in range(5))
        supernet.set_path(Genotype(depths=(1, 2, 1, 1), ops=ops))
        assert_same_outputs(model, base, rtol=1e-4, atol=1e-5)


def test_a_block_of_another_structure_takes_nothing_and_is_named(tmp_path, caplog):
    save_base(tmp_path, SHUFFLE)
    torch.manual_seed(1)
    fresh = build_model(toy.network_config(SHUFFLE, OPERATION))
    with caplog.at_level("INFO"):
        model = inherit(tmp_path, SHUFFLE, OPERATION)
    assert "4 blocks of another structure start from scratch" in caplog.text
    state, untouched = model.state_dict(), fresh.state_dict()
    xception = [name for name in state if ".candidates.3." in name]
    assert xception
    assert all(torch.equal(state[name], untouched[name]) for name in xception)


def test_a_whole_detector_inherits_its_neck_and_heads(tmp_path):
    base = save_base(tmp_path, {"MODEL.GENOTYPE.DEPTHS": [1, 1, 2, 1]})
    model = inherit(tmp_path, {"MODEL.GENOTYPE.DEPTHS": [2, 1, 3, 1]})
    image = {"image": 255 * toy.images()[0], "height": toy.SIZE, "width": toy.SIZE}
    for found, expected in zip(model([image]), base([image]), strict=True):
        boxes = [result["instances"].pred_boxes.tensor for result in (found, expected)]
        torch.testing.assert_close(*boxes, rtol=0, atol=0)


def test_identities_learn_and_a_resumed_training_does_not_make_them_again(toy_datasets, tmp_path):
    save_base(tmp_path, {"MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1]})
    start = {"MODEL.WEIGHTS": str(tmp_path / "base.pth"), "MODEL.INHERIT": True}
    network = {"MODEL.GENOTYPE.DEPTHS": [2, 1, 1, 1], "OUTPUT_DIR": str(tmp_path)}
    cfg = toy.network_config(toy_datasets, start, network)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    norm = "backbone.bottom_up.res2.1.conv2.norm.weight"
    learned = trainer.model.state_dict()[norm].clone()
    assert learned.abs().max() > 0
    resumed = Trainer(cfg)
    resumed.resume_or_load(resume=True)
    assert torch.equal(resumed.model.state_dict()[norm], learned)
    StrictCheckpointer(resumed.model).load(f"{tmp_path}/model_final.pth")


def test_smaller_kernels_are_the_centres_of_those_of_the_base(tmp_path, caplog):
    depths = {"MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1]}
    base = save_base(tmp_path, SHUFFLE, depths, {"MODEL.GENOTYPE.OPS": [2, 1, 0, 2, 0]})
    with caplog.at_level("INFO"):
        model = inherit(tmp_path, SHUFFLE, depths, {"MODEL.GENOTYPE.OPS": [0, 0, 0, 1, 2]})
    assert "3 blocks start with the centres of its larger kernels" in caplog.text
    old, new = base.state_dict(), model.state_dict()
    changed = {name: value for name, value in new.items() if old[name].shape != value.shape}
    assert {value.shape[-1] for value in changed.values()} == {3, 5, 7}
    for name, value in changed.items():
        margin = (value.shape[-1] - old[name].shape[-1]) // 2
        assert torch.equal(value, torch.nn.functional.pad(old[name], [margin] * 4))
    rest = [name for name in new if name not in changed]
    assert all(torch.equal(new[name], old[name]) for name in rest)


@pytest.mark.parametrize(
    ("weight", "shape"),
    [((4, 2, 3, 3), (4, 2, 4, 4)), ((4, 2, 3, 3), (4, 2, 1, 1)), ((4, 2, 3, 3), (4, 1, 5, 5))],
    ids=["even margin", "a point", "channels"],
)
def test_kernels_without_a_common_centre_do_not_fit(weight, shape):
    assert fit_kernel(torch.ones(weight), torch.Size(shape)) is None


def test_inheriting_needs_a_base(toy_datasets):
    with pytest.raises(ValueError, match=r"MODEL\.INHERIT is True, but MODEL\.WEIGHTS is empty"):
        check_config(toy.network_config(toy_datasets, {"MODEL.INHERIT": True}), ["TRAIN"])


def test_only_our_backbones_inherit(toy_datasets):
    overrides = {"MODEL.INHERIT": True, "MODEL.WEIGHTS": "https://models.example/base.pkl"}
    cfg = toy.network_config(toy_datasets, overrides)
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.GENOTYPE.DEPTHS = []
    with pytest.raises(ValueError, match="'build_resnet_fpn_backbone', whose blocks cannot"):
        check_config(cfg, ["TRAIN"])


def test_replicas_are_counted_only_in_blocks_that_inherit(tmp_path):
    base = save_base(tmp_path, SHUFFLE)
    supernet = build_model(toy.network_config(SHUFFLE, OPERATION))
    matched = match_weights(supernet, base.state_dict(), inherit=True)
    assert matched.inherited.from_scratch and matched.inherited.copied
    assert matched.replicas and set(matched.replicas) <= set(matched.tensors)
