import math
from functools import partial

import numpy as np
import pytest
import toy
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, inference_on_dataset

from crnas_d2.data import build_fixed_batches
from crnas_d2.evaluation import SubnetEvaluator, batch_statistics, build_evaluator, calibrated
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype


def calibration_batches(cfg):
    return build_fixed_batches(cfg, cfg.DATASETS.TRAIN, num_images=8, with_annotations=True)


def build(cfg, model, context, partial_context=None, **keywords):
    return SubnetEvaluator(
        model,
        build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL),
        build_evaluator(cfg, "toy_archval", in_search=True),
        context,
        partial_context,
        **keywords,
    )


@pytest.fixture
def calibrate(trained):
    return partial(calibrated, batches=calibration_batches(trained))


@pytest.fixture
def subnet_evaluator(trained, trained_supernet, calibrate):
    return build(trained, trained_supernet, calibrate, batch_statistics)


def test_the_fitness_is_that_of_the_calibrated_subnet_in_full_precision(
    trained, trained_supernet, calibrate, subnet_evaluator
):
    genotype = Genotype(depths=toy.ELIGIBLE[2])
    found = subnet_evaluator(genotype)
    oracle = COCOEvaluator("toy_archval", distributed=False, output_dir=None, use_fast_impl=False)
    find_supernet(trained_supernet).set_path(genotype)
    archval = build_fixed_batches(trained, trained.DATASETS.ARCHVAL)
    with calibrate(trained_supernet):
        expected = inference_on_dataset(trained_supernet, archval, oracle)["bbox"]
    assert set(found) == {f"bbox/{name}" for name in expected}
    assert {"bbox/AP", "bbox/AP50", "bbox/AP75", "bbox/APs"} <= set(found)
    assert expected["AP"] > 0
    for name, value in expected.items():
        assert found[f"bbox/{name}"] == pytest.approx(value, abs=1e-6, nan_ok=True)
    assert found["bbox/AP"] != round(found["bbox/AP"], 3)


def test_scores_do_not_depend_on_what_was_scored_before(trained_supernet, subnet_evaluator):
    genotypes = [Genotype(depths=depths) for depths in toy.ELIGIBLE[:3]]
    with toy.unchanged(trained_supernet):
        first = [subnet_evaluator(genotype) for genotype in genotypes]
        again = [subnet_evaluator(genotype) for genotype in reversed(genotypes)][::-1]
    np.testing.assert_equal(again, first)  # nan equals nan
    assert len({metrics["bbox/AP"] for metrics in first}) == 3


def test_whatever_an_evaluator_says_is_named_by_task_and_metric(trained, trained_supernet):
    class Stub(DatasetEvaluator):
        def reset(self):
            self.images = 0

        def process(self, inputs, outputs):
            assert len(inputs) == len(outputs)
            self.images += len(inputs)

        def evaluate(self):
            return {"bbox": {"AP": self.images / 3}, "segm": {"AP50": 2}}

    archval = build_fixed_batches(trained, trained.DATASETS.ARCHVAL)
    calibrate = partial(calibrated, batches=[])
    evaluator = SubnetEvaluator(trained_supernet, archval, Stub(), calibrate, calibrate)
    metrics = evaluator(Genotype(depths=toy.ELIGIBLE[0]))
    assert metrics == {"bbox/AP": toy.SPLITS["archval"] / 3, "segm/AP50": 2.0}


def test_a_genotype_outside_the_space_is_refused(subnet_evaluator):
    with pytest.raises(ValueError, match=r"9 is not an option of res2\.depth"):
        subnet_evaluator(Genotype(depths=(9, 1, 2, 2)))


class Recorder:
    """A context that says on which path the supernet was when it was entered."""

    def __init__(self, context):
        self.context = context
        self.paths = []

    def __call__(self, model):
        self.paths.append(find_supernet(model).path)
        return self.context(model)


@pytest.mark.parametrize("statistics", ["batch", "calibration"])
def test_a_partial_genotype_runs_as_another_network_in_each_batch(
    trained, trained_supernet, calibrate, statistics
):
    recorder = Recorder(batch_statistics if statistics == "batch" else calibrate)
    evaluator = build(trained, trained_supernet, recorder)
    with toy.unchanged(trained_supernet):
        metrics = evaluator(Genotype(depths=(2, 1)))
    num_batches = toy.SPLITS["archval"] // trained.SEARCH.IMS_PER_BATCH
    assert len(recorder.paths) == num_batches
    assert all(path.depths[:2] == (2, 1) for path in recorder.paths)
    assert math.isfinite(metrics["bbox/AP"])
    paths = list(recorder.paths)
    assert evaluator(Genotype(depths=(2, 1))) == pytest.approx(metrics, nan_ok=True)
    assert recorder.paths[num_batches:] == paths  # the same completions again


def test_partial_genotypes_of_one_level_see_the_same_completions(trained, trained_supernet):
    recorder = Recorder(batch_statistics)
    evaluator = build(trained, trained_supernet, recorder)
    for depth in (1, 2):
        evaluator(Genotype(depths=(depth,)))
    one, other = recorder.paths[:2], recorder.paths[2:]
    assert [path.depths[1:] for path in one] == [path.depths[1:] for path in other]
    assert {path.depths[0] for path in one} == {1} and {path.depths[0] for path in other} == {2}


def test_the_seed_draws_the_completions(trained, trained_supernet):
    drawn = []
    for seed in range(6):
        recorder = Recorder(batch_statistics)
        build(trained, trained_supernet, recorder, seed=seed)(Genotype(depths=(1,)))
        drawn.append(tuple(recorder.paths))
    assert len(set(drawn)) > 1


def test_one_score_is_made_of_the_predictions_of_all_batches(trained, trained_supernet):
    """With one batch, a partial genotype is scored as the network that completes it."""
    cfg = trained.clone()
    cfg.SEARCH.IMS_PER_BATCH = toy.SPLITS["archval"]
    calibrate = partial(calibrated, batches=calibration_batches(cfg))
    recorder = Recorder(calibrate)
    evaluator = build(cfg, trained_supernet, recorder)
    found = evaluator(Genotype(depths=(2, 1)))
    assert evaluator(recorder.paths[0]) == pytest.approx(found, nan_ok=True)


def test_the_context_says_which_statistics_a_whole_network_has(trained, trained_supernet):
    """Nothing between the context and the model may put BN back into evaluation."""
    genotype = Genotype(depths=toy.ELIGIBLE[0])
    scores = []
    for context in (batch_statistics, partial(calibrated, batches=[])):
        scores.append(build(trained, trained_supernet, context)(genotype)["bbox/AP"])
    assert scores[0] != scores[1]
