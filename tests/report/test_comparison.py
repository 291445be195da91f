import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from crnas_d2.checkpoint import write_weights
from crnas_d2.report import Page, add_networks, add_retrained, comparison_table
from crnas_d2.report.detections import draw_boxes
from crnas_d2.report.pictures import render
from crnas_d2.runs import comparison as comparison_module
from crnas_d2.runs.comparison import Comparison
from crnas_d2.runs.run import load_run
from crnas_d2.runs.search_result import SearchResult
from crnas_d2.search import Candidate
from crnas_d2.space import Genotype


@pytest.fixture
def make(toy_datasets, tmp_path):
    """Makes the run of a network that scored, and found some of the objects of the test set."""

    def make(name, ap, depths=(1, 2, 3, 2), *, seed=1, found=slice(1), scores=(), **settings):
        folder = tmp_path / f"{name}{seed}"
        (folder / "inference").mkdir(parents=True)
        lines = [
            {"iteration": 19, "total_loss": 2.0, "bbox/AP": 99.0},
            {"iteration": 39, "total_loss": 1.0},
            {"iteration": 40, "bbox/AP": ap, **dict(scores)},
        ]
        (folder / "metrics.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        write_weights({"model": {}, "iteration": 39}, folder / "model_final.pth")
        objects = json.loads(Path(MetadataCatalog.get("toy_test").json_file).read_text())
        detections = [
            {**{k: each[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9}
            for each in objects["annotations"][found]
        ]
        results = "inference/coco_instances_results.json"
        (folder / results).write_text(json.dumps(detections))
        keys = {"MODEL.GENOTYPE.DEPTHS": list(depths), "DATASETS.TEST": ("toy_test",)}
        keys |= {"SEARCH.COST_INPUT_SIZE": [toy.SIZE] * 2, "SOLVER.MAX_ITER": 40, "SEED": seed}
        keys |= {key.replace("__", "."): value for key, value in settings.items()}
        return load_run(f"{name}{seed}", folder, toy.network_config(toy_datasets, keys))

    return make


def text_of(runs, **settings):
    page = Page("Compared")
    add_networks(page, Comparison.of(runs), **settings)
    return "".join(page.parts)


def verdict_of(runs):
    text = text_of(runs, num_images=1)
    assert text.startswith('<div class="verdict">')  # it comes first
    return text[: text.index("</div>")]


def test_a_finished_training_is_read_from_its_folder(make):
    run = make("searched", 12.345, scores={"bbox/APs": 7.5})
    assert run.spec.genotype.depths == (1, 2, 3, 2)
    assert run.metrics == {"bbox/AP": 12.345, "bbox/APs": 7.5}
    assert run.cost.macs > 0 and run.cost.parameters > 0


def test_the_metrics_of_voc_are_shown_without_detections(make):
    scores = {"bbox/AP50": 70.0, "bbox/AP75": 30.5}
    run = make("searched", 40.0, scores=scores, DATASETS__TEST=("voc_2007_test",))
    run.detections_file.unlink()
    head, [row], _ = comparison_table([run])
    assert head[-3:] == ["AP", "AP50", "AP75"] and "APs" not in head
    assert [float(cell) for cell in row[-3:]] == [40.0, 70.0, 30.5]
    text = text_of([run])
    assert "coco_instances_results.json is missing" in text and text.count("<img") == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SOLVER__MAX_ITER": 80}, "unfinished training: 40 of 80 iterations.*--resume"),
        (
            {"DATASETS__TEST": ("toy_test", "toy_archval")},
            "'toy_test', 'toy_archval'.*expected one dataset",
        ),
        (
            {"DATASETS__TEST": ("toy_archval",)},
            r"DATASETS\.TEST is \('toy_test',\) and \('toy_a",
        ),
        ({"SEARCH__COST_INPUT_SIZE": [64, 96]}, r"COST_INPUT_SIZE is \(64, 64\) and \(64, 96\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(make, settings, words):
    with pytest.raises(ValueError, match=words):
        Comparison.of([make("baseline", 20.0), make("searched", 20.0, **settings)])


def test_a_network_whose_image_size_was_searched_is_compared_at_its_own(make):
    smaller = {"SEARCH__COST_INPUT_SIZE": [32, 32], "INPUT__MIN_SIZE_TEST": 32}
    runs = [
        make("baseline", 20.0),
        make("found", 19.0, MODEL__GENOTYPE__IMAGE_SIZE=[32], **smaller),
    ]
    Comparison.of(runs)
    assert runs[1].cost.macs < 0.3 * runs[0].cost.macs
    head, rows, _ = comparison_table(runs)
    assert "MACs (body, 64x64 or 32x32)" in head
    assert rows[1][1] == "[1, 2, 3, 2], image size 32"


def test_networks_are_shown_side_by_side(make):
    text = text_of([make("baseline", 12.345), make("searched", 10.0)], num_images=2)
    assert "baseline1" in text and "searched1" in text and f"{12.345:.2f}" in text
    # Blocks, losses, and for each image its objects and two networks.
    assert "[1, 2, 3, 2]" in text and text.count("<img") == 2 + 2 * 3
    assert text.count("<figcaption>objects</figcaption>") == 2
    assert "<tr class=best><td>baseline1" in text and "<tr><td>searched1" in text


def test_the_winner_is_marked_and_not_the_first(make, figures):
    text = text_of([make("baseline", 10.0), make("searched", 12.0)], num_images=0)
    assert "<tr class=baseline><td>baseline1" in text and "<tr class=best><td>searched1" in text


def test_intervals_are_drawn_and_names_end_inside(make, figures):
    names = ["baseline " * 4, "found " * 8]
    runs = [
        make(names[0], 20.0, found=slice(4)),
        make(names[1], 60.0, (1, 1, 2, 2), found=slice(9)),
    ]
    comparison = Comparison.of(runs)
    add_networks(Page("Compared"), comparison, num_images=0)
    figure = figures["AP against MACs"]
    render(figure, "png")
    [axes] = figure.axes
    inside = axes.get_window_extent()
    for label in axes.texts:
        box = label.get_window_extent()
        assert inside.x0 < box.x0 and box.x1 < inside.x1
        assert inside.y0 < box.y0 and box.y1 < inside.y1
    drawn = [tuple(line.get_ydata()) for line in axes.lines]
    for network in comparison.networks:
        low, high = network.interval
        assert low < network.ap < high and (low, high) in drawn


def test_mistakes_are_counted_and_the_largest_differences_are_shown(make, figures):
    few, many = make("few", 20.0, found=slice(2)), make("many", 60.0, OTHER, found=slice(9))
    wrong = [{**each, "category_id": 3 - each["category_id"]} for each in few.detections]
    few.detections_file.write_text(json.dumps(wrong))
    few = load_run("few1", few.folder, few.cfg)
    names = MetadataCatalog.get("toy_test").thing_classes
    text = text_of([few, many], num_images=0)
    mistakes = text[text.index("<h2>Mistakes") : text.index("<h2>The largest")]
    assert "<td>few1</td><td>0</td><td>2</td>" in mistakes
    assert "<td>many1</td><td>9</td><td>0</td>" in mistakes
    first = MetadataCatalog.get("toy_test").thing_dataset_id_to_contiguous_id
    confused = first[wrong[0]["category_id"]]
    assert f"<td>{names[1 - confused]}</td><td>{names[confused]}</td>" in mistakes
    assert ", mistakes: " in text[text.index("<h2>The largest") :]
    same = text_of([many], num_images=0)
    assert "<h2>Mistakes" in same and "<h2>The largest" not in same


def test_columns_that_tell_nothing_are_left_out(make):
    scores = {"bbox/APs": 2.0, "bbox/APl": math.nan}
    depths = {"baseline": (1, 2, 3, 2), "searched": (1, 1, 3, 3)}
    runs = [make(name, 1.0, each, seed=3, scores=scores) for name, each in depths.items()]
    head, rows, same = comparison_table(runs)
    assert head[:2] == ["network", "blocks per stage"] and head[-2:] == ["AP", "APs"]
    assert "seed 3" in same and "channels 4-8-16-32" in same
    assert not {"seed", "channels", "AP50", "APm", "APl"} & set(head)
    assert [row[1] for row in rows] == [str(list(each)) for each in depths.values()]


OTHER = (1, 1, 3, 3)


def test_the_verdict_compares_with_the_first_network(make, figures):
    base = make("base", 20.0, found=slice(2))
    found = make("found", 80.0, OTHER, found=slice(9))
    verdict = verdict_of([base, found])
    assert "found1, [1, 1, 3, 3]: AP 80.00 on toy_test, 60.00 more than base1, [1, 2," in verdict
    assert "That exceeds the noise of the 6 test images" in verdict
    assert "noise of the seeds is not known" in verdict
    assert "60.00 less than found1" in verdict_of([found, base])
    same = make("same", 20.5, OTHER, found=slice(1, 3))
    assert "That does not exceed the noise of the 6 test images" in verdict_of([base, same])


def test_trainings_with_several_seeds_tell_the_noise_of_the_seeds(make, figures):
    base = [make("base", 20.0 + 2 * seed, seed=seed, found=slice(0)) for seed in (0, 1)]
    far = [make("far", 50.0 + 2 * seed, OTHER, seed=seed) for seed in (0, 1)]
    verdict = verdict_of(base + far)
    # Standard deviation 1.414 with 2 degrees of freedom: 30 +- 4.303 * 1.414.
    assert "AP 51.00 on toy_test, 30.00 more than base0, base1" in verdict
    spread = "noise of the seeds (2 and 2 trainings, standard deviation 1.41): 23.92 to 36.08."
    assert f"It exceeds the {spread}" in verdict
    assert "noise of the test images is not known" in verdict  # nothing was detected
    near = [make("near", 20.0 + 5 * seed, OTHER, seed=seed) for seed in (0, 1)]
    assert "It does not exceed the noise of the seeds" in verdict_of(base + near)
    assert "standard deviation 1.41 over 2 seeds" in verdict_of(base)


def test_fitness_is_shown_against_the_ap_after_training(make):
    depths = [(1, 2, 3, 2), OTHER, (2, 2, 2, 2)]
    scores = dict(zip("abc", (20.0, 30.0, 10.0), strict=True))
    runs = [make(*item, each) for item, each in zip(scores.items(), depths, strict=True)]

    def text_of(*depths):
        candidates, page = [Candidate(Genotype(each), 5.0) for each in depths], Page("Both")
        add_retrained(page, SearchResult(None, candidates, {}, "bbox/AP", "body"), runs)
        return "".join(page.parts)

    text = text_of(*depths)
    assert "<td>b1</td><td>5.00</td><td>30.00</td>" in text and text.count("<img") == 1
    assert not text_of((2, 1, 2, 3))


@pytest.fixture
def shown(monkeypatch):
    """Return what shows an image of a test set."""

    def show(file):
        images = {"test": [{"file_name": str(file)}]}
        monkeypatch.setattr(comparison_module, "DatasetCatalog", images)
        cfg = SimpleNamespace(INPUT=SimpleNamespace(DEPTH_RANGE=(0, 4_000)))
        runs = [SimpleNamespace(dataset="test", cfg=cfg)]
        [(_, picture)] = Comparison(runs, (), 1, 0, 0, {}).sampled_images(6)
        return picture

    return show


def test_pictures_are_upright_as_the_detector_saw_them(tmp_path, shown):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.new("RGB", (20, 50), (255, 0, 0)).save(tmp_path / "rotated.png", exif=exif)
    picture = shown(tmp_path / "rotated.png")
    assert picture.size == (50, 20) and picture.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["L", "I;16", "LA", "1"])
def test_grey_images_are_shown_grey(tmp_path, shown, mode):
    levels = np.tile(np.linspace(0, 1, 16), (8, 1))
    values = (levels * (4_000 if mode == "I;16" else 255)).astype("H" if mode == "I;16" else "B")
    stored = Image.fromarray(values)
    (stored if mode == "I;16" else stored.convert(mode)).save(tmp_path / "grey.png")
    pixels = np.asarray(shown(tmp_path / "grey.png")).astype(int)
    assert pixels.shape == (8, 16, 3) and (np.ptp(pixels, axis=2) == 0).all()
    assert pixels.min() == 0 and pixels.max() == 255  # 12 bits of 16 are not black


def test_detections_are_drawn_where_they_are_beside_the_objects(toy_datasets):
    image = DatasetCatalog.get("toy_test")[0]
    found = {"image_id": image["image_id"], "category_id": 1, "bbox": [10, 20, 30, 30]}
    networks = {"sure": [{**found, "score": 0.9}], "unsure": [{**found, "score": 0.2}]}
    picture = Image.open(image["file_name"]).convert("RGB")
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


def changed_metrics(run):
    file = run.folder / "metrics.json"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[-1]["bbox/AP"] += 5
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def no_detections(run):
    run.detections_file.write_text("[]")


def less_detections(run):
    run.detections_file.write_text(json.dumps(run.detections[:2]))


def changed_objects(content):
    for each in content["annotations"][:3]:
        each["bbox"] = [1, 1, 9, 9]


def changed_ids(content):
    for each in content["images"]:
        each["id"] += 100
    for each in content["annotations"]:
        each["image_id"] += 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed_metrics, "have changed"),
        (no_detections, r"have 0\.00 on 'toy_test' as it is now.*have changed"),
        (less_detections, "have changed"),
        (changed_objects, "have changed"),
        (changed_ids, "of image or category .*, which 'toy_test' does not have"),
    ],
)
def test_a_run_that_has_changed_since_is_refused(change, words, make, monkeypatch, tmp_path):
    ap = Comparison.of([make("first", 0.0, found=slice(5))]).recomputed["first1"]
    assert ap > 5
    run = make("second", ap, found=slice(5))
    Comparison.of([run]).check_unchanged()
    if change in (changed_objects, changed_ids):
        content = json.loads(Path(MetadataCatalog.get("toy_test").json_file).read_text())
        change(content)
        (tmp_path / "new.json").write_text(json.dumps(content))
        metadata = vars(MetadataCatalog.get("toy_test"))
        monkeypatch.setitem(metadata, "json_file", str(tmp_path / "new.json"))
    else:
        change(run)
    run = load_run("second1", run.folder, run.cfg)
    with pytest.raises(ValueError, match=words):
        Comparison.of([run]).check_unchanged()
