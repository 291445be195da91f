"""What a config says of a backbone: parsed once, checked once, the same answer everywhere."""

from dataclasses import FrozenInstanceError

import pytest
import toy
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from crnas_d2 import (
    FAMILY_REGISTRY,
    Genotype,
    NetworkSpec,
    build_backbone,
    find_supernet,
    load_config,
)
from crnas_d2.modeling import MixedSupernet, SinglePathSupernet
from crnas_d2.modeling.families import MobileNetV2Family, ResNetFamily
from crnas_d2.modeling.spaces import ChannelKind, JointKind, OperationKind, StageKind
from crnas_d2.space import SearchableConv

CHANNEL = {
    "MODEL.SUPERNET.SPACE": "channel",
    "MODEL.SUPERNET.PATH_SAMPLER": "alpha",
    "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 2,
    "MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1],
}
DEPTHS = {"MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("overrides", "mode", "kind"),
    [
        ({"MODEL.SUPERNET.SPACE": "stage"}, "single path", SinglePathSupernet),
        ({"MODEL.SUPERNET.SPACE": "operation", **DEPTHS}, "single path", SinglePathSupernet),
        ({"MODEL.SUPERNET.SPACE": "joint"}, "single path", SinglePathSupernet),
        (CHANNEL, "mixed", MixedSupernet),
        (DEPTHS, "network", None),
        ({**DEPTHS, "MODEL.SUPERNET.SPACE": "stage", "MODEL.SUPERNET.PATH_SAMPLER": "fixed"},)
        + ("network", None),
    ],
)
def test_whether_it_is_a_supernet_has_one_answer(overrides, mode, kind):
    options = {"MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2]] * 4}
    cfg = toy.network_config(options, overrides)
    spec = NetworkSpec.from_config(cfg)
    supernet = find_supernet(build_model(cfg))
    paths = "single path" if spec.has_paths else "network"
    assert mode == ("mixed" if spec.is_searched_in_training else paths)
    assert spec.is_supernet == (supernet is not None) == (kind is not None)
    assert kind is None or (type(supernet) is kind and supernet.space == spec.space)


@pytest.mark.parametrize(
    "overrides",
    [
        {"MODEL.SUPERNET.SPACE": "stage"},
        {"MODEL.SUPERNET.SPACE": "operation", "MODEL.SUPERNET.OPERATION_OPTIONS": [0, 1], **DEPTHS},
        {**CHANNEL, "MODEL.SUPERNET.CHANNEL.DILATIONS": [[1, 2], [1, [1, 2]], [1, 3]]},
        DEPTHS,
    ],
)
def test_specs_of_one_config_are_equal_and_of_others_not(overrides):
    options = {"MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2]] * 4}
    cfg = toy.network_config(options, overrides)
    one, same = (NetworkSpec.from_config(cfg.clone()) for _ in range(2))
    assert one == same and hash(one) == hash(same)
    with pytest.raises(FrozenInstanceError):
        one.sharing = "weight"
    for other in ({"MODEL.RESNETS.STEM_OUT_CHANNELS": 8}, {"MODEL.SUPERNET.SHARING": "none"}):
        changed = NetworkSpec.from_config(toy.network_config(options, overrides, other))
        assert (changed == one) == ("MODEL.SUPERNET.SHARING" in other)


def test_a_genotype_in_the_wrong_place_of_base_says_which_is_right(tmp_path):
    supernet, found = toy.ROOT / "configs" / "letters" / "supernet-operation.yaml", "genotype.yaml"
    Genotype((1, 2, 2, 3)).to_yaml(tmp_path / found, family="resnet")
    file = tmp_path / "config.yaml"
    file.write_text(f"_BASE_: [{supernet}, {found}]\n")
    words = "OPS is empty: a genotype.yaml with DEPTHS alone, .* comes in _BASE_ before the config"
    with pytest.raises(ValueError, match=words):
        NetworkSpec.from_config(load_config(str(file), []))
    file.write_text(f"_BASE_: [{found}, {supernet}]\n")
    assert NetworkSpec.from_config(load_config(str(file), [])).genotype.depths == (1, 2, 2, 3)
    file.write_text(f"_BASE_: {supernet}\nMODEL: {{SUPERNET: {{PATH_SAMPLER: fixed}}}}\n")
    with pytest.raises(ValueError, match=r"OPS is empty: .*a genotype\.yaml"):
        NetworkSpec.from_config(load_config(str(file), []))


def test_families_with_settings_that_cannot_be_compared_are_not_mixed_up():
    class Odd(ResNetFamily):
        def __init__(self, setting):
            super().__init__(18)
            self.setting = setting

    class Opaque:
        __hash__ = None

    assert Odd({"widths": [1, {2}]}) == Odd({"widths": [1, {2}]}) != Odd({"widths": [1, {3}]})
    one, same = Odd(Opaque()), Odd(Opaque())
    assert one == one and hash(one) == hash(one) and one != same
    assert ResNetFamily(18) != Odd(None)


@pytest.mark.parametrize(
    ("kind", "genotype", "words"),
    [
        (StageKind(), {"depths": (1, 1, 2, 2)}, r"GENOTYPE\.DEPTHS names one network"),
        (StageKind(), {"ops": (0, 1)}, r"GENOTYPE\.OPS is set.*'stage'"),
        (OperationKind(), {"depths": (1, 1, 1, 1), "ops": (0,) * 4}, r"OPS names one network"),
        (OperationKind(), {"channels": ((0, 1),)}, r"CHANNELS is set.*'operation'"),
        (JointKind(), {"depths": (1, 1, 2, 2)}, r"GENOTYPE\.DEPTHS names one network"),
        (ChannelKind(), {"channels": ((0, 1),)}, r"CHANNELS names one network"),
    ],
)
def test_a_supernet_has_no_genotype_for_what_it_leaves_open(kind, genotype, words):
    family = ResNetFamily(18, stem_out_channels=4, res2_out_channels=4)
    with pytest.raises(ValueError, match=words):
        build_backbone(family, kind=kind, genotype=Genotype(**genotype))


def test_without_a_searchable_convolution_there_is_no_channel_space():
    genotype = Genotype(MobileNetV2Family.published_depths, channels=[[0, 1]])
    for asked in ({"kind": ChannelKind()}, {"genotype": genotype}):
        with pytest.raises(ValueError, match=r"'mobilenetv2' has no channel space.*: resnet\."):
            build_backbone(MobileNetV2Family(), **asked)


@pytest.mark.parametrize(
    "conv",
    [SearchableConv("conv1", 64), SearchableConv("conv9", 4), SearchableConv("shortcut", 4)],
    ids=["width", "name", "kernel"],
)
def test_a_family_that_describes_other_convolutions_than_it_makes_is_refused(conv):
    class Liar(ResNetFamily):
        name = "liar"

        def searchable_conv(self, stage):
            return conv

    family = Liar(18, stem_out_channels=8, res2_out_channels=4)
    kind = ChannelKind(stages=["res2"], dilations=[[1, 2]], num_groups=1)
    with pytest.raises(ValueError, match=rf"'liar' describes res2\.0\.{conv.attribute} as a 3x3"):
        build_backbone(family, kind=kind)


def test_every_registered_family_and_its_operations_have_names():
    assert set(FAMILY_REGISTRY.names) >= {"resnet", "mobilenetv2", "shufflenetv2"}
    for name, family in FAMILY_REGISTRY:
        assert family.name == name
        names = [operation.name for operation in family.operations]
        assert all(names) and len(set(names)) == len(names)


def test_a_config_without_our_keys_says_what_to_call():
    with pytest.raises(ValueError, match=r"no MODEL\.SUPERNET: call crnas_d2\.add_crnas_config"):
        NetworkSpec.from_config(get_cfg())
