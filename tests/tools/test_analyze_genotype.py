"""tools/analyze_genotype.py as a user runs it."""

import runpy
import subprocess
import sys

import pytest
import toy
from torch import nn

from crnas_d2.verbs import analyze
from crnas_d2.verbs.main import main

TOOL = str(toy.ROOT / "tools" / "analyze_genotype.py")
RCNN = str(toy.ROOT / "configs" / "Base-RCNN-FPN.yaml")


def run_here(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [TOOL, "--config-file", *map(str, arguments)])
    runpy.run_path(TOOL, run_name="__main__")


def rows(output):
    """The cells of the tables, by the first of their line."""
    lines = (line for line in output.splitlines() if "  " in line and "--" not in line)
    cells = ([cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines)
    return {first: rest for first, *rest in cells}


def test_a_searched_mask_rcnn():
    genotype = ["MODEL.GENOTYPE.DEPTHS", "[1,3,5,7]"]
    mask = ["MODEL.MASK_ON", "True", "MODEL.ROI_MASK_HEAD.NUM_CONV", "4"]
    command = [sys.executable, "-W", "ignore", TOOL, "--config-file", RCNN, *genotype, *mask]
    finished = subprocess.run(command, cwd=toy.ROOT, capture_output=True, text=True)
    assert finished.returncode == 0 and not finished.stderr, finished.stderr
    output = finished.stdout
    assert "Base-RCNN-FPN.yaml: GeneralizedRCNN, build_supernet_fpn_backbone" in output
    assert "genotype: depths=[1, 3, 5, 7]" in output
    assert rows(output) == {
        "part": ["MACs", "parameters"],
        "body": ["70.90 G", "39.82 M"],
        "neck": ["49.30 G", "3.344 M"],
        "rpn": ["43.02 G", "0.5939 M"],
        "box head": ["28.61 G", "14.31 M"],
        "mask head": ["68.40 G", "2.643 M"],
        "total": ["260.2 G", "60.71 M"],
        "level": ["stride", "receptive field"],
        "res2": ["4", "19 x 19"],
        "res3": ["8", "59 x 59"],
        "res4": ["16", "203 x 203"],
        "res5": ["32", "619 x 619"],
    }
    for sentence in ("multiply-adds", "800x1088 pixels", "2000 proposals", "100 regions"):
        assert sentence in output


def test_the_sizes_are_options(monkeypatch, capsys):
    small = ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64]
    run_here(monkeypatch, RCNN, "--input-size", 64, 90, "--num-proposals", 10, *small)
    output = capsys.readouterr().out
    assert "an image of 64x90 pixels (padded to 64x96, as the neck needs)" in output
    # Two layers of 1024 and the predictors of 81 classes and 80 boxes, ten times.
    box = 10 * (256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * (81 + 320))
    assert rows(output)["box head"][0] == f"{box / 1e9:#.4g} G"
    assert "10 proposals" in output and "Mask head" not in output
    assert "pads its images" not in output


def test_padding_that_is_not_counted_is_said(monkeypatch, capsys):
    # Rows of 93 pixels make maps that fit each other, so that nothing has to be padded here.
    run_here(monkeypatch, RCNN, "--input-size", 64, 93)
    output = capsys.readouterr().out
    assert "an image of 64x93 pixels.\n" in output
    assert "pads its images to multiples of 32 pixels: not counted" in output


def test_a_classifier_is_stated_at_its_own_size(monkeypatch, capsys):
    run_here(monkeypatch, toy.ROOT / "configs" / "Base-pretrain.yaml")
    output = capsys.readouterr().out
    # ResNet-50 of the literature: 4.09 G and 25.56 M.
    assert rows(output)["total"] == ["4.089 G", "25.56 M"]
    assert "224x224 pixels" in output and "proposals" not in output


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (toy.SUPERNET, [], "expected one network. Set MODEL.SUPERNET.PATH_SAMPLER to 'fixed'"),
        (RCNN, ["MODEL.KEYPOINT_ON", "True"], "KEYPOINT_ON is True"),
        ("no.yaml", [], "no.yaml, which does not exist"),
    ],
)
def test_what_cannot_be_analyzed_ends_with_a_sentence(monkeypatch, config, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run_here(monkeypatch, config, *arguments)
    assert stopped.value.code.startswith("analyze_genotype.py: ") and message in stopped.value.code
    assert "\n" not in stopped.value.code


@pytest.mark.parametrize("option", ["--num-proposals", "--num-mask-rois", "--input-size"])
@pytest.mark.parametrize("number", ["9" * 30, "1000001", "0" * 40 + "9", "²"])
def test_numbers_without_sense_are_refused(option, number, capsys):
    words = [option, *[number] * (1 + (option == "--input-size"))]
    with pytest.raises(SystemExit):
        main(["analyze", *words, "--config-file", str(toy.SEARCHED)])
    error = capsys.readouterr().err
    assert "is too large; expected at most 1000000" in error or "is not a positive num" in error


def test_sizes_are_positive(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_here(monkeypatch, RCNN, "--input-size", 0, 64)
    assert "0 is not a positive number" in capsys.readouterr().err


class Upsampled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.ConvTranspose2d(3, 4, 2, stride=2)

    def forward(self, image):
        return {"res2": self.conv(image)}


def test_costs_are_printed_where_receptive_fields_are_unknown(monkeypatch, capsys):
    monkeypatch.setattr(analyze, "find_body", lambda model: Upsampled())
    run_here(monkeypatch, RCNN)
    printed = capsys.readouterr().out
    assert "Receptive fields cannot be told: The receptive field of a transposed" in printed
    assert "body" in rows(printed) and "total" in rows(printed)
