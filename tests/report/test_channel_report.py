"""The report of a channel search: alpha over time, as lines."""

import json

from crnas_d2.report import write_found_network
from crnas_d2.space import ChannelSpace, Genotype, SearchedConv

SPACE = ChannelSpace(
    (
        SearchedConv("res4", 0, "conv2", 4, 1, ((1, 1), (1, 3)), 2),
        SearchedConv("res5", 0, "conv2", 8, 1, ((1, 1), (3, 3)), 4),
    ),
    Genotype((1, 1, 1, 1)),
)


def entry(iteration, entropies, shares):
    """A line of metrics.json: by stage the mean entropy, and the share of the dilation (1, 1)."""
    line = {"iteration": iteration, "total_loss": 1.0}
    values = ("res4", "res5"), ("1x3", "3x3"), entropies, shares
    for stage, other, entropy, share in zip(*values, strict=True):
        scalars = {"entropy": entropy, "share_1x1": share, f"share_{other}": 1 - share}
        line |= {f"alpha/{stage}/{name}": value for name, value in scalars.items()}
    return line


def test_alpha_over_time_has_the_entropy_and_the_shares_of_each_stage(tmp_path, figures):
    log = [
        entry(19, (0.69, 0.68), (1.0, 0.75)),
        entry(59, (9.0, 9.0), (1.0, 1.0)),
        {"iteration": 70, "total_loss": 0.5},
        # A resumed run, which goes back behind what the killed one wrote.
        entry(39, (0.5, 0.4), (0.5, 0.5)),
        entry(59, (0.3, 0.2), (0.0, 0.25)),
    ]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, log)))
    found = SPACE.genotype([[0, 1], [0, 0, 1, 1]])
    files = write_found_network(found, SPACE, str(tmp_path), "resnet", 7)
    assert [file.name for file in files] == ["genotype.yaml", "report.html"]
    report = (tmp_path / "report.html").read_text()
    assert "Found: 50 % of the channels of 2 convolutions" in report and "<dd>7</dd>" in report

    panels = list(figures.values())[-1].axes
    drawn = [panel.get_lines() for panel in panels]
    # For each stage, the entropy on the left and the shares on the right.
    assert [[list(line.get_ydata()) for line in panel] for panel in drawn] == [
        [[0.69, 0.5, 0.3]],
        [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]],
        [[0.68, 0.4, 0.2]],
        [[0.75, 0.5, 0.25], [0.25, 0.5, 0.75]],
    ]
    assert all(list(line.get_xdata()) == [19, 39, 59] for panel in drawn for line in panel)
    assert [panel.get_ylabel() for panel in panels[::2]] == ["res4", "res5"]
    legends = [[text.get_text() for text in panel.get_legend().texts] for panel in panels[1::2]]
    assert legends == [["1x1", "1x3"], ["1x1", "3x3"]]
