"""One reader of pixels: as Detectron2 reads 8 bits, and what is deeper only with a range."""

import json
import struct
import zlib

import numpy as np
import pytest
import toy
from detectron2.data.detection_utils import read_image
from PIL import Image, TiffImagePlugin

from crnas_d2.data import build_fixed_batches, check_data, register_coco_format
from crnas_d2.data.images.files import find_broken, read_image_files
from crnas_d2.data.images.pixels import ImageError, read_pixels

VALUES = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
COLOURS = np.stack([VALUES, VALUES[::-1], VALUES.T], axis=-1)
LOW, HIGH = 500, 3500


def png(path, values, exif=None):
    """Write a PNG file of 16 bits per channel, of 1 to 4 channels."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", *values.shape[1::-1], 16, kind, 0, 0, 0)
    turned = {b"eXIf": exif.tobytes().removeprefix(b"Exif\0\0")} if exif else {}
    parts = {b"IHDR": header, **turned, b"IDAT": zlib.compress(rows), b"IEND": b""}
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
            for name, part in parts.items()
        )
    )


def tiff(path, values, *, planar=False, orientation=1):
    """Write a TIFF file of 16 bits per colour, which Pillow does not write."""
    data = (np.moveaxis(values, 2, 0) if planar else values).astype("<u2").tobytes()
    height, width = values.shape[:2]
    size, parts = len(data) // 3, 3 if planar else 1
    lengths = (size * 3 // parts,) * parts
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.update({256: width, 257: height, 258: (16,) * 3, 259: 1, 262: 2, 277: 3, 278: height})
    starts = tuple(size * part for part in range(parts))  # after the tags
    tags.update({273: starts, 279: lengths, 284: 2 if planar else 1, 274: orientation})
    path.write_bytes(b"II*\0\x08\0\0\0" + tags.tobytes(8) + data)


def grey(**settings):
    return lambda path: Image.fromarray(VALUES).save(path, **settings)


# What is written; whether it has colours.
DEEP = {
    "grey.png": (grey(), False),
    "grey.tif": (grey(), False),
    "compressed.tif": (grey(compression="tiff_adobe_deflate"), False),
    "signed.tif": (lambda path: Image.fromarray(VALUES.astype(np.int32)).save(path), False),
    "float.tif": (lambda path: Image.fromarray(VALUES.astype(np.float32)).save(path), False),
    "grey.pgm": (
        lambda path: path.write_bytes(b"P5\n64 64\n4095\n" + VALUES.astype(">u2").tobytes()),
        False,
    ),
    "colours.ppm": (
        lambda path: path.write_bytes(b"P6\n64 64\n65535\n" + COLOURS.astype(">u2").tobytes()),
        True,
    ),
    "colours.png": (lambda path: png(path, COLOURS), True),
    "alpha.png": (lambda path: png(path, np.dstack([COLOURS, VALUES])), True),
    "colours.tif": (lambda path: tiff(path, COLOURS), True),
}
DEEP_FILES = pytest.mark.parametrize(
    ("name", "write", "coloured"), [(k, *v) for k, v in DEEP.items()]
)


@DEEP_FILES
def test_deep_images_are_refused_or_scaled(tmp_path, name, write, coloured):
    if coloured or name.endswith("pgm"):
        pytest.importorskip("cv2")
    path = tmp_path / name
    write(path)
    with pytest.raises(ImageError, match=rf"{name}.*more than 8 bits.*INPUT\.DEPTH_RANGE"):
        read_pixels(path, "RGB")
    values = COLOURS if coloured else np.stack([VALUES] * 3, axis=-1)
    expected = np.rint(255 * (values.astype(float) - LOW) / (HIGH - LOW)).clip(0, 255)
    assert np.array_equal(read_pixels(path, "RGB", (LOW, HIGH)), expected)
    assert np.array_equal(read_pixels(path, "BGR", (LOW, HIGH)), expected[..., ::-1])
    assert read_image_files([name], tmp_path)[name].values == (0, 4095)
    stated = {str(path): (64, 64)}
    assert find_broken(stated) == [f"{path} (more than 8 bits per channel)"]
    assert not find_broken(stated, is_scaled=True)


# What is seen of an array that is stored with an EXIF orientation.
UPRIGHT = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
    9: lambda pixels: pixels,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_images_are_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    shallow = (VALUES[:40] >> 4).astype(np.uint8)
    stored = {"8.png": shallow, "8.tif": shallow, "16.png": VALUES[:40], "16.tif": VALUES[:40]}
    for name, values in stored.items():
        for compression in ("raw", "tiff_lzw")[: 1 + (name.endswith("tif") and orientation < 9)]:
            Image.fromarray(values).save(tmp_path / name, exif=exif, compression=compression)
            upright = UPRIGHT[orientation](values)
            found = read_pixels(tmp_path / name, "L", (0, 255))[..., 0]
            assert np.array_equal(found, upright.clip(0, 255)), (name, compression)
            size = upright.shape[::-1]
            assert read_image_files([name], tmp_path)[name].size == size
            assert not find_broken({str(tmp_path / name): size}, is_scaled=True)
    pytest.importorskip("cv2")
    png(tmp_path / "a.png", COLOURS[:40], exif)
    upright = UPRIGHT[orientation](COLOURS[:40]).clip(0, 255)
    assert np.array_equal(read_pixels(tmp_path / "a.png", "RGB", (0, 255)), upright)


def test_no_number_becomes_black(tmp_path):
    values = np.array([[np.nan, np.inf, -np.inf, 1]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert read_pixels(tmp_path / "a.tif", "L", (0, 2)).ravel().tolist() == [0, 255, 0, 128]


@pytest.mark.parametrize("layout", [{"planar": True}, {"orientation": 6}])
def test_what_is_misread_is_refused_even_with_a_range(tmp_path, layout):
    tiff(tmp_path / "a.tif", COLOURS, **layout)
    with pytest.raises(ImageError, match=r"a\.tif.*(in planes|turned).*convert it to 8 bits"):
        read_pixels(tmp_path / "a.tif", "RGB", (0, 4095))


MODES = ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr")


@pytest.mark.parametrize("image_format", ["BGR", "RGB", "L", "YUV-BT.601"])
def test_8_bits_are_read_as_by_detectron2(tmp_path, image_format):
    noise = Image.effect_noise((30, 20), 80).convert("RGB")
    exif = Image.Exif()
    for mode in MODES:
        for suffix in (".png", ".jpg", ".tif", ".gif", ".bmp", ".webp"):
            for orientation in (1,) if suffix == ".tif" else range(10):
                exif[0x0112] = orientation
                path = tmp_path / f"{mode}{suffix}"
                try:
                    noise.convert(mode).save(path, exif=exif)
                except (OSError, ValueError):  # no such pair of mode and format
                    continue
                expected = read_image(str(path), format=image_format)
                # A range is for deeper images.
                assert np.array_equal(read_pixels(path, image_format, (7, 9)), expected), path
                size = read_image_files([path.name], tmp_path)[path.name].size
                assert size == expected.shape[1::-1] and not find_broken({str(path): size})


def masked(colour):
    image = Image.new("RGBA", (8, 8), colour)
    image.putalpha(Image.effect_noise((8, 8), 90))
    return image


# An image, how it is saved, and what is said of its alpha channel and its pages.
SEEN = {
    "opaque": (Image.new("RGBA", (8, 8), "red"), {}, (False, False, 1)),
    "cut out": (masked("red"), {}, (True, True, 1)),
    "picture": (Image.merge("RGBA", [*[Image.effect_noise((8, 8), 9)] * 4]), {}, (True, False, 1)),
    "invisible": (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), {}, (True, False, 1)),
    "palette": (Image.new("L", (8, 8), 3), {"transparency": 3}, (True, False, 1)),
    "plain": (Image.new("RGB", (8, 8)), {}, (False, False, 1)),
}


@pytest.mark.parametrize(("image", "settings", "expected"), SEEN.values(), ids=SEEN)
def test_what_a_network_does_not_see_is_named(tmp_path, image, settings, expected):
    image.save(tmp_path / "a.png", **settings)
    found = read_image_files(["a.png"], tmp_path)["a.png"]
    assert (found.has_alpha, found.is_in_alpha, found.pages) == expected
    first, *rest = [image.convert("RGB")] * 3
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest)
    assert read_image_files(["a.tif"], tmp_path)["a.tif"].pages == 3
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=rest)
    assert read_image_files(["a.jpg"], tmp_path)["a.jpg"].pages == 1


@pytest.fixture
def cfg(tmp_path, registered):
    """A config that trains and tests on four images, of which a test replaces the second."""
    name, file, root = toy.make_dataset(tmp_path, "mine", 4, seed=5)
    register_coco_format([[name, file, root]])
    return toy.supernet_config({"DATASETS.TRAIN": ("mine",), "DATASETS.TEST": ("mine",)})


def test_a_run_needs_a_range_for_deep_images(cfg, tmp_path):
    check_data(cfg, ["TRAIN", "TEST"])
    Image.fromarray(VALUES).save(tmp_path / "mine" / "001.png")
    words = r"'mine': 1 of its 4 images .*001\.png \(more than 8 bits .*\)\. Set INPUT\.DEPTH_RANGE"
    for key in ("TRAIN", "TEST"):
        with pytest.raises(ValueError, match=words):
            check_data(cfg, [key])
    cfg.INPUT.DEPTH_RANGE = [0, 4095]
    check_data(cfg, ["TRAIN", "TEST"])
    [batch] = build_fixed_batches(cfg, ("mine",), with_annotations=True)
    found = batch[1]["image"].numpy()
    assert np.array_equal(found, np.stack([np.rint(255.0 * VALUES / 4095)] * 3))


@pytest.mark.parametrize("size", [(5000, 4), (4, 5000)])
def test_images_that_no_resizing_can_take_are_refused(cfg, tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "mine" / "003.png")
    file = tmp_path / "mine.json"
    content = json.loads(file.read_text())
    content["images"][3].update(zip(("width", "height"), size, strict=True))
    for annotation in content["annotations"]:
        annotation.update(bbox=[0, 0, 4, 4], area=16)
    file.write_text(json.dumps(content))
    words = r"'mine': 1 of its 4 images .*003\.png \(too thin.*raise INPUT\.MAX_SIZE_TRAIN"
    for key in ("TRAIN", "TEST"):
        with pytest.raises(ValueError, match=words):
            check_data(cfg, [key])
    cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST = 1300
    check_data(cfg, ["TRAIN", "TEST"])
