"""Photographs come with scikit-image, and what is done to them is the same on every machine."""

import sys

import numpy as np
import pytest

from crnas_d2.data.embedded.photographs import load_photo, luma, resize


def test_a_missing_package_is_named_with_the_fix(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(ImportError, match=r"pip install 'crnas-d2\[demo\]'"):
        load_photo("coffee")


def test_a_missing_photograph_is_not_downloaded():
    with pytest.raises(FileNotFoundError, match=r"skin\.png"):
        load_photo("skin")  # known to scikit-image, not in it


def test_resizing_keeps_flat_images_and_averages_when_it_shrinks():
    flat = np.full((7, 9, 3), 200, np.uint8)
    for height, width in ((3, 4), (20, 31)):
        assert (resize(flat, height, width) == 200).all()
    stripes = np.tile(np.array([[0, 100]], np.uint8), (8, 8))
    assert np.abs(resize(stripes, 4, 4)[:, 1:-1] - 50).max() <= 1


def test_luma_weighs_the_channels():
    assert [luma(c) for c in ((255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255))] == [
        255,
        76,
        149,
        29,
    ]
