"""Races: who is stopped, on which images, and that the others score as without a race."""

from functools import partial

import image_results
import numpy as np
import pytest
import toy
from image_results import whole

from crnas_d2.data import build_fixed_batches
from crnas_d2.evaluation import (
    DetectionMatches,
    ImageHits,
    Race,
    Rival,
    SubnetEvaluator,
    build_evaluator,
    calibrated,
    cannot_win,
    pauses,
    resampled_images,
)
from crnas_d2.search import Stopped
from crnas_d2.space import Genotype


def detections(skill):
    """A network; the same images are hard for all."""
    return image_results.detections(np.random.default_rng(0), 400, skill)


def race_between(candidate, rival, confidence=0.99, sizes=(50, 100, 200)):
    """What a race says on growing parts of the images; it stops at the first verdict."""
    rival = Rival(whole(rival), rival)
    race = Race("bbox/AP", sizes, confidence, lambda: rival)
    for size in sizes:
        part = np.arange(size)
        if stopped := race.judge(candidate.subset(part), part, size / candidate.num_images):
            return stopped
    return None


def test_the_further_behind_the_earlier_a_candidate_is_stopped():
    best = detections(0.8)
    far, near, equal = (race_between(detections(skill), best) for skill in (0.3, 0.65, 0.8))
    assert far.num_images == 50 and near.num_images in (50, 100, 200) and equal is None
    assert race_between(detections(0.9), best) is None
    # The estimates are near the scores on all images, and in their order.
    assert far.fitness < near.fitness < whole(best)
    assert far.fitness == pytest.approx(whole(detections(0.3)), abs=8)


def test_a_candidate_that_would_win_is_rarely_stopped():
    """Of two equally good networks, the one that is luckier on all images."""
    rng = np.random.default_rng(5)
    hard = rng.random(400)
    stopped = dict.fromkeys((0.9, 0.99), 0)
    for _ in range(200):
        candidate, rival = (ImageHits(hard + rng.normal(0, 0.2, 400) < 0.6) for _ in range(2))
        if whole(candidate) < whole(rival):
            candidate, rival = rival, candidate
        for confidence in stopped:
            stopped[confidence] += race_between(candidate, rival, confidence) is not None
    assert stopped[0.99] <= 4 and stopped[0.99] < stopped[0.9] < 40


def test_the_nearer_the_whole_the_less_is_open():
    scores, rival = np.array([10.0, 9, 11, 10, 12, 8]), np.array([12.0, 12, 12, 12, 12, 12])
    # The spread is 1.41, so the upper end at 97.7 % (2 sigma) is -2 + 2.83 sqrt(1 - share).
    for share, expected in ((0.1, False), (0.45, False), (0.55, True), (0.9, True)):
        assert cannot_win(scores, rival, share, 0.97725) is expected
    unknown = np.full(6, np.nan)
    assert not cannot_win(unknown, rival, 0.5, 0.99) and not cannot_win(rival, unknown, 0.5, 0.99)


def test_an_estimate_is_below_the_rival_and_not_below_zero():
    rival = ImageHits(np.arange(200) % 100 < 60)  # all that it knows is in the first part
    stopped = race_between(ImageHits(np.zeros(200, bool)), rival, sizes=(60,))
    assert stopped == Stopped(0.0, 60)


def test_parts_grow_and_small_ones_are_passed_over():
    assert pauses(125, [0.0625, 0.125, 0.25, 0.5], 8) == [8, 16, 31, 62]
    assert pauses(13, [0.0625, 0.125, 0.25, 0.5, 0.99], 10) == [6]
    with pytest.raises(ValueError, match=r"archval has about 64 images .*ENABLED to False"):
        pauses(8, [0.25, 0.5], 8)


@pytest.mark.parametrize("make", [detections, lambda _: ImageHits(np.arange(400) % 3 < 2)])
def test_images_that_are_drawn_twice_count_as_two(make):
    results = make(0.6)
    drawn = np.random.default_rng(1).integers(400, size=400)
    counts = np.bincount(drawn, minlength=400)[None]
    repeated = results.subset(drawn)
    assert repeated.num_images == 400
    assert whole(repeated) == pytest.approx(results.scores(counts)[0], abs=1e-9)
    part = np.arange(100, 220)
    expected = results.scores(np.bincount(drawn[part], minlength=400)[None])[0]
    assert whole(repeated.subset(part)) == pytest.approx(expected, abs=1e-9)


@pytest.fixture(params=[8.0, 0.0], ids=["in memory", "decoded each time"])
def scored(request, trained, trained_supernet):
    """The evaluator of the toy supernet, image by image in a random order, and its batches."""
    cfg = trained.clone()
    cfg.SEARCH.IMS_PER_BATCH = 1
    cfg.SEARCH.IMAGE_CACHE = request.param
    batches = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL, in_random_order=True)
    evaluator = build_evaluator(cfg, "toy_archval", in_search=True)
    calibrate = partial(calibrated, batches=build_fixed_batches(cfg, cfg.DATASETS.TRAIN))
    return SubnetEvaluator(trained_supernet, batches, evaluator, calibrate), batches


def test_a_race_sees_no_image_twice_and_scores_as_without_it(scored, monkeypatch):
    evaluate, batches = scored
    genotype = Genotype(depths=toy.ELIGIBLE[2])
    expected = evaluate(genotype)
    every = evaluate.image_results("bbox/AP")
    seen, parts = [], []
    predict = evaluate.predict

    def recorded(batch):
        seen.extend(image["image_id"] for image in batch)
        return predict(batch)

    monkeypatch.setattr(evaluate, "predict", recorded)

    class Watched(Race):
        def judge(self, results, images, share):
            parts.append((share, images.tolist(), whole(results)))
            assert whole(results) == pytest.approx(whole(every.subset(images)), abs=1e-9)
            return super().judge(results, images, share)

    race = Watched("bbox/AP", (2, 4), 0.99, lambda: None)
    np.testing.assert_equal(evaluate(genotype, race), expected)
    assert len(seen) == len(set(seen)) == len(batches) == 8
    assert [share for share, *_ in parts] == [0.25, 0.5]
    assert len(parts[0][1]) == 2 and set(parts[0][1]) < set(parts[1][1])
    assert parts[1][1] == sorted(parts[1][1])

    # Against a rival that finds everything where this one does not.
    seen.clear()
    found = {n: (np.ones(n), np.ones((10, n), bool), np.zeros((10, n), bool), n) for n in range(99)}
    perfect = DetectionMatches.from_images([[found[n] for n in row] for row in every.objects])
    assert whole(perfect) == 100
    race = Race("bbox/AP", (2, 4), 0.5, lambda: Rival(100.0, perfect))
    stopped = evaluate(genotype, race)
    assert isinstance(stopped, Stopped) and stopped.num_images == len(seen) == 2
    assert 0 <= stopped.fitness < 100
    # The next candidate starts anew.
    np.testing.assert_equal(evaluate(genotype), expected)


def test_the_batches_of_a_race_are_the_same_in_another_order(trained):
    cfg = trained.clone()
    cfg.SEARCH.IMS_PER_BATCH = 3  # a smaller batch is left, which stays the last one

    def batches(**how):
        found = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL, **how)
        return [tuple(image["image_id"] for image in batch) for batch in found]

    plain, shuffled = batches(), {}
    for seed in range(5):
        cfg.SEED = seed
        shuffled[seed] = batches(in_random_order=True)
        assert sorted(shuffled[seed]) == sorted(plain) and shuffled[seed][-1] == plain[-1]
        assert batches(in_random_order=True) == shuffled[seed]
    assert len({tuple(order) for order in shuffled.values()}) == 2


def test_samples_of_a_part_are_the_same_for_both():
    """Else the difference would have the noise of two samples, not of one."""
    better, worse = detections(0.8), detections(0.72)
    part = np.arange(100)
    rival = Rival(whole(better), better)
    counts = resampled_images(100, 200)
    np.testing.assert_allclose(rival.scores(part)[1:], better.subset(part).scores(counts))
    paired = rival.scores(part)[1:] - worse.subset(part).scores(counts)
    assert paired.std() < rival.scores(part)[1:].std()
