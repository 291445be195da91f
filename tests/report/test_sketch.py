from random import Random

import channel_toy
import pytest
import toy
from matplotlib.patches import Rectangle

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.report.sketch import draw_architectures, draw_channels, draw_networks
from crnas_d2.runs.named_genotype import NamedGenotype, find_genotype
from crnas_d2.space import ChannelSpace, Genotype, SearchedConv
from crnas_d2.verbs.main import main

SPACE = ChannelSpace(
    (
        SearchedConv("res4", 0, "conv2", 16, 1, ((1, 1), (2, 2), (1, 3)), 4),
        SearchedConv("res5", 0, "conv2", 32, 1, ((1, 1), (3, 3)), 2),
    ),
    Genotype((1, 1, 1, 1)),
)
GENOTYPE = SPACE.genotype([[0, 1, 1, 2], [1, 1]])


def test_the_shares_of_dilations_are_those_of_the_channel_groups():
    expected = [{(1, 1): 0.25, (2, 2): 0.5, (1, 3): 0.25}, {(3, 3): 1.0}]
    assert SPACE.dilation_shares(GENOTYPE) == expected


def test_bars_are_as_high_as_the_shares_and_stand_on_each_other():
    [panel] = draw_channels({"found": (SPACE, GENOTYPE)}).axes
    bars = {
        container.get_label(): [(bar.get_y(), bar.get_height()) for bar in container]
        for container in panel.containers
    }
    # From below in the order of the dilations; a dilation that is nowhere has no bars.
    assert bars == {
        "(1, 1)": [(0, 0.25), (0, 0)],
        "(1, 3)": [(0.25, 0.25), (0, 0)],
        "(2, 2)": [(0.5, 0.5), (0, 0)],
        "(3, 3)": [(1, 0), (0, 1)],
    }
    assert panel.get_title() == "found"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["res4.0.conv2", "res5.0.conv2"]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def squares(figure):
    return [patch for axes in figure.axes for patch in axes.patches if type(patch) is Rectangle]


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_a_published_network_is_drawn_block_by_block():
    network = find_genotype("CR-NAS/CR-R50")
    assert network.name == "CR-R50"
    figure = draw_architectures({"CR-R50": network.genotype}, {"CR-R50": network.family})
    # Table 6 of the paper.
    labels = [
        *("CR-R50", "1", "res2", "1", "2", "1", "res3", "1", "1", "2", "3", "1", "res4"),
        *("1", "2", "1", "3", "2", "2", "3", "res5", "[1, 3, 5, 7]"),
    ]
    assert texts(figure) == labels
    assert len(squares(figure)) == 16
    assert len(figure.axes) == 1 and legend(figure) == [f"dilation {n}" for n in (1, 2, 3)]
    colours = [patch.get_facecolor() for patch in figure.axes[0].get_legend().get_patches()]
    ops = [op for stage in network.genotype.ops_of_stages() for op in stage]
    assert [s.get_facecolor() for s in squares(figure)] == [colours[op] for op in ops]


def test_kernels_and_xception_blocks_have_their_own_labels():
    network = find_genotype("net=DetNAS/DetNASNet-300M-FPN")
    figure = draw_architectures({"net": network.genotype}, {"net": network.family})
    assert texts(figure)[:6] == ["net", "7", "5", "7", "3", "res2"]
    assert legend(figure) == ["kernel 3", "kernel 5", "kernel 7", "xception"]


PUBLISHED = sorted(
    f"{file.parent.name}/{file.stem}"
    for file in (toy.ROOT / "crnas_d2" / "genotypes").glob("*/*.yaml")
)
NETWORKS = sorted(
    str(file.relative_to(toy.ROOT)) for file in toy.ROOT.glob("projects/*/configs/network/*.yaml")
)


@pytest.mark.parametrize("source", [*PUBLISHED, *NETWORKS])
def test_every_network_of_the_papers_is_drawn(source):
    network = find_genotype(str(toy.ROOT / source) if source in NETWORKS else source)
    figure = draw_networks([network])
    drawn = {
        stage: ops
        for stage, ops in zip(network.family.stages, network.genotype.ops_of_stages(), strict=True)
        if stage not in network.family.single_layers
    }
    assert len(squares(figure)) == sum(map(len, drawn.values())) > 0
    assert [text for text in texts(figure) if text in drawn] == list(drawn)
    assert texts(figure)[-1] == str([len(ops) for ops in drawn.values()])
    # Different operations look different, and are explained.
    used = {network.family.operations[op].name for ops in drawn.values() for op in ops}
    assert len({square.get_facecolor() for square in squares(figure)}) == len(used)
    assert not network.genotype.ops or set(legend(figure)) >= used


def test_the_papers_and_all_families_are_there():
    assert len(PUBLISHED) >= 15 and len(NETWORKS) >= 29
    families = {find_genotype(name).family.name for name in PUBLISHED}
    assert families >= {"resnet", "mobilenetv2", "shufflenetv2"}


@pytest.mark.parametrize("search", ["R50-G16", "R101-C32", "X101-32x4d-C32", "CR-R50-G16"])
def test_networks_of_nats_are_drawn_as_bars(tmp_path, search):
    config = toy.ROOT / "projects" / "NATS" / "configs" / "search" / f"{search}.yaml"
    cfg = load_config(str(config), ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    space = NetworkSpec.from_config(cfg).space
    (tmp_path / "config.yaml").write_text(cfg.dump())
    found = space.sample(Random(0))
    settings = {"family": cfg.MODEL.SUPERNET.FAMILY, "channel": space.to_config()}
    found.to_yaml(tmp_path / "genotype.yaml", **settings)
    network = find_genotype(f"found={tmp_path}")
    [panel] = [axes for axes in draw_networks([network]).axes if axes.get_title() == "found"]
    assert len(panel.get_xticklabels()) == len(space.convs) > 10


def test_layers_that_never_vary_are_not_drawn():
    network = find_genotype("CR-NAS/stage-MobileNetV2")
    figure = draw_architectures({"net": network.genotype}, {"net": network.family})
    assert "stem" not in texts(figure) and "c160" in texts(figure)
    assert len(squares(figure)) == sum(network.genotype.depths) - 3


def test_networks_of_several_spaces_share_a_figure():
    spec = NetworkSpec.from_config(channel_toy.decoded_config(channel_toy.CHANNELS))
    decoded = NamedGenotype("decoded", spec.genotype, spec.family, spec.channels)
    plain = NamedGenotype("plain", Genotype((1, 2, 3, 1)), spec.family)
    figure = draw_networks([decoded, plain])
    assert [axes.get_title() for axes in figure.axes] == ["", "decoded"]
    assert "plain" in texts(figure)


@pytest.mark.parametrize(("suffix", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_verb_writes_the_format_of_the_suffix(tmp_path, suffix, head, capsys):
    file = tmp_path / "new" / f"sketch.{suffix}"
    main(["sketch", "CR-NAS/CR-R18", "mine=CR-NAS/CR-R50", "--output", str(file)])
    assert file.read_bytes().startswith(head)
    with pytest.raises(SystemExit, match="exists already"):
        main(["sketch", "CR-NAS/CR-R18", "--output", str(file)])
    main(["sketch", "CR-NAS/CR-R18", "--output", str(file), "--overwrite"])


def test_a_genotype_is_found_in_files_and_folders(tmp_path):
    cfg = channel_toy.supernet_config()
    space = NetworkSpec.from_config(cfg).space
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / "config.yaml").write_text(cfg.dump())
    genotype = space.genotype(channel_toy.CHANNELS)
    genotype.to_yaml(folder / "genotype.yaml", family="resnet", channel=space.to_config())
    found = find_genotype(str(folder))
    assert (found.name, found.genotype) == ("search", genotype)
    # Bars of the narrow network of the search, not of a ResNet-50.
    assert found.channels.names == space.names
    (tmp_path / "run").mkdir()
    plain = {"MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1]}
    (tmp_path / "run" / "config.yaml").write_text(toy.network_config(plain).dump())
    assert find_genotype(str(tmp_path / "run")).genotype.depths == (1, 2, 1, 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("CR-NAS/CR-R49", "CR-NAS/CR-R50"),
        (str(toy.SUPERNET), "that of a supernet"),
        (str(toy.ROOT / "tests"), "neither a genotype.yaml nor a config.yaml"),
        ("missing/genotype.yaml", "does not exist"),
    ],
)
def test_what_is_no_network_is_refused_by_name(source, message):
    with pytest.raises(ValueError, match=message):
        find_genotype(source)


@pytest.mark.parametrize("depths", [[1_000_000] * 4, [1, 1, 1, 10**30], [400, 400, 400, 400]])
def test_more_blocks_than_fit_into_a_picture_are_refused(depths, tmp_path):
    text = f"MODEL: {{GENOTYPE: {{FAMILY: resnet, DEPTHS: {depths}}}}}"
    (tmp_path / "genotype.yaml").write_text(text)
    with pytest.raises(SystemExit, match=r"at most (10000 blocks in all|1,000 are drawn)"):
        main(["sketch", f"a={tmp_path}/genotype.yaml", "--output", str(tmp_path / "a.svg")])


def test_mistakes_of_the_verb_are_named(tmp_path):
    with pytest.raises(SystemExit, match=r"\.png or \.svg"):
        main(["sketch", "CR-NAS/CR-R50", "--output", str(tmp_path / "a.jpg")])
    twice = ["CR-NAS/CR-R50"] * 2
    with pytest.raises(SystemExit, match="Two networks have the name CR-R50"):
        main(["sketch", *twice, "--output", str(tmp_path / "a.png")])
