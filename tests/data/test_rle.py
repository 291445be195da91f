"""Run-length encodings of masks, against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from crnas_d2.data.annotations.rle import is_rle

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


def encoded(mask):
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(map(int, rle["size"])), "counts": rle["counts"].decode()}


@given(SIZES.flatmap(lambda size: arrays(np.uint8, size, elements=st.integers(0, 1))))
def test_every_mask_that_pycocotools_encodes_is_one(mask):
    assert is_rle(encoded(mask))


@given(SIZES, st.integers(0, 2**32 - 1))
def test_masks_of_another_size_or_cut_off_are_none(size, seed):
    rle = encoded(np.random.default_rng(seed).integers(0, 2, size, dtype=np.uint8))
    height, width = size
    assert not is_rle(rle | {"size": [height + 1, width]})
    assert not is_rle(rle | {"counts": rle["counts"][:-1]})


def test_a_large_mask_with_long_runs_is_one():
    mask = np.zeros((3000, 4000), np.uint8)
    mask[17:2900, 1000:3500] = 1
    mask[:, 3900:] = 1
    assert is_rle(encoded(mask))
    assert is_rle({"size": [3000, 4000], "counts": [11_000_000, 1_000_000]})


@pytest.mark.parametrize(
    "counts", ["", "abc", "\u00e9", "0" * 50, "o" * 9, " ", None, [-1, 2], [1.0]]
)
def test_what_is_no_mask_is_none(counts):
    assert not is_rle({"size": [1, 1], "counts": counts})
