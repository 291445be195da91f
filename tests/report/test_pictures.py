"""Figures as pictures: any name is drawn as it is, and files are whole."""

import pytest
from matplotlib.figure import Figure
from PIL import Image

from crnas_d2.report.pictures import render, write_figure

NAMES = ["$\\foo$", "$", "$$", "a $x^2 b$ c", "\\$5 and $6$", "$\\frac{1}$", "$_{"]


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.parametrize("name", NAMES)
def test_a_dollar_in_a_name_is_no_formula(name, kind):
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.bar([name, "other"], [1, 2], label=name)
    axes.set(title=name, xlabel=name, ylabel=name)
    axes.text(0, 0, name)
    axes.annotate(name, (1, 1))
    axes.legend(title=name)
    figure.suptitle(name)
    assert render(figure, kind)


def test_a_file_is_named_by_its_suffix_and_its_folder_is_made(tmp_path):
    for name in ("a.PNG", "b.svg"):
        write_figure(Figure(), tmp_path / "new" / name)
    assert (tmp_path / "new" / "a.PNG").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "new" / "b.svg").read_bytes()


def test_a_legend_that_is_wider_than_the_figure_is_not_cut(tmp_path):
    figure = Figure(figsize=(1, 1))
    axes = figure.add_subplot()
    axes.plot([0, 1], label="a legend that needs more than the width of such a small figure")
    axes.legend()
    write_figure(figure, tmp_path / "wide.png")
    legend = axes.get_legend().get_window_extent()  # in pixels at 100 dpi; files have 150
    assert Image.open(tmp_path / "wide.png").width >= legend.width * 1.5 > 150
