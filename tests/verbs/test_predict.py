"""Detections on a user's images: the same as in the evaluation, without the dataset at hand."""

import json
import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
import trained_toy
from PIL import Image

from crnas_d2.common.errors import JobError
from crnas_d2.runs.loaded_network import network_config
from crnas_d2.verbs.export.folder import run_export
from crnas_d2.verbs.main import main
from crnas_d2.verbs.predict import job as predict
from crnas_d2.verbs.predict.job import run_prediction

EXIF_ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def run(toy_datasets, tmp_path_factory):
    return trained_toy.train(tmp_path_factory.mktemp("predict") / "run", toy_datasets)


@pytest.fixture
def images(toy_datasets, tmp_path):
    """The test images of the toy data, elsewhere."""
    source = next(entry[2] for entry in toy_datasets["DATASETS.COCO_FORMAT"] if "test" in entry[0])
    return Path(shutil.copytree(source, tmp_path / "images"))


def predict_with(run, images, output, **settings):
    settings = {"score_threshold": 0.0, "with_pictures": False, **settings}
    cfg = network_config(str(run), None)
    inputs = [str(path) for path in (images if isinstance(images, list) else [images])]
    return run_prediction(cfg, inputs, str(output), folder=str(run), **settings)


def read(output):
    names = ("images.json", "predictions.json")
    return [json.loads((Path(output) / name).read_text()) for name in names]


def without_data(run, folder):
    """The run, whose dataset is gone."""
    shutil.copytree(run, folder)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("toy_", "gone_"))
    return folder


def test_predictions_are_those_of_the_evaluation(run, images, tmp_path):
    predict_with(run, images, tmp_path / "out")
    listed, results = read(tmp_path / "out")
    evaluated = json.loads((run / "inference" / "coco_instances_results.json").read_text())
    # The images of the dataset are numbered in the order of their names, too.
    assert results == evaluated and len(results) > 10
    assert [entry["file_name"] for entry in listed["images"]] == [f"00{i}.png" for i in range(6)]
    assert listed["categories"] == [{"id": 1, "name": "bright"}, {"id": 2, "name": "dark"}]


def test_a_threshold_leaves_out_what_is_below(run, images, tmp_path):
    predict_with(run, images, tmp_path / "all")
    scores = sorted(result["score"] for result in read(tmp_path / "all")[1])
    middle = scores[len(scores) // 2]
    found = predict_with(run, images, tmp_path / "some", score_threshold=middle)
    assert sorted(result["score"] for result in found.results) == [s for s in scores if s >= middle]
    with pytest.raises(ValueError, match=r"--score-threshold is 50.*0 to 1"):
        predict_with(run, images, tmp_path / "none", score_threshold=50)


def test_a_run_knows_its_classes_when_the_data_is_gone(run, images, tmp_path, caplog):
    predict_with(without_data(run, tmp_path / "moved"), images, tmp_path / "out")
    listed, results = read(tmp_path / "out")
    assert listed["categories"] == [{"id": 1, "name": "bright"}, {"id": 2, "name": "dark"}]
    assert {result["category_id"] for result in results} <= {1, 2}
    assert "numbered" not in caplog.text


@pytest.mark.parametrize("has_data", [True, False])
def test_a_run_that_names_no_classes_has_those_of_its_data_or_numbers(
    has_data, run, images, tmp_path, caplog
):
    old = (shutil.copytree if has_data else without_data)(run, tmp_path / "old")
    content = torch.load(old / "model_final.pth", weights_only=True)
    del content["classes"]
    torch.save(content, old / "model_final.pth")
    with caplog.at_level(logging.WARNING):
        predict_with(old, images, tmp_path / "out")
    names = [category["name"] for category in read(tmp_path / "out")[0]["categories"]]
    assert names == (["bright", "dark"] if has_data else ["class 0", "class 1"])
    assert has_data or "does not name its 2 classes" in caplog.text


DEEP = Image.fromarray(np.full((toy.SIZE, toy.SIZE), 3000, np.uint16))


def in_alpha(mode):
    image = Image.new(mode, (toy.SIZE, toy.SIZE))
    image.putalpha(Image.effect_noise(image.size, 90))
    return image


# An image that cannot be used, and what is said of it.
UNUSABLE = {
    "deep": (DEEP, "more than 8 bits per channel; set INPUT.DEPTH_RANGE"),
    "wide": (Image.new("L", (5000, 4)), "too thin"),
    "high": (Image.new("L", (4, 5000)), "too thin"),
    **{
        f"in alpha, {mode}": (in_alpha(mode), "its picture is in the alpha channel")
        for mode in ("LA", "RGBA")
    },
}


@pytest.mark.parametrize(("image", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_skipped_and_the_status_says_so(
    image, words, run, images, tmp_path, caplog
):
    image.save(images / "002.png")
    command = ["predict", str(images), "--run", str(run), "--no-pictures", "--output"]
    with pytest.raises(SystemExit) as ended:
        main([*command, str(tmp_path / "out")])
    listed, results = read(tmp_path / "out")
    assert ended.value.code == 1 and len(listed["images"]) == 5
    assert re.search(rf"Skipped: The image .*002\.png cannot be used: {words}", caplog.text)
    (images / "002.png").unlink()
    main([*command, str(tmp_path / "again")])
    assert read(tmp_path / "again") == [listed, results]


def test_a_range_of_values_is_that_of_the_run(run, images, tmp_path):
    scaled = without_data(run, tmp_path / "scaled")
    config = scaled / "config.yaml"
    config.write_text(config.read_text().replace("DEPTH_RANGE: []", "DEPTH_RANGE: [100, 4180]"))
    other = Path(shutil.copytree(images, tmp_path / "deep"))
    for file in other.iterdir():
        Image.open(file).convert("L").save(images / file.name)
        shallow = np.asarray(Image.open(images / file.name)).astype(np.uint16)
        Image.fromarray(shallow * 16 + 100).save(file)
    expected = predict_with(run, images, tmp_path / "expected")
    assert predict_with(scaled, other, tmp_path / "out").results == expected.results
    cfg = network_config(str(scaled), None)
    export = run_export(cfg, str(tmp_path / "exported"), folder=str(scaled))
    assert "map images of more than 8 bits per channel from [100, 4180] to 0 to 255" in export.why
    assert predict_with(tmp_path / "exported", other, tmp_path / "2").results == expected.results


def test_broken_images_are_named_and_skipped(run, images, tmp_path, caplog):
    (images / "002.png").write_bytes(b"no image")
    found = predict_with(run, images, tmp_path / "out")
    assert len(found.images) == 5 and "002.png" in caplog.text
    with pytest.raises(JobError, match=r"None of the inputs.*002\.png"):
        predict_with(run, images / "002.png", tmp_path / "none")
    # Nothing is left behind.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out"]


def test_earlier_results_are_replaced_only_when_asked(run, images, tmp_path):
    predict_with(run, images, tmp_path / "out")
    (images / "000.png").unlink()
    with pytest.raises(ValueError, match=r"--output .*out holds files already.*--overwrite"):
        predict_with(run, images, tmp_path / "out")
    predict_with(run, images, tmp_path / "out", overwrite=True)
    assert len(read(tmp_path / "out")[0]["images"]) == 5
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"other files and no predictions\.json"):
        predict_with(run, images, tmp_path / "mine", overwrite=True)
    with pytest.raises(ValueError, match="lies in the input"):
        predict_with(run, images, images / "out")


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing.png", "does not exist"), ("empty", "holds no images"), ("run", "no images")],
)
def test_wrong_inputs_are_named_before_the_work(run, tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    path = run if name == "run" else tmp_path / name
    with pytest.raises(ValueError, match=f"{path.name}.*{message}"):
        predict_with(run, path, tmp_path / "out")


def test_equal_names_in_several_folders_are_kept_apart(run, images, tmp_path):
    other = Path(shutil.copytree(images, tmp_path / "others"))
    found = predict_with(run, [images, other / "000.png"], tmp_path / "out")
    assert [entry["file_name"] for entry in found.images][-2:] == ["005.png", "000-2.png"]


def test_pictures_are_upright_grey_and_large_enough(run, tmp_path):
    pytest.importorskip("cv2")
    folder = tmp_path / "images" / "sub"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # turned by 90 degrees
    Image.fromarray(pixels).save(folder / "turned.png", exif=exif)
    found = predict_with(
        run, folder.parent, tmp_path / "out", with_pictures=True, score_threshold=1.0
    )
    assert [found.images[0][key] for key in ("width", "height")] == [40, 60]
    drawn = np.asarray(Image.open(tmp_path / "out" / "pictures" / "sub" / "turned.png"))
    assert drawn.shape == (640, 426, 3)
    assert (drawn == drawn[..., :1]).all(), "grey became coloured"


def test_boxes_are_drawn(run, images, tmp_path):
    pytest.importorskip("cv2")
    predict_with(run, images / "000.png", tmp_path / "out", with_pictures=True)
    drawn = np.asarray(Image.open(tmp_path / "out" / "pictures" / "000.png")).astype(int)
    assert np.ptp(drawn, axis=2).max() > 150, "the toy images are grey, its boxes are not"


def test_a_video_gives_a_video_and_numbered_frames(run, images, tmp_path):
    cv2 = pytest.importorskip("cv2")
    code = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), code, 5, (toy.SIZE, toy.SIZE))
    for index in range(3):
        writer.write(cv2.imread(str(images / f"00{index}.png")))
    writer.release()
    found = predict_with(
        run, [tmp_path / "clip.avi", images / "000.png"], tmp_path / "out", with_pictures=True
    )
    assert [entry.get("frame") for entry in found.images] == [0, 1, 2, None]
    assert {result["image_id"] for result in found.results} == {1, 2, 3, 4}
    capture = cv2.VideoCapture(str(tmp_path / "out" / "pictures" / "clip.avi.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == 5
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(JobError, match=r"broken\.mp4 cannot be used"):
        predict_with(run, tmp_path / "broken.mp4", tmp_path / "none")


def test_each_picture_is_drawn_into_a_file_of_its_own():
    names = ["x.bmp", "x.bmp.png", "x.bmp-2.png", "v.avi", "v.avi.mp4", "a/x.gif", "y.JPG"]
    drawn = predict._drawn_files([predict.Picture(Path(name), name) for name in names])
    assert len(set(drawn.values())) == len(names)
    assert drawn["x.bmp"] == "x.bmp-3.png" and drawn["v.avi"] == "v.avi-2.mp4"
    assert drawn["a/x.gif"] == "a/x.gif.png" and drawn["y.JPG"] == "y.JPG"


def test_a_dollar_in_a_class_name_is_no_formula(run, images, tmp_path, monkeypatch):
    names = predict.ClassNames(("$\\foo$", "$_{"), (1, 2))
    load = predict.load_network
    monkeypatch.setattr(predict, "load_network", lambda cfg: replace(load(cfg), classes=names))
    predict_with(run, images / "000.png", tmp_path / "out", with_pictures=True)
    assert (tmp_path / "out" / "pictures" / "000.png").exists()


def test_the_extra_is_named_where_it_is_missing(run, images, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "find_module", lambda name: None)
    with pytest.raises(ValueError, match=r"crnas-d2\[predict\].*--no-pictures"):
        predict_with(run, images, tmp_path / "out", with_pictures=True)
    (images / "clip.mp4").touch()
    with pytest.raises(ValueError, match=r"video .*clip\.mp4 .*crnas-d2\[predict\]"):
        predict_with(run, images, tmp_path / "out")


@pytest.mark.parametrize(
    ("folder", "file", "words"),
    [
        ("nowhere", None, "nowhere does not exist"),
        ("unfinished", None, "has not finished"),
        (None, toy.SUPERNET, "that of a supernet"),
        (None, toy.SEARCHED, "names no trained weights"),
        (None, None, "either --run FOLDER or --config-file"),
    ],
)
def test_what_holds_no_trained_network_is_refused(folder, file, words, run, tmp_path):
    (tmp_path / "unfinished").mkdir()
    shutil.copy(run / "config.yaml", tmp_path / "unfinished")
    weights = ["MODEL.WEIGHTS", str(run / "model_final.pth")] if file == toy.SUPERNET else []
    with pytest.raises(ValueError, match=words):
        network_config(folder and str(tmp_path / folder), file and str(file), weights)
