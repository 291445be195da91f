"""Weights that a prepared dataset starts from: how their images were prepared is never guessed."""

import pytest
import torch
import yaml
from detectron2.config import get_cfg

from crnas_d2.verbs.prepare.choose_recipe import read_start

KEYS = ("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1")
MSRA = ("BGR", [103.53, 116.28, 123.675], [1.0, 1.0, 1.0], True)
OTHER = {
    "INPUT": {"FORMAT": "RGB"},
    "MODEL": {"PIXEL_STD": [58.0, 57.0, 56.0], "RESNETS": {"STRIDE_IN_1X1": False}},
    "A_PROJECT": {"ITS_KEY": 1},
}


def detector(folder, **content):
    """A checkpoint as plain Detectron2 writes it, which says nothing of images."""
    file = folder / "model_final.pth"
    torch.save({"model": {"backbone.bottom_up.stem.conv1.weight": torch.ones(1)}, **content}, file)
    return str(file)


def test_the_config_beside_the_weights_says_how_images_were_prepared(tmp_path):
    cfg = get_cfg()
    (tmp_path / "config.yaml").write_text(cfg.dump())
    start = read_start(detector(tmp_path))
    assert start.convention == tuple(zip(KEYS, MSRA, strict=True))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(OTHER))
    convention = dict(read_start(detector(tmp_path)).convention)
    assert convention == {
        "INPUT.FORMAT": "RGB",
        "MODEL.PIXEL_MEAN": MSRA[1],
        "MODEL.PIXEL_STD": [58.0, 57.0, 56.0],
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
    }


def test_a_config_that_is_named_counts_before_the_one_beside(tmp_path):
    (tmp_path / "config.yaml").write_text(get_cfg().dump())
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(OTHER))
    convention = dict(read_start(detector(tmp_path), str(other)).convention)
    assert convention["INPUT.FORMAT"] == "RGB"


def test_without_a_config_it_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"does not say how .*--weights-config FILE"):
        read_start(detector(tmp_path))
    with pytest.raises(ValueError, match=r"missing\.yaml, which does not exist"):
        read_start(detector(tmp_path), str(tmp_path / "missing.yaml"))


def test_a_file_that_says_it_itself_needs_no_config(tmp_path):
    (tmp_path / "config.yaml").write_text(get_cfg().dump())
    start = read_start(detector(tmp_path, network={"INPUT.FORMAT": "RGB"}))
    assert dict(start.convention)["INPUT.FORMAT"] == "RGB"
    assert read_start("") is None
