"""Scores of resampled images, against pycocotools on data sets that repeat images."""

import contextlib
import io
from types import SimpleNamespace

import image_results
import numpy as np
import pytest
import toy
from detectron2.data import DatasetCatalog
from image_results import whole
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from crnas_d2.common.errors import JobError
from crnas_d2.data import register_coco_format
from crnas_d2.evaluation import (
    ClassificationEvaluator,
    DetectionMatches,
    FastCOCOEvaluator,
    FitnessNoise,
    ImageHits,
    NoiseFiles,
    difference_interval,
    images_to_tell,
    noise,
    resampled_images,
    score_interval,
    student_quantile,
)
from crnas_d2.evaluation.fast_coco_evaluator import _state
from crnas_d2.space import Genotype

NUM_IMAGES = 9
METRICS = ["AP", "AP50", "AP75", "APs", "APm", "APl"]


def make_content(seed):
    """Objects of all sizes, crowds, an image without objects, and one without detections."""
    random = np.random.default_rng(seed)
    annotations, detections = [], []
    for image in range(1, NUM_IMAGES + 1):
        for _ in range(0 if image == 3 else int(random.integers(1, 7))):
            side = float(random.choice([20, 60, 150]))
            x, y = random.uniform(0, 200, 2)
            box = {"image_id": image, "category_id": int(random.integers(1, 4))}
            area = {"area": side * side, "iscrowd": int(random.random() < 0.25)}
            number = {"id": len(annotations) + 1}
            annotations.append({**box, **number, "bbox": [x, y, side, side], **area})
            for _ in range(2 if image != 5 else 0):
                jitter = random.normal(0, 0.05 * side, 4)
                bbox = (np.array([x, y, side, side]) + jitter).tolist()
                detections.append({**box, "bbox": bbox})
        for _ in range(3):
            bbox = [*random.uniform(0, 200, 2).tolist(), *random.uniform(10, 99, 2).tolist()]
            box = {"image_id": image, "category_id": int(random.integers(1, 4))}
            if image != 5:
                detections.append({**box, "bbox": bbox})
        # Few different scores, so that many are equal, but not within an image.
        here = [detection for detection in detections if detection["image_id"] == image]
        for detection, score in zip(here, random.permutation(len(here)), strict=True):
            detection["score"] = float(score + 1) / 32
    sizes = {"width": 400, "height": 400}
    images = [{"id": i, "file_name": f"{i}.png", **sizes} for i in range(1, NUM_IMAGES + 1)]
    categories = [{"id": i, "name": name} for i, name in enumerate("abc", start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}, detections


def with_shapes(records, random):
    """Add to each box a mask that nearly fills it, and 17 key points on its diagonal."""
    for record in records:
        x, y, width, height = record["bbox"]
        right, bottom = x + width * random.uniform(0.8, 1), y + height * random.uniform(0.8, 1)
        outline = [x, y, right, y, right, bottom, x, bottom]
        steps = np.linspace(0, 1, 17)
        points = np.stack([x + width * steps, y + height * steps, np.full(17, 2)], axis=1)
        record["keypoints"], record["num_keypoints"] = points.flatten().tolist(), 17
        if "score" in record:
            [record["segmentation"]] = mask.frPyObjects([outline], 400, 400)
        else:
            record["segmentation"] = [outline]


def by_pycocotools(content, detections, counts, task="bbox"):
    """Evaluate a data set in which each image really is as often as ``counts`` says."""
    images, annotations, found = [], [], []
    for image, count in zip(content["images"], counts, strict=True):
        for _ in range(count):
            number = len(images) + 1
            images.append({**image, "id": number})
            for record in content["annotations"]:
                if record["image_id"] == image["id"]:
                    record = {**record, "id": len(annotations) + 1, "image_id": number}
                    annotations.append(record)
            for record in detections:
                if record["image_id"] == image["id"]:
                    found.append({**record, "image_id": number})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {**content, "images": images, "annotations": annotations}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = 100 * evaluation.stats[:6]
    return np.where(values < 0, np.nan, values)


@pytest.fixture
def evaluated(tmp_path, registered):
    def evaluate(content, detections):
        """Our evaluator after it has scored the detections, and the scores."""
        file, in_search = tmp_path / "resampled.json", {"distributed": False, "keeps_images": True}
        toy.write_json(file, content["images"], content["annotations"], content["categories"])
        register_coco_format([["resampled", str(file), str(tmp_path)]])
        DatasetCatalog.get("resampled")  # fills in the metadata
        evaluator = FastCOCOEvaluator("resampled", tasks=("bbox",), **in_search)
        evaluator.reset()
        instances = [{**d, "category_id": d["category_id"] - 1} for d in detections]
        evaluator._predictions = [{"image_id": 1, "instances": instances}]
        return evaluator, evaluator.evaluate()

    return evaluate


def assert_scores(matches, counts, expected):
    np.testing.assert_allclose(matches.scores(counts), expected, atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_score_of_repeated_images_is_that_of_pycocotools(evaluated, seed):
    content, detections = make_content(seed)
    evaluator, results = evaluated(content, detections)
    counts = resampled_images(NUM_IMAGES, 12, seed=seed)
    assert (counts.sum(axis=1) == NUM_IMAGES).all() and counts.max() > 2
    expected = np.array([by_pycocotools(content, detections, row) for row in counts])
    assert np.ptp(expected[:, 0]) > 5
    for column, metric in enumerate(METRICS):
        assert_scores(evaluator.image_results(f"bbox/{metric}"), counts, expected[:, column])
    for metric in (*METRICS, "AP-b"):
        found = whole(evaluator.image_results(f"bbox/{metric}"))
        assert found == pytest.approx(results["bbox"][metric], abs=1e-9)


@pytest.mark.parametrize("task", ["segm", "keypoints"])
def test_masks_and_key_points_are_resampled_too(evaluated, task):
    content, detections = make_content(4)
    random = np.random.default_rng(4)
    with_shapes(content["annotations"], random)
    with_shapes(detections, random)
    if task == "segm":  # as Detectron2 does; else pycocotools takes the area of the box
        detections = [{k: v for k, v in d.items() if k != "bbox"} for d in detections]
    evaluator, _ = evaluated(content, [])
    counts = resampled_images(NUM_IMAGES, 5, seed=1)
    expected = np.array([by_pycocotools(content, detections, row, task) for row in counts])
    # Those of key points have no APs.
    metrics = METRICS if task == "segm" else ["AP", "AP50", "AP75", "APm", "APl"]
    for column, metric in enumerate(metrics):
        matches = evaluator.image_results_of(detections, f"{task}/{metric}")
        assert_scores(matches, counts, expected[:, column])
    assert evaluator.image_results_of(detections, "keypoints/APs") is None
    assert not evaluator.image_results_of([], f"{task}/AP").scores(counts).any()  # 0, not nan


def test_the_interval_is_as_wide_as_the_scores_of_fresh_images_scatter():
    random = np.random.default_rng(0)
    fresh = [image_results.detections(random, 60, 0.6) for _ in range(150)]
    scores = [whole(results) for results in fresh]
    counts = resampled_images(60, 300)
    spreads = [results.scores(counts).std() for results in fresh[:20]]
    assert np.mean(spreads) == pytest.approx(np.std(scores), rel=0.2)
    mean, held = np.mean(scores), 0
    for results, score in zip(fresh, scores, strict=True):
        low, high = score_interval(score, results.scores(counts))
        held += low <= mean <= high
    assert 0.88 <= held / len(fresh) <= 0.99


def test_the_same_images_tell_apart_what_their_intervals_do_not():
    better = image_results.detections(np.random.default_rng(1), 80, 0.6)
    # The same network without each tenth true detection.
    lost = np.cumsum(better.is_true[0]) % 10 == 0
    worse = DetectionMatches(
        *(better.category, better.image, better.score),
        *(better.is_true & ~lost, better.is_ignored, better.objects),
    )
    counts = resampled_images(80)
    scores = whole(better), whole(worse)
    resampled = better.scores(counts), worse.scores(counts)
    low, high = difference_interval(scores[1], resampled[1], scores[0], resampled[0])
    assert low < scores[1] - scores[0] < high < 0
    intervals = [score_interval(*pair) for pair in zip(scores, resampled, strict=True)]
    assert intervals[0][0] < intervals[1][1]  # by themselves, they overlap
    # Four times the images halve the spread.
    spread = float((resampled[0] - resampled[1]).std())
    assert images_to_tell(1.0, spread, 80) == pytest.approx(80 * (1.96 * spread) ** 2, abs=1)
    assert images_to_tell(0.5, spread, 80) == pytest.approx(4 * images_to_tell(1, spread, 80), 0.01)


def test_a_part_of_the_images_scores_as_if_there_were_no_others(evaluated):
    content, detections = make_content(3)
    evaluator, _ = evaluated(content, detections)
    part = np.array([0, 2, 3, 7])
    matches = evaluator.image_results("bbox/AP")
    counts = np.zeros(NUM_IMAGES, int)
    counts[part] = 1
    expected = by_pycocotools(content, detections, counts)[0]
    assert whole(matches.subset(part)) == pytest.approx(expected, abs=1e-9)


def test_without_objects_there_is_no_score():
    matches = DetectionMatches.from_images([[([], np.zeros((1, 0)), np.zeros((1, 0)), 0)] * 3])
    assert np.isnan(matches.scores(resampled_images(3, 5))).all()


def test_metrics_without_images_have_no_results(evaluated):
    evaluator, _ = evaluated(*make_content(0))
    assert evaluator.image_results("bbox/AR") is None
    assert evaluator.image_results("segm/AP") is None


def test_large_datasets_have_fewer_samples_always_the_same():
    assert [len(resampled_images(n)) for n in (1, 1_000, 4_000, 9_000)] == [500, 500, 250, 200]
    assert (resampled_images(50) == resampled_images(50)).all()


def test_accuracy_is_resampled_too():
    evaluator = ClassificationEvaluator(distributed=False)
    scores = np.array([[3.0, 2.0], [1.0, 2.0], [5.0, 4.0], [0.0, 1.0]])
    for label, row in zip((0, 0, 0, 1), scores, strict=True):
        evaluator.process([{"label": label}], [{"scores": row}])
    results, images = evaluator.results_so_far("classification/top1")
    assert results.hits.tolist() == [True, False, True, True] and images.tolist() == [0, 1, 2, 3]
    results = evaluator.image_results("classification/top1")
    assert evaluator.evaluate()["classification"]["top1"] == whole(results) == 75
    counts = np.array([[0, 4, 0, 0], [2, 2, 0, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(results.scores(counts), [0, 50, 75])
    assert evaluator.image_results("classification/top9") is None


BEST, NEAR, FAR, ELSEWHERE = (Genotype((1, 1, 1, n)) for n in range(1, 5))
HALF = ImageHits(np.array([True, False]))


@pytest.fixture
def files(tmp_path):
    return NoiseFiles(tmp_path)


def test_the_noise_of_a_search_is_read_from_its_files(tmp_path, files):
    hits = np.arange(400) % 10 < 8
    near, far = hits.copy(), hits.copy()
    near[[0, 1, 8, 18, 28]] ^= True  # two lost, three won back: 80.25 of 100
    far[:100] = False
    results = {BEST: ImageHits(near), NEAR: ImageHits(hits), FAR: ImageHits(far)}
    fitness = {genotype: whole(result) for genotype, result in results.items()}
    for genotype, result in results.items():
        files.write(genotype, fitness[genotype], result)
    found = FitnessNoise.read(tmp_path, {**fitness, ELSEWHERE: 10.0})
    assert found.tied == [NEAR] and found.num_images == 400
    assert found.is_tied(BEST) and not found.is_tied(FAR) and not found.is_tied(ELSEWHERE)
    assert set(found.intervals) == {BEST, NEAR, FAR}
    for genotype, (low, high) in found.intervals.items():
        assert low < fitness[genotype] < high
    # sqrt(p (1 - p) / n), in percent
    low, high = found.intervals[NEAR]
    assert high - low == pytest.approx(2 * 1.96 * 100 * np.sqrt(0.8 * 0.2 / 400), rel=0.15)


def test_a_file_of_another_search_is_left_out(tmp_path, files):
    files.write(BEST, 50.0, HALF)
    assert files.read(BEST, 50.0)["hits"].tolist() == [True, False]
    assert files.read(BEST, 51.0) is None and FitnessNoise.read(tmp_path, {BEST: 51.0}) is None
    found = FitnessNoise.read(tmp_path, {NEAR: 60.0, BEST: 50.0})  # the best one has no file
    assert set(found.intervals) == {BEST} and found.best == NEAR and not found.behind
    assert FitnessNoise.read(tmp_path, {}) is None
    next((tmp_path / "noise").iterdir()).write_bytes(b"cut off")
    assert files.read(BEST, 50.0) is None


def test_files_of_workers_with_folders_of_their_own_are_read_there(tmp_path, files):
    other = NoiseFiles(tmp_path / "other")
    other.write(BEST, 50.0, HALF)
    files.write(NEAR, 50.0, HALF)
    fitness, places = {BEST: 50.0, NEAR: 50.0}, [tmp_path / "away", other.output_dir]
    assert NoiseFiles(tmp_path, places).read_results(BEST, 50.0).hits.tolist() == [True, False]
    assert set(FitnessNoise.read(tmp_path, fitness, places).intervals) == {BEST, NEAR}
    assert set(FitnessNoise.read(tmp_path, fitness).intervals) == {NEAR}


def test_a_candidate_of_other_samples_has_no_interval(tmp_path, files, monkeypatch):
    files.write(BEST, 50.0, HALF)
    monkeypatch.setattr(noise, "resampled_images", lambda n: resampled_images(n, 99))
    files.write(NEAR, 50.0, HALF)
    files.write(FAR, 25.0, ImageHits(np.array([True, False, False, False])))
    found = FitnessNoise.read(tmp_path, {BEST: 50.0, NEAR: 50.0, FAR: 25.0})
    assert list(found.intervals) == [BEST] and not found.behind and not found.tied


def test_a_fitness_that_does_not_come_from_the_results_has_no_file(files):
    files.write(BEST, 49.0, HALF)
    assert files.read(BEST, 49.0) is None


def test_large_results_are_not_kept_but_their_scores_are(files, monkeypatch):
    monkeypatch.setattr(noise, "_MOST_KEPT", 1)
    files.write(BEST, 50.0, HALF)
    assert set(files.read(BEST, 50.0)) == {"num_images", "resampled"}


STATES = {
    "none": None,
    "shorter": ([1], [1], [0.5], [False], [False]),
    "shape": ([1, 1], [1], [0.5], [False], [False], []),
    "type": ([1], [1], [0.5], [False], [7], []),
}


@pytest.mark.parametrize("state", STATES)
def test_another_layout_of_faster_coco_eval_is_refused_with_its_version(state):
    image = SimpleNamespace(__getstate__=lambda: STATES[state])
    with pytest.raises(JobError, match=r"faster-coco-eval \d\S+ .*expected a version from 1\.6\.5"):
        _state(image, num_thresholds=1)


def test_the_quantiles_of_students_t_are_those_of_tables():
    for freedom, confidence, expected in [
        (1, 0.95, 12.706204736174698),
        (2, 0.95, 4.302652729749464),
        (3, 0.99, 5.840909309733355),
        (4, 0.95, 2.7764451051977934),
        (9, 0.9, 1.833112932656237),
        (200, 0.95, 1.9718962236339088),
    ]:
        assert student_quantile(freedom, confidence) == pytest.approx(expected, rel=1e-12)
