import json
from pathlib import Path

import matplotlib.axes
import pytest
import toy
from PIL import Image

from crnas_d2.checkpoint import write_file
from crnas_d2.data import register_coco_format
from crnas_d2.report import Page, add_networks, load_run, network_table

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
    write_file({"model": {}, "iteration": 39}, tmp_path / "model_final.pth")
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


def test_an_unfinished_training_is_refused(folder, tmp_path):
    (tmp_path / "metrics.json").write_text('{"iteration": 19, "total_loss": 2.0}\n')
    with pytest.raises(ValueError, match="holds no bbox/AP"):
        load_run("searched", *folder)
    (tmp_path / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"metrics\.json is missing"):
        load_run("searched", *folder)


def test_the_score_of_an_unfinished_training_is_not_the_final_one(folder, tmp_path):
    output, cfg = folder
    # Killed after the last step, before the last evaluation.
    write_log(output, LINES[:2])
    with pytest.raises(ValueError, match=r"40 of 40 iterations .* came after 19"):
        load_run("searched", output, cfg)
    # Extended, and killed before or after something was logged.
    cfg.SOLVER.MAX_ITER = 80
    for more in ([], [{"iteration": 59, "total_loss": 0.5}]):
        write_log(output, LINES + more)
        with pytest.raises(ValueError, match=r"unfinished training: 40 of 80 iterations.*--resume"):
            load_run("searched", output, cfg)
    cfg.SOLVER.MAX_ITER = 40
    (output / "model_final.pth").unlink()
    with pytest.raises(ValueError, match=r"unfinished training, without model_final\.pth"):
        load_run("searched", output, cfg)


def test_other_numbers_of_processes_have_other_numbers_of_iterations(folder):
    output, cfg = folder
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.REFERENCE_WORLD_SIZE = 80, 8
    assert load_run("searched", output, cfg).metrics["bbox/AP"] == 12.345


def test_the_metrics_of_voc_are_shown(folder):
    output, cfg = folder
    scores = {"bbox/AP": 40.0, "bbox/AP50": 70.0, "bbox/AP75": 30.5}
    write_log(output, [{"iteration": 39, "total_loss": 1.0}, {"iteration": 40, **scores}])
    head, [row] = network_table([load_run("searched", output, cfg)])
    assert head[-3:] == ["AP", "AP50", "AP75"] and "APs" not in head
    assert [float(cell) for cell in row[-3:]] == [40.0, 70.0, 30.5]


def test_a_line_that_was_cut_off_is_left_out(folder, tmp_path):
    log = tmp_path / "metrics.json"
    log.write_text(log.read_text() + '{"iteration": 41, "total_l')
    assert load_run("searched", *folder).metrics["bbox/AP"] == 12.345


def test_several_test_datasets_are_refused(folder):
    output, cfg = folder
    cfg.DATASETS.TEST = ("toy_test", "toy_archval")
    with pytest.raises(ValueError, match=r"'toy_test', 'toy_archval'.*takes one dataset"):
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
        add_networks(Page("Networks"), runs)


def test_a_voc_test_set_is_compared_without_its_detections(folder, tmp_path):
    output, cfg = folder
    cfg.DATASETS.TEST = ("voc_2007_test",)
    (output / "inference" / "coco_instances_results.json").unlink()
    page = Page("Networks")
    add_networks(page, [load_run("searched", output, cfg)])
    page.write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "coco_instances_results.json is missing" in text and text.count("<img") == 2


def test_networks_are_shown_side_by_side(folder, tmp_path):
    runs = [load_run(name, *folder) for name in ("baseline", "searched")]
    page = Page("Networks")
    add_networks(page, runs, num_images=2)
    page.write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "baseline" in text and "searched" in text and f"{12.345:.2f}" in text
    assert "[1, 2, 3, 2]" in text and text.count("<img") == 3


def test_pictures_are_upright_as_the_detector_saw_them(folder, tmp_path, registered, monkeypatch):
    name, file, root = toy.make_dataset(tmp_path, "rotated", 1, seed=3)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.new("RGB", (20, 50), (255, 0, 0)).save(Path(root) / "000.png", exif=exif)
    register_coco_format([[name, file, root]])
    output, cfg = folder
    cfg.DATASETS.TEST = (name,)
    shown = []
    monkeypatch.setattr(matplotlib.axes.Axes, "imshow", lambda _, picture: shown.append(picture))
    add_networks(Page("Compared"), [load_run("searched", output, cfg)])
    assert [picture.shape for picture in shown if picture.ndim == 3] == [(20, 50, 3)]
    assert tuple(shown[-1][0, 0]) == (255, 0, 0)
