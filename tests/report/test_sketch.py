from crnas_d2.report import draw_channels
from crnas_d2.space import ChannelSpace, Genotype, SearchedConv

SPACE = ChannelSpace(
    (
        SearchedConv("res4", 0, "conv2", 16, 1, ((1, 1), (2, 2), (1, 3)), 4),
        SearchedConv("res5", 0, "conv2", 32, 1, ((1, 1), (3, 3)), 2),
    ),
    Genotype((1, 1, 1, 1)),
)
GENOTYPE = SPACE.genotype([[0, 1, 1, 2], [1, 1]])


def test_the_shares_of_dilations_are_those_of_the_channel_groups():
    assert SPACE.dilation_shares(GENOTYPE) == [
        {(1, 1): 0.25, (2, 2): 0.5, (1, 3): 0.25},
        {(3, 3): 1.0},
    ]


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
