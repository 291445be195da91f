"""The channel space: which convolutions, dilations and numbers of groups (NATS 3 and 4.3)."""

import logging
from random import Random

import pytest
import toy
import yaml

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.space import DILATION_SETS, Genotype, warn_without_plain_dilation

CHANNEL = "MODEL.SUPERNET.CHANNEL."
SPACE = {"MODEL.SUPERNET.SPACE": "channel", "MODEL.SUPERNET.PATH_SAMPLER": "alpha"}
R50 = {"MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.RES2_OUT_CHANNELS": 256}
R50 |= {"MODEL.RESNETS.WIDTH_PER_GROUP": 64}
SMALL = {  # 4, 8, 16, 32 channels
    "MODEL.GENOTYPE.DEPTHS": [1, 1, 2, 1],
    f"{CHANNEL}STAGES": ["res4", "res5"],
    f"{CHANNEL}DILATIONS": [[1, 2], [1, 3, [1, 3]]],
    f"{CHANNEL}NUM_GROUPS": 4,
}
CHANNELS = ((0, 1, 1, 0), (1, 1, 1, 1), (2, 0, 1, 2))
FOUND = Genotype((1, 1, 2, 1), (0, 0, 1, 2, 0), CHANNELS)


def config(*overrides):
    return toy.network_config(SPACE, *overrides)


def test_the_space_of_resnet50_is_that_of_the_paper():
    space = NetworkSpec.from_config(config(R50)).space
    assert space.names[:3] == ("res3.0.conv2", "res3.1.conv2", "res3.2.conv2")
    assert len(space.convs) == 4 + 6 + 3
    assert [space.convs[i].channels for i in (0, 4, 10)] == [128, 256, 512]
    assert {conv.num_groups for conv in space.convs} == {16}
    assert [len(space.convs[i].dilations) for i in (0, 4, 10)] == [5, 5, 9]
    assert space.size == 5 ** (16 * 10) * 9 ** (16 * 3)


@pytest.mark.parametrize("name", DILATION_SETS)
def test_sets_of_the_paper_by_name(name):
    space = NetworkSpec.from_config(config(R50, {f"{CHANNEL}DILATION_SET": name})).space
    for conv in space.convs:
        assert conv.dilations == DILATION_SETS[name][conv.name.split(".")[0]]


def test_a_fixed_size_of_the_groups_makes_more_of_them_where_there_are_more_channels():
    space = NetworkSpec.from_config(config(R50, {f"{CHANNEL}CHANNELS_PER_GROUP": 32})).space
    assert [space.convs[i].num_groups for i in (0, 4, 10)] == [4, 8, 16]


def test_the_groups_of_resnext_are_whole_groups_of_the_convolution():
    x101 = {"MODEL.RESNETS.NUM_GROUPS": 32, "MODEL.RESNETS.WIDTH_PER_GROUP": 4}
    space = NetworkSpec.from_config(config(R50, x101, {f"{CHANNEL}CHANNELS_PER_GROUP": 32})).space
    # conv2 of X101-32x4d: 256, 512, 1024 channels.
    assert [space.convs[i].num_groups for i in (0, 4, 10)] == [8, 16, 32]
    with pytest.raises(ValueError, match=r"CHANNELS_PER_GROUP, in res3: .*cuts the convolution's"):
        NetworkSpec.from_config(config(R50, x101, {f"{CHANNEL}CHANNELS_PER_GROUP": 4}))


def test_depths_and_operations_are_those_that_other_searches_found():
    found = {"MODEL.GENOTYPE.OPS": [0, 0, 1, 2, 0]}
    space = NetworkSpec.from_config(config(SMALL, found)).space
    assert space.base == Genotype((1, 1, 2, 1), (0, 0, 1, 2, 0))
    assert space.names == ("res4.0.conv1", "res4.1.conv1", "res5.0.conv1")
    assert space.genotype(CHANNELS) == FOUND


def test_genotypes_with_channels_are_hashable_and_keep_their_order():
    lists = Genotype([1, 1, 2, 1], [0, 0, 1, 2, 0], [list(indices) for indices in CHANNELS])
    assert lists == FOUND and len({lists, FOUND}) == 1
    other = Genotype((1, 1, 2, 1), (0, 0, 1, 2, 0), CHANNELS[::-1])
    assert other != FOUND and sorted([other, FOUND]) == [FOUND, other]


@pytest.mark.parametrize("channels", [[0, 1], [[0, -1]], [[]], [[0.0]], [[True]], "01"])
def test_only_lists_of_indices_are_channels(channels):
    with pytest.raises(ValueError, match=r"MODEL\.GENOTYPE\.CHANNELS is .*expected"):
        Genotype((1, 1, 1, 1), (), channels)


def test_a_genotype_file_alone_names_the_network(tmp_path):
    space = NetworkSpec.from_config(config(SMALL, {"MODEL.GENOTYPE.OPS": list(FOUND.ops)})).space
    file = tmp_path / "genotype.yaml"
    FOUND.to_yaml(file, family="resnet", channel=space.to_config())
    assert Genotype.from_yaml(file) == FOUND
    dilations = [[[1, 1], [2, 2]], [[1, 1], [3, 3], [1, 3]]]
    channel = {"STAGES": ["res4", "res5"], "DILATIONS": dilations}
    supernet = yaml.safe_load(file.read_text())["MODEL"]["SUPERNET"]
    assert supernet == {"PATH_SAMPLER": "fixed", "CHANNEL": channel}
    # Neither the default number of groups nor SPACE matters to it.
    (tmp_path / "net.yaml").write_text(f"_BASE_: [{toy.SEARCHED}, genotype.yaml]\n")
    for space_kind in ("none", "channel"):
        overrides = toy.as_list(toy.TINY, {"MODEL.SUPERNET.SPACE": space_kind})
        cfg = load_config(str(tmp_path / "net.yaml"), overrides)
        assert NetworkSpec.from_config(cfg).genotype == FOUND


def test_the_letters_config_searches_the_channels_of_a_network_that_was_found(tmp_path):
    nats = toy.ROOT / "configs" / "letters" / "supernet-nats.yaml"
    assert NetworkSpec.from_config(load_config(str(nats), [])).space.base == Genotype((3, 4, 6, 3))
    Genotype((1, 2, 1, 1), (0, 0, 1, 2, 0)).to_yaml(tmp_path / "genotype.yaml", family="resnet")
    config = tmp_path / "channels.yaml"
    config.write_text(f"_BASE_: [genotype.yaml, {nats}]\n")
    space = NetworkSpec.from_config(load_config(str(config), [])).space
    assert space.base == Genotype((1, 2, 1, 1), (0, 0, 1, 2, 0))
    assert [conv.channels for conv in space.convs] == [8, 16, 16, 32]
    assert {conv.num_groups for conv in space.convs} == {4}


def test_random_genotypes_are_the_baseline_of_a_search():
    space = NetworkSpec.from_config(config(SMALL)).space
    sampled = [space.sample(Random(seed)) for seed in range(40)]
    assert sampled == [space.sample(Random(seed)) for seed in range(40)]
    assert len(set(sampled)) == 40
    for genotype in sampled:
        space.validate(genotype)
    assert {index for genotype in sampled for index in genotype.channels[2]} == {0, 1, 2}


def test_a_set_without_the_plain_dilation_is_warned_of(caplog):
    overrides = {f"{CHANNEL}DILATIONS": [[1, 2], [2, 3]]}
    with caplog.at_level(logging.WARNING):
        warn_without_plain_dilation(NetworkSpec.from_config(config(SMALL)).space)
        assert not caplog.records
        warn_without_plain_dilation(NetworkSpec.from_config(config(SMALL, overrides)).space)
    assert "res5.0.conv1 do not include (1, 1)" in caplog.text
    assert "res4" not in caplog.text
