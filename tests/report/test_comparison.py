import json
import math
from pathlib import Path

import numpy as np
import pytest
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from crnas_d2.checkpoint import write_weights
from crnas_d2.report import Page, add_networks, add_retrained, comparison_table
from crnas_d2.report.detections import draw_boxes
from crnas_d2.runs.comparison import Comparison, upright_picture
from crnas_d2.runs.run import load_run
from crnas_d2.runs.search_result import SearchResult
from crnas_d2.search import Candidate
from crnas_d2.space import Genotype

# What a training of 40 iterations with EVAL_PERIOD 20 logs.
LINES = [
    {"iteration": 19, "total_loss": 2.0, "bbox/AP": 50.0, "bbox/AP50": 60.0},
    {"iteration": 39, "total_loss": 1.0},
    {"iteration": 40, "bbox/AP": 12.345, "bbox/AP50": 30.0, "bbox/APs": 7.5},
]


def write_log(folder, lines):
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def folder(tmp_path, toy_datasets):
    """What a training of the searched network leaves, and its config."""
    cfg = toy.network_config(
        toy_datasets,
        {
            "MODEL.GENOTYPE.DEPTHS": [1, 2, 3, 2],
            "DATASETS.TEST": ("toy_test",),
            "SEARCH.COST_INPUT_SIZE": [toy.SIZE, toy.SIZE],
            "SOLVER.MAX_ITER": 40,
        },
    )
    write_log(tmp_path, LINES)
    write_weights({"model": {}, "iteration": 39}, tmp_path / "model_final.pth")
    detection = {"image_id": 1, "category_id": 2, "bbox": [5.0, 5.0, 20.0, 10.0], "score": 0.9}
    (tmp_path / "inference").mkdir()
    results = tmp_path / "inference" / "coco_instances_results.json"
    results.write_text(json.dumps([detection]))
    return tmp_path, cfg


def test_a_finished_training_is_read_from_its_folder(folder):
    run = load_run("searched", *folder)
    assert run.spec.genotype.depths == (1, 2, 3, 2)
    assert run.metrics == {"bbox/AP": 12.345, "bbox/AP50": 30.0, "bbox/APs": 7.5}
    assert run.cost.macs > 0 and run.cost.parameters > 0


def test_the_metrics_of_voc_are_shown(folder):
    output, cfg = folder
    scores = {"bbox/AP": 40.0, "bbox/AP50": 70.0, "bbox/AP75": 30.5}
    write_log(output, [{"iteration": 39, "total_loss": 1.0}, {"iteration": 40, **scores}])
    head, [row], _ = comparison_table([load_run("searched", output, cfg)])
    assert head[-3:] == ["AP", "AP50", "AP75"] and "APs" not in head
    assert [float(cell) for cell in row[-3:]] == [40.0, 70.0, 30.5]


def test_several_test_datasets_are_refused(folder):
    output, cfg = folder
    cfg.DATASETS.TEST = ("toy_test", "toy_archval")
    with pytest.raises(ValueError, match=r"'toy_test', 'toy_archval'.*expected one dataset"):
        load_run("searched", output, cfg)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("DATASETS.TEST", ("toy_archval",), r"DATASETS\.TEST is \('toy_test',\) and \('toy_arch"),
        ("SEARCH.COST_INPUT_SIZE", [64, 96], r"COST_INPUT_SIZE is \(64, 64\) and \(64, 96\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(folder, key, value, words):
    output, cfg = folder
    other = cfg.clone()
    other.merge_from_list([key, value])
    runs = [load_run("baseline", output, cfg), load_run("searched", output, other)]
    with pytest.raises(ValueError, match=words):
        Comparison.of(runs)


def test_a_voc_test_set_is_compared_without_its_detections(folder, tmp_path):
    output, cfg = folder
    cfg.DATASETS.TEST = ("voc_2007_test",)
    (output / "inference" / "coco_instances_results.json").unlink()
    page = Page("Networks")
    add_networks(page, Comparison.of([load_run("searched", output, cfg)]))
    page.write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "coco_instances_results.json is missing" in text and text.count("<img") == 2


def test_networks_are_shown_side_by_side(folder, tmp_path):
    runs = [load_run(name, *folder) for name in ("baseline", "searched")]
    page = Page("Networks")
    add_networks(page, Comparison.of(runs), num_images=2)
    page.write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "baseline" in text and "searched" in text and f"{12.345:.2f}" in text
    # Blocks, losses, and for each image its objects and two networks.
    assert "[1, 2, 3, 2]" in text and text.count("<img") == 2 + 2 * 3
    assert text.count("<figcaption>objects</figcaption>") == 2


def test_columns_that_tell_nothing_are_left_out(folder):
    output, cfg = folder
    other = cfg.clone()
    other.merge_from_list(["MODEL.GENOTYPE.DEPTHS", [1, 1, 3, 3], "SEED", 3])
    cfg.SEED = 3
    lines = [*LINES[:2], {"iteration": 40, "bbox/AP": 1.0, "bbox/APs": 2.0, "bbox/APl": math.nan}]
    write_log(output, lines)
    runs = [load_run("baseline", output, cfg), load_run("searched", output, other)]
    head, rows, same = comparison_table(runs)
    assert head[:2] == ["network", "blocks per stage"] and head[-2:] == ["AP", "APs"]
    assert "seed 3" in same and "channels 4-8-16-32" in same
    assert not {"seed", "channels", "AP50", "APm", "APl"} & set(head)
    assert [row[1] for row in rows] == ["[1, 2, 3, 2]", "[1, 1, 3, 3]"]


def trained_with(folder, name, seed, ap, depths=(1, 2, 3, 2), found=slice(0)):
    """A run with a seed, a score, and a part of the objects of the test set found."""
    source, cfg = folder
    output = source / f"{name}{seed}"
    (output / "inference").mkdir(parents=True)
    write_log(output, [LINES[1], {"iteration": 40, "bbox/AP": ap}])
    write_weights({"model": {}, "iteration": 39}, output / "model_final.pth")
    cfg = cfg.clone()
    cfg.merge_from_list(["SEED", seed, "MODEL.GENOTYPE.DEPTHS", list(depths)])
    annotations = json.loads(Path(MetadataCatalog.get("toy_test").json_file).read_text())[
        "annotations"
    ]
    detections = [
        {**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9}
        for a in annotations[found]
    ]
    (output / "inference" / "coco_instances_results.json").write_text(json.dumps(detections))
    return load_run(f"{name}{seed}", output, cfg)


def verdict_of(runs):
    page = Page("Compared")
    add_networks(page, Comparison.of(runs), num_images=1)
    text = "".join(page.parts)
    assert text.startswith('<div class="verdict">')  # it comes first
    return text[: text.index("</div>")]


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take seconds."""
    monkeypatch.setattr(Page, "figure", lambda page, figure, description: None)


def test_the_verdict_compares_with_the_first_network(folder, no_figures):
    base = trained_with(folder, "base", 1, 20.0, found=slice(2))
    found = trained_with(folder, "found", 1, 80.0, (1, 1, 3, 3), found=slice(9))
    verdict = verdict_of([base, found])
    assert "found1, [1, 1, 3, 3]: AP 80.00 on toy_test, 60.00 more than base1, [1, 2," in verdict
    assert "That exceeds the noise of the 6 test images" in verdict
    assert "noise of the seeds is not known" in verdict
    assert "60.00 less than found1" in verdict_of([found, base])
    same = trained_with(folder, "same", 1, 20.5, (1, 1, 3, 3), found=slice(1, 3))
    assert "That does not exceed the noise of the 6 test images" in verdict_of([base, same])


def test_trainings_with_several_seeds_tell_the_noise_of_the_seeds(folder, no_figures):
    base = [trained_with(folder, "base", seed, ap) for seed, ap in ((1, 20.0), (2, 22.0))]
    far = [
        trained_with(folder, "far", seed, ap, (1, 1, 3, 3)) for seed, ap in ((1, 50.0), (2, 52.0))
    ]
    verdict = verdict_of(base + far)
    # Standard deviation 1.414 with 2 degrees of freedom: 30 +- 4.303 * 1.414.
    assert "AP 51.00 on toy_test, 30.00 more than base1, base2" in verdict
    assert (
        "It exceeds the noise of the seeds (2 and 2 trainings, standard deviation 1.41)" in verdict
    )
    assert "23.92 to 36.08" in verdict
    near = [
        trained_with(folder, "near", seed, ap, (1, 1, 3, 3)) for seed, ap in ((1, 20.0), (2, 25.0))
    ]
    assert "It does not exceed the noise of the seeds" in verdict_of(base + near)
    assert "standard deviation 1.41 over 2 seeds" in verdict_of(base)


def test_fitness_is_shown_against_the_ap_after_training(folder):
    runs = [
        trained_with(folder, "a", 1, 20.0),
        trained_with(folder, "b", 1, 30.0, (1, 1, 3, 3)),
        trained_with(folder, "c", 1, 10.0, (2, 2, 2, 2)),
    ]

    def result(*depths):
        candidates = [Candidate(Genotype(each), 5.0) for each in depths]
        return SearchResult(None, candidates, {}, "bbox/AP", "backbone body")

    page = Page("Both")
    add_retrained(page, result(*(run.spec.genotype.depths for run in runs)), runs)
    text = "".join(page.parts)
    assert "<td>b1</td><td>5.00</td><td>30.00</td>" in text and text.count("<img") == 1
    page = Page("None")
    add_retrained(page, result((2, 1, 2, 3)), runs)
    assert not page.parts


def test_pictures_are_upright_as_the_detector_saw_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.new("RGB", (20, 50), (255, 0, 0)).save(tmp_path / "rotated.png", exif=exif)
    picture = upright_picture(tmp_path / "rotated.png")
    assert picture.size == (50, 20) and picture.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["L", "I;16", "LA", "1"])
def test_grey_images_are_shown_grey(tmp_path, mode):
    levels = np.tile(np.linspace(0, 1, 16), (8, 1))
    if mode == "I;16":
        stored = Image.fromarray((levels * 4_000).astype(np.uint16))
    else:
        stored = Image.fromarray((levels * 255).astype(np.uint8)).convert(mode)
    stored.save(tmp_path / "grey.png")
    pixels = np.asarray(upright_picture(tmp_path / "grey.png")).astype(int)
    assert pixels.shape == (8, 16, 3) and (np.ptp(pixels, axis=2) == 0).all()
    assert pixels.min() == 0 and pixels.max() == 255  # 12 bits of 16 are not black


def test_detections_are_drawn_where_they_are_beside_the_objects(folder, tmp_path):
    image = DatasetCatalog.get("toy_test")[0]
    found = {"image_id": image["image_id"], "category_id": 1, "bbox": [10, 20, 30, 30]}
    networks = {"sure": [{**found, "score": 0.9}], "unsure": [{**found, "score": 0.2}]}
    picture = upright_picture(image["file_name"])
    pictures = draw_boxes("toy_test", image, picture, networks)
    assert list(pictures) == ["objects", "sure", "unsure"]
    plain = np.asarray(pictures["unsure"]).astype(int)
    assert min(plain.shape[:2]) >= 400  # a picture of 64 pixels would be too small to see
    factor = plain.shape[0] / toy.SIZE
    changed = np.abs(np.asarray(pictures["sure"]) - plain).sum(axis=2) > 0
    rows, columns = np.nonzero(changed)
    # The bottom and the right edge; the label is above the box.
    assert rows.max() == pytest.approx(50 * factor, abs=2)
    assert columns.max() == pytest.approx(40 * factor, abs=2)
    assert (np.asarray(pictures["objects"]) != plain).any()
