"""The file of decoded images, record by record."""

import os

import pytest
import torch

from crnas_d2.data.images import shared_images as module
from crnas_d2.data.images.image_records import append_record, whole_records
from crnas_d2.data.images.shared_images import shared_images


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.bfloat16])
def test_images_of_other_types_keep_them(dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "image_folders", lambda: [tmp_path / "images"])
    pixels = torch.linspace(-3, 3, 105).view(3, 5, 7).to(dtype)
    images = shared_images("x", 1, lambda _: [{"image": pixels.mT}], limit=2**20)
    assert images[0]["image"].dtype == dtype and torch.equal(images[0]["image"], pixels.mT)


def test_records_end_with_the_last_whole_one(tmp_path):
    with open(tmp_path / "records", "w+b") as stream:
        assert whole_records(stream) == 0
        for number in range(3):
            append_record(stream, {"image_id": number, "image": torch.full((3, 64, 50), number)})
        size = stream.tell()
        assert whole_records(stream) == 3 and stream.seek(0, os.SEEK_END) == size
        stream.truncate(size - 1)
        assert whole_records(stream) == 2 and stream.seek(0, os.SEEK_END) < size
