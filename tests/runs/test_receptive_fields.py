"""Effective receptive fields of trained networks: the verb, and the section of a comparison."""

import re

import numpy as np
import pytest
import torch
import toy
import trained_toy
from PIL import Image

from crnas_d2.report import Page
from crnas_d2.verbs.main import main


@pytest.fixture(scope="module")
def runs(toy_datasets, tmp_path_factory):
    """Two trained networks, by name."""
    folder = tmp_path_factory.mktemp("fields")
    deep = {"MODEL.GENOTYPE.DEPTHS": [1, 2, 3, 3]}
    return {
        "base": trained_toy.train(folder / "base", toy_datasets),
        "deep": trained_toy.train(folder / "deep", toy_datasets, deep),
    }


def measure(*arguments):
    main(["receptive-field", *map(str, arguments)])


def test_two_networks_are_measured_on_their_test_set(runs, tmp_path, capsys):
    named = [f"{name}={folder}" for name, folder in runs.items()]
    page = tmp_path / "new" / "fields.html"
    measure(*named, "--output", page, "--num-images", 3, "--features", "p3", "res5")
    printed = capsys.readouterr().out
    rows = [line.split()[:3] for line in printed.splitlines() if line.startswith(("p3", "res5"))]
    assert rows == [["p3", "base", "8"], ["p3", "deep", "8"], *(["res5", n, "32"] for n in runs)]
    text = page.read_text()
    assert text.count("<img") == 1 and "3 images of 64x64 pixels" in text
    with pytest.raises(SystemExit, match="exists already"):
        measure(runs["base"], "--output", page)


def test_a_config_is_measured_on_images_of_the_user(runs, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (70, 90, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    (photos / "broken.png").write_bytes(b"\x89PNG")
    picture = tmp_path / "fields.svg"
    config = runs["base"] / "config.yaml"
    weights = ["--opts", "MODEL.WEIGHTS", runs["base"] / "model_final.pth"]
    measure(config, "--output", picture, "--images", photos, "--features", "p4", *weights)
    assert picture.read_bytes().startswith(b"<?xml")
    assert "p4         config" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features", "p7"], r"no feature 'p7'; it has p2, p3, p4, p5, p6, res2"),
        (["--num-images", "0"], "--num-images: 0 is not a positive number"),
        (["--images", "nowhere"], "nowhere does not exist"),
        (["--output", "fields.jpg"], r"\.html, \.png or \.svg"),
        (["{base}"], "Two networks have the name base"),
        ([str(toy.SUPERNET), "--opts", "MODEL.WEIGHTS", __file__], "that of a supernet"),
        (["--opts", "DATASETS.TEST", "('toy_tset',)"], "'toy_tset', which is not registered"),
    ],
)
def test_mistakes_are_named(runs, tmp_path, capsys, arguments, message):
    arguments = [argument.replace("{base}", str(runs["base"])) for argument in arguments]
    with pytest.raises(SystemExit) as stopped:
        measure("--output", tmp_path / "fields.png", runs["base"], *arguments)
    assert re.search(message, f"{stopped.value} {capsys.readouterr().err}")
    assert not (tmp_path / "fields.png").exists()


def compared(runs, output, *arguments):
    named = [f"{name}={folder}" for name, folder in runs.items()]
    main(["compare", *named, "--output", str(output), *arguments])
    return output.read_text()


def test_a_comparison_shows_the_fields_of_each_network_once(runs, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Page, "figure", lambda page, figure, what: drawn.append(what))
    text = compared({**runs, "again": runs["base"]}, tmp_path / "all.html")
    assert "6 images of 64x64 pixels" in text  # all of the test set
    assert text.count("<td>res5</td>") == 2  # base and again are one network
    assert "effective receptive fields, anchors and squares" in drawn
    assert "AP against MACs" in drawn
    drawn.clear()
    alone, none = {"base": runs["base"]}, ("--receptive-fields", "0")
    assert "Effective" not in compared(alone, tmp_path / "none.html", *none)
    assert "AP against MACs" not in drawn  # of one network it says nothing
    with pytest.raises(SystemExit, match="--receptive-fields is -1"):
        compared(runs, tmp_path / "no.html", "--receptive-fields", "-1")


def test_a_comparison_goes_on_without_the_weights(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(Page, "figure", lambda *_: None)
    final = runs["deep"] / "model_final.pth"
    kept = final.read_bytes()
    torch.save({"model": {}, "iteration": 1}, final)
    try:
        assert "Not measured: " in compared({"deep": runs["deep"]}, tmp_path / "report.html")
    finally:
        final.write_bytes(kept)
