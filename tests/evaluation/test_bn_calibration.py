import copy
import logging
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from crnas_d2.common.errors import JobError
from crnas_d2.data import build_fixed_batches
from crnas_d2.engine import Trainer
from crnas_d2.engine.found_network import calibration
from crnas_d2.evaluation import batch_statistics, calibrated
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype

PATH = Genotype(depths=(2, 1, 2, 3))
ON_PATH = ("stem.", *(f"res{i}.0.branches.{n}." for i, n in enumerate(PATH.depths, start=2)))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
HEAD = {"MODEL.ROI_BOX_HEAD.NORM": "BN", "MODEL.ROI_BOX_HEAD.NUM_CONV": 1}


def built(*overrides):
    """A config and its supernet, on the path and with random weights."""
    torch.manual_seed(0)
    cfg = toy.supernet_config(*overrides)
    model = Trainer.build_model(cfg).eval()
    find_supernet(model).set_path(PATH)
    return cfg, model


def images_of(cfg):
    return build_fixed_batches(cfg, cfg.DATASETS.TRAIN, num_images=8, with_annotations=True)


@pytest.fixture
def batches(trained):
    return images_of(trained)


@pytest.fixture
def supernet(trained_supernet):
    find_supernet(trained_supernet).set_path(PATH)
    return trained_supernet


def norms(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}


def is_on_path(name):
    return name.removeprefix("backbone.bottom_up.").startswith(ON_PATH)


def everything(model):
    """All that a calibration could leave behind."""
    modes = {name: module.training for name, module in model.named_modules()}
    momenta = {name: layer.momentum for name, layer in norms(model).items()}
    return copied(model.state_dict()), modes, momenta


def assert_untouched(model, before):
    state, *others = everything(model)
    assert_same(state, before[0])
    assert others == [*before[1:]]


def copied(state):
    return {name: value.clone() for name, value in state.items()}


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name


def record_inputs(model, layers):
    """The inputs of the BN layers, by name, filled while the model runs."""
    seen = {name: [] for name in layers}
    for name in layers:
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen[name].append(inputs[0].clone())
        )
    return seen


def average_statistics(seen):
    """Mean over the batches of each batch's mean and unbiased variance, by channel."""
    averages = {}
    for name, inputs in seen.items():
        channels = [x.transpose(0, 1).flatten(1) for x in inputs]
        means = torch.stack([x.mean(1) for x in channels])
        variances = torch.stack([x.var(1, unbiased=True) for x in channels])
        averages[name] = means.mean(0), variances.mean(0)
    return averages


def assert_statistics(state, averages):
    assert averages
    for name, (mean, variance) in averages.items():
        torch.testing.assert_close(state[f"{name}.running_mean"], mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(state[f"{name}.running_var"], variance, rtol=1e-5, atol=1e-6)


def statistics_by_hand(model, batches, layers):
    """The statistics of an inference in which the given layers normalize by the batch."""
    model = copy.deepcopy(model).eval()
    seen = record_inputs(model, layers)
    for name in layers:
        model.get_submodule(name).train()
    with torch.no_grad():
        for batch in batches:
            model(batch)
    return average_statistics(seen)


def test_statistics_are_the_averages_over_the_batches(supernet, batches):
    assert len(batches) == 2
    layers = [name for name in norms(supernet) if is_on_path(name)]
    expected = statistics_by_hand(supernet, batches, layers)
    with calibrated(supernet, batches):
        assert_statistics(supernet.state_dict(), expected)


def test_layers_off_the_path_are_not_touched(supernet, batches):
    before = copied(supernet.state_dict())
    with calibrated(supernet, batches):
        state = supernet.state_dict()
        changed = {name for name in state if not torch.equal(state[name], before[name])}
    statistics = {name for name in before if "running_" in name or "num_batches" in name}
    assert changed == {name for name in statistics if is_on_path(name)}


def test_statistics_hold_still_while_the_subnet_is_evaluated(supernet, batches):
    with calibrated(supernet, batches):
        assert not any(module.training for module in supernet.modules())
        before = everything(supernet)
        with torch.no_grad():
            supernet(batches[0])
        assert_untouched(supernet, before)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("failure", ["", "body", "image"])
def test_afterwards_all_is_as_before(supernet, batches, training, failure):
    supernet.train(training)
    supernet.roi_heads.train(not training)  # flags need not be the same everywhere
    norms(supernet)["backbone.bottom_up.stem.conv1.norm"].momentum = 0.3
    before = everything(supernet)
    images = [batches[0], [{"no": "image"}]] if failure == "image" else batches
    with pytest.raises(KeyError) if failure else nullcontext(), calibrated(supernet, images):
        assert failure != "image"
        if failure == "body":
            raise KeyError
    assert_untouched(supernet, before)


def test_without_batches_the_statistics_stay(supernet):
    before = everything(supernet)
    with calibrated(supernet, []):
        assert_untouched(supernet, before)


def test_the_order_of_the_batches_does_not_matter(supernet, batches):
    results = []
    for order in (batches, batches[::-1]):
        with calibrated(supernet, order):
            results.append(copied(supernet.state_dict()))
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-5, atol=1e-6)


class OneNorm(nn.Module):
    """A detector whose backbone is a BN layer: images are their own features."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.BatchNorm2d(1))

    def preprocess_image(self, batch):
        return SimpleNamespace(tensor=torch.stack([image["image"] for image in batch]))


def images_like(values, side=2):
    return [{"image": torch.full((1, side, side), float(value))} for value in values]


@given(batches=st.lists(st.lists(st.floats(-9, 9, width=16), min_size=1), min_size=1))
def test_each_image_has_the_same_weight_whatever_the_sizes_of_the_batches(batches):
    model = OneNorm()
    [norm] = norms(model).values()
    values = [torch.tensor(batch).repeat_interleave(4) for batch in batches]
    total = sum(map(len, batches))
    variance = sum(len(b) / total * v.var() for b, v in zip(batches, values, strict=True))
    with calibrated(model, [images_like(batch) for batch in batches]):
        torch.testing.assert_close(norm.running_mean[0], torch.cat(values).mean(), **CLOSE)
        torch.testing.assert_close(norm.running_var[0], variance, **CLOSE)
    assert norm.running_mean == 0 and norm.running_var == 1 and not norm._forward_pre_hooks


@given(
    values=st.lists(st.floats(-9, 9, width=16), min_size=2),
    mean=st.floats(-9, 9),
    variance=st.floats(0.1, 9),
    weight=st.floats(0, 1),
)
def test_a_mixture_has_mean_and_variance_of_both_distributions(values, mean, variance, weight):
    model = OneNorm()
    [norm] = norms(model).values()
    norm.running_mean.fill_(mean)
    norm.running_var.fill_(variance)
    ours = torch.tensor(values, dtype=torch.float64).repeat_interleave(4)
    squares = ours.var() + ours.mean() ** 2
    mixed = weight * ours.mean() + (1 - weight) * mean
    second = weight * squares + (1 - weight) * (variance + mean**2)
    with calibrated(model, [images_like(values)], weight):
        torch.testing.assert_close(norm.running_mean[0].double(), mixed, **CLOSE)
        torch.testing.assert_close(norm.running_var[0].double(), second - mixed**2, **CLOSE)
    assert norm.running_mean == mean and norm.running_var == torch.tensor(variance)


class TwoNorms(OneNorm):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), nn.BatchNorm2d(1))


def test_all_images_in_one_batch_calibrate_layer_after_layer():
    values = torch.arange(8, dtype=torch.float32) ** 2
    model = TwoNorms()
    first, _, second = model.backbone
    with calibrated(model, [images_like(values)]):
        whole = first.running_mean.item(), first.running_var.item()
        # The first layer with its final statistics, then what the second one gets from it.
        each = values.repeat_interleave(4)
        assert whole == pytest.approx((each.mean().item(), each.var().item()))
        biased = each.var(unbiased=False)  # with which a layer normalizes a batch
        inputs = ((each - each.mean()) / (biased + first.eps).sqrt()).relu()
        expected = inputs.mean().item(), inputs.var().item()
        assert (second.running_mean.item(), second.running_var.item()) == pytest.approx(expected)
    with calibrated(model, [images_like(values[:4]), images_like(values[4:])]):
        assert second.running_mean.item() != pytest.approx(expected[0], rel=0.01)


def test_the_config_says_how_many_images_a_pass_has_and_what_they_weigh(toy_datasets):
    settings = {"NUM_IMAGES": 6, "IMS_PER_BATCH": 4, "WEIGHT": 0.25}
    keys = {f"SEARCH.BN_CALIBRATION.{name}": value for name, value in settings.items()}
    cfg, model = built(toy_datasets, keys)
    factory = calibration(cfg)
    assert [len(batch) for batch in factory.keywords["batches"]] == [4, 2]
    batches = build_fixed_batches(
        cfg, cfg.DATASETS.TRAIN, num_images=6, batch_size=4, with_annotations=True
    )
    with calibrated(model, batches, 0.25):
        expected = copied(model.state_dict())
    with factory(model):
        assert_same(model.state_dict(), expected)


def test_one_image_with_a_map_of_one_pixel_has_no_variance_and_changes_nothing():
    model, batches = OneNorm(), [images_like(values, side=1) for values in ([1, 2, 3], [9])]
    [norm] = norms(model).values()
    with calibrated(model, batches):
        assert norm.running_mean == 2 and norm.running_var == 1
    before = everything(model)
    shape = r"\(1, 1, 1, 1\).*two values of each channel"
    words = f"{shape}.*Raise SEARCH.IMS_PER_BATCH"
    with pytest.raises(JobError, match=words), calibrated(model, batches[::-1]):
        pass
    words = f"{shape}.*SEARCH.BN_CALIBRATION.PARTIAL"
    with pytest.raises(JobError, match=words), batch_statistics(model):
        model.backbone(model.preprocess_image(batches[1]).tensor)
    assert_untouched(model, before)
    assert not norm._forward_pre_hooks


def test_norms_of_the_heads_and_the_neck_see_the_proposals_of_training(toy_datasets):
    head = HEAD | {"MODEL.ROI_BOX_HEAD.NUM_CONV": 2, "MODEL.ROI_BOX_HEAD.CONV_DIM": 8}
    cfg, model = built(toy_datasets, head, {"MODEL.FPN.NORM": "BN"})
    batches = images_of(cfg)
    heads = [name for name in norms(model) if name.startswith("roi_heads.")]
    neck = [name for name in norms(model) if name.startswith("backbone.fpn_")]
    assert len(heads) == 2 and len(neck) == 8

    before, random_state = everything(model), torch.get_rng_state()
    seen = record_inputs(model, heads + neck)
    with calibrated(model, batches):
        first = copied(model.state_dict())
    assert_statistics(first, average_statistics(seen))
    # In inference there would be POST_NMS_TOPK_TEST proposals for an image.
    assert {len(x) for x in seen[heads[0]]} == {4 * cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE}
    assert_untouched(model, before)
    assert torch.equal(torch.get_rng_state(), random_state)

    with calibrated(model, batches):  # the same draws of proposals for every candidate
        assert_same(model.state_dict(), first)


def test_images_that_are_decoded_again_give_the_same_statistics(toy_datasets, caplog):
    results = []
    for cache in (1.0, 0.0):
        cfg, model = built(toy_datasets, HEAD, {"SEARCH.IMAGE_CACHE": cache})
        with caplog.at_level(logging.WARNING, logger="crnas_d2"):
            batches = images_of(cfg)
        assert ("decodes them again" in caplog.text) == (cache == 0)
        with calibrated(model, batches):
            results.append(copied(model.state_dict()))
        del batches  # a file that is in use would be shared
    assert_same(*results)


def test_the_result_equals_that_of_the_calibrated_fixed_network(supernet, batches):
    path = {"MODEL.SUPERNET.PATH_SAMPLER": "fixed", "MODEL.GENOTYPE.DEPTHS": list(PATH.depths)}
    fixed = Trainer.build_model(toy.supernet_config(path)).eval()
    weights = {}
    for name, value in supernet.state_dict().items():
        if not any(f"res{i}." in name for i in range(2, 6)):
            weights[name] = value
        elif is_on_path(name):
            stage, _, block = name.partition(".0.branches.")
            weights[f"{stage}.{block.partition('.')[2]}"] = value
    fixed.load_state_dict(weights)
    with torch.no_grad(), calibrated(supernet, batches), calibrated(fixed, batches):
        for ours, theirs in zip(supernet(batches[0]), fixed(batches[0]), strict=True):
            ours, theirs = ours["instances"], theirs["instances"]
            assert torch.equal(ours.scores, theirs.scores)
            assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)


def test_batch_statistics_normalize_each_batch_by_itself_and_leave_no_trace(supernet, batches):
    supernet.train()
    before = everything(supernet)
    layers = {name: layer for name, layer in norms(supernet).items() if is_on_path(name)}
    means = {}  # taken at once, for an activation behind the layer works in place
    for name, layer in layers.items():
        layer.register_forward_hook(
            lambda _layer, _inputs, y, name=name: means.update({name: y.mean(dim=(0, 2, 3))})
        )
    with torch.no_grad(), batch_statistics(supernet):
        assert not supernet.roi_heads.training and not supernet.proposal_generator.training
        supernet(next(iter(batches)))
    assert means.keys() == layers.keys()
    for name, mean in means.items():
        assert torch.allclose(mean, layers[name].bias, atol=1e-4)
    assert_untouched(supernet, before)


def test_batch_statistics_leave_the_head_with_those_of_training(toy_datasets):
    _, model = built(toy_datasets, HEAD)
    with batch_statistics(model.train()):
        in_training = {name for name, layer in norms(model).items() if layer.training}
    assert in_training == {name for name in norms(model) if is_on_path(name)}
    assert any(name.startswith("roi_heads.") for name in norms(model))
