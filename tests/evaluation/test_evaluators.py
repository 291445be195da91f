import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, inference_on_dataset
from detectron2.structures import Boxes, Instances

from crnas_d2.data import build_fixed_batches, register_coco_format
from crnas_d2.engine import batch_statistics, calibrated
from crnas_d2.evaluation import FastCOCOEvaluator, SubnetEvaluator, build_evaluator, metric_names
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype


@pytest.fixture
def hard_dataset(tmp_path, registered):
    """The toy data with crowd regions, an image without objects, and objects of all sizes."""
    name, json_file, image_root = toy.make_dataset(tmp_path, "hard", 8, seed=7)
    content = json.loads(Path(json_file).read_text())
    annotations = [a for a in content["annotations"] if a["image_id"] != 4]
    for annotation in annotations[::5]:
        annotation["iscrowd"] = 1
    for scale, image_id in ((200, 1), (5, 2)):
        box = {"bbox": [10, 10, scale, scale], "area": scale * scale}
        annotations.append(
            {**box, "id": 1000 + image_id, "image_id": image_id, "category_id": 1, "iscrowd": 0}
        )
    content["annotations"] = annotations
    Path(json_file).write_text(json.dumps(content))
    register_coco_format([[name, json_file, image_root]])
    DatasetCatalog.get(name)  # fills in the metadata
    return content


def predict(content, seed):
    """Boxes near the true ones and elsewhere, as a detector gives them, image by image."""
    random = np.random.default_rng(seed)
    for image in content["images"]:
        boxes, classes = [], []
        for annotation in content["annotations"]:
            if annotation["image_id"] != image["id"]:
                continue
            x, y, width, height = annotation["bbox"]
            for _ in range(2):
                jitter = random.normal(0, 0.06 * max(width, height), 4)
                boxes.append(np.array([x, y, x + width, y + height]) + jitter)
                wrong = random.random() < 0.2
                classes.append((annotation["category_id"] - 1 + wrong) % 2)
        for _ in range(3):
            x, y = random.uniform(0, 40, 2)
            boxes.append(np.array([x, y, *(np.array([x, y]) + random.uniform(5, 20, 2))]))
            classes.append(int(random.integers(2)))
        instances = Instances((toy.SIZE, toy.SIZE))
        instances.pred_boxes = Boxes(torch.tensor(np.stack(boxes), dtype=torch.float32))
        instances.pred_classes = torch.tensor(classes)
        instances.scores = torch.tensor(random.uniform(0.05, 1, len(boxes)), dtype=torch.float32)
        yield {"image_id": image["id"]}, {"instances": instances}


def score(evaluator, predictions):
    evaluator.reset()
    for image, output in predictions:
        evaluator.process([image], [output])
    return evaluator.evaluate()


@pytest.mark.parametrize("seed", [0, 1])
def test_ap_is_that_of_pycocotools(hard_dataset, seed):
    predictions = list(predict(hard_dataset, seed))
    oracle = COCOEvaluator("hard", distributed=False, output_dir=None, use_fast_impl=False)
    expected = score(oracle, predictions)["bbox"]
    found = score(FastCOCOEvaluator("hard", distributed=False), predictions)["bbox"]
    assert list(found) == list(expected)
    assert 5 < expected["AP"] < 95 and expected["APs"] != expected["APm"]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


def test_ap_does_not_depend_on_earlier_evaluations(hard_dataset):
    evaluator = FastCOCOEvaluator("hard", distributed=False)
    first, second = (list(predict(hard_dataset, seed)) for seed in (0, 1))
    expected = score(evaluator, first)
    score(evaluator, second)
    assert score(evaluator, first) == expected


@pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")
def test_no_predictions_give_nan_and_not_zero(hard_dataset):
    nothing = Instances((toy.SIZE, toy.SIZE))
    nothing.pred_boxes = Boxes(torch.zeros(0, 4))
    nothing.scores, nothing.pred_classes = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    predictions = [({"image_id": i["id"]}, {"instances": nothing}) for i in hard_dataset["images"]]
    results = score(FastCOCOEvaluator("hard", distributed=False), predictions)
    assert all(math.isnan(value) for value in results["bbox"].values())


def test_predictions_are_written_where_asked(hard_dataset, tmp_path):
    folder = tmp_path / "inference"
    predictions = list(predict(hard_dataset, 0))
    score(FastCOCOEvaluator("hard", distributed=False, output_dir=str(folder)), predictions)
    written = json.loads((folder / "coco_instances_results.json").read_text())
    assert len(written) == sum(len(output["instances"]) for _, output in predictions)


def test_the_metadata_choose_the_evaluator(toy_datasets, tmp_path, registered):
    cfg = toy.network_config(toy_datasets, {"OUTPUT_DIR": str(tmp_path / "output")})
    assert isinstance(build_evaluator(cfg, "toy_test"), FastCOCOEvaluator)
    assert isinstance(build_evaluator(cfg, "toy_test", in_search=True), FastCOCOEvaluator)
    name, json_file, image_root = toy.make_dataset(tmp_path, "strange", 1, seed=0)
    register_coco_format([[name, json_file, image_root]])
    del MetadataCatalog.get("strange").evaluator_type
    with pytest.raises(ValueError, match=r"'strange'.*'none'; known: coco, pascal_voc"):
        build_evaluator(cfg, "strange")


@pytest.mark.parametrize("classes", [["one"], ["one", "two"]])
def test_the_metrics_that_are_named_are_those_that_come(
    hard_dataset, toy_datasets, registered, tmp_path, classes
):
    for annotation in hard_dataset["annotations"]:
        annotation["category_id"] = min(annotation["category_id"], len(classes))
    hard_dataset["categories"] = [{"id": i, "name": name} for i, name in enumerate(classes, 1)]
    json_file = tmp_path / "classes.json"
    json_file.write_text(json.dumps(hard_dataset))
    register_coco_format([["classes", str(json_file), str(tmp_path / "hard")]])
    DatasetCatalog.get("classes")
    predictions = list(predict(hard_dataset, 0))
    for _, output in predictions:
        output["instances"].pred_classes.clamp_(max=len(classes) - 1)
    cfg = toy.network_config(toy_datasets)
    found = score(build_evaluator(cfg, "classes", in_search=True), predictions)["bbox"]
    assert metric_names(cfg, "classes") == [f"bbox/{name}" for name in found]


def test_each_of_several_test_sets_has_a_folder_for_its_predictions(
    toy_datasets, hard_dataset, tmp_path
):
    predictions = list(predict(hard_dataset, 0))
    cfg = toy.network_config(toy_datasets, {"OUTPUT_DIR": str(tmp_path / "output")})
    for test in (("hard",), ("hard", "toy_test")):
        cfg.DATASETS.TEST = test
        score(build_evaluator(cfg, "hard"), predictions)
    files = (tmp_path / "output").rglob("coco_instances_results.json")
    folders = sorted(str(file.parent.relative_to(tmp_path / "output")) for file in files)
    assert folders == ["inference", "inference/hard"]


def test_a_search_leaves_no_predictions_in_the_output_folder(
    toy_datasets, tmp_path, trained, trained_supernet
):
    cfg = trained.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    evaluator = build_evaluator(cfg, "toy_archval", in_search=True)
    find_supernet(trained_supernet).set_path(Genotype(depths=toy.ELIGIBLE[0]))
    inference_on_dataset(
        trained_supernet, build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL), evaluator
    )
    assert not (tmp_path / "output").exists()


def calibration_batches(cfg):
    return build_fixed_batches(cfg, cfg.DATASETS.TRAIN, num_images=8, with_annotations=True)


@pytest.fixture
def subnet_evaluator(trained, trained_supernet):
    return SubnetEvaluator(
        trained_supernet,
        build_fixed_batches(trained, trained.DATASETS.ARCHVAL),
        build_evaluator(trained, "toy_archval", in_search=True),
        partial(calibrated, batches=calibration_batches(trained)),
        batch_statistics,
    )


def test_the_fitness_is_that_of_the_calibrated_subnet_in_full_precision(
    trained, trained_supernet, subnet_evaluator
):
    genotype = Genotype(depths=toy.ELIGIBLE[2])
    found = subnet_evaluator(genotype)

    oracle = COCOEvaluator("toy_archval", distributed=False, output_dir=None, use_fast_impl=False)
    find_supernet(trained_supernet).set_path(genotype)
    archval = build_fixed_batches(trained, trained.DATASETS.ARCHVAL)
    with calibrated(trained_supernet, calibration_batches(trained)):
        expected = inference_on_dataset(trained_supernet, archval, oracle)["bbox"]
    assert set(found) == {f"bbox/{name}" for name in expected}
    assert {"bbox/AP", "bbox/AP50", "bbox/AP75", "bbox/APs"} <= set(found)
    assert expected["AP"] > 0
    for name, value in expected.items():
        assert found[f"bbox/{name}"] == pytest.approx(value, abs=1e-6, nan_ok=True)
    assert found["bbox/AP"] != round(found["bbox/AP"], 3)


def test_scores_do_not_depend_on_what_was_scored_before(trained_supernet, subnet_evaluator):
    weights = {name: value.clone() for name, value in trained_supernet.state_dict().items()}
    genotypes = [Genotype(depths=depths) for depths in toy.ELIGIBLE[:3]]
    first = [subnet_evaluator(genotype) for genotype in genotypes]
    again = [subnet_evaluator(genotype) for genotype in reversed(genotypes)][::-1]
    np.testing.assert_equal(again, first)  # nan equals nan
    assert len({metrics["bbox/AP"] for metrics in first}) == 3
    for name, value in trained_supernet.state_dict().items():
        assert torch.equal(value, weights[name]), name


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
    with pytest.raises(ValueError, match=r"9 is no option of res2\.depth"):
        subnet_evaluator(Genotype(depths=(9, 1, 2, 2)))


class Recorder:
    """A context that says on which path the supernet was when it was entered."""

    def __init__(self, context):
        self.context = context
        self.paths = []

    def __call__(self, model):
        self.paths.append(find_supernet(model).path)
        return self.context(model)


def partial_evaluator(cfg, model, context, seed=0):
    return SubnetEvaluator(
        model,
        build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL),
        build_evaluator(cfg, "toy_archval", in_search=True),
        context,
        context,
        seed=seed,
    )


@pytest.mark.parametrize("statistics", ["batch", "calibration"])
def test_a_partial_genotype_runs_as_another_network_in_each_batch(
    trained, trained_supernet, statistics
):
    calibrate = partial(calibrated, batches=calibration_batches(trained))
    recorder = Recorder(batch_statistics if statistics == "batch" else calibrate)
    evaluator = partial_evaluator(trained, trained_supernet, recorder)
    before = {name: value.clone() for name, value in trained_supernet.state_dict().items()}

    metrics = evaluator(Genotype(depths=(2, 1)))
    num_batches = toy.SPLITS["archval"] // trained.SEARCH.IMS_PER_BATCH
    assert len(recorder.paths) == num_batches
    assert all(path.depths[:2] == (2, 1) for path in recorder.paths)
    assert math.isfinite(metrics["bbox/AP"])
    for name, value in trained_supernet.state_dict().items():
        assert torch.equal(value, before[name]), name

    paths = list(recorder.paths)
    assert evaluator(Genotype(depths=(2, 1))) == pytest.approx(metrics, nan_ok=True)
    assert recorder.paths[num_batches:] == paths  # the same completions again


def test_partial_genotypes_of_one_level_see_the_same_completions(trained, trained_supernet):
    recorder = Recorder(batch_statistics)
    evaluator = partial_evaluator(trained, trained_supernet, recorder)
    for depth in (1, 2):
        evaluator(Genotype(depths=(depth,)))
    one, other = recorder.paths[:2], recorder.paths[2:]
    assert [path.depths[1:] for path in one] == [path.depths[1:] for path in other]
    assert {path.depths[0] for path in one} == {1} and {path.depths[0] for path in other} == {2}


def test_the_seed_draws_the_completions(trained, trained_supernet):
    drawn = []
    for seed in range(6):
        recorder = Recorder(batch_statistics)
        partial_evaluator(trained, trained_supernet, recorder, seed)(Genotype(depths=(1,)))
        drawn.append(tuple(recorder.paths))
    assert len(set(drawn)) > 1


def test_one_score_is_made_of_the_predictions_of_all_batches(trained, trained_supernet):
    """With one batch, a partial genotype is scored as the network that completes it."""
    cfg = trained.clone()
    cfg.SEARCH.IMS_PER_BATCH = toy.SPLITS["archval"]
    calibrate = partial(calibrated, batches=calibration_batches(cfg))
    recorder = Recorder(calibrate)
    evaluator = partial_evaluator(cfg, trained_supernet, recorder)
    found = evaluator(Genotype(depths=(2, 1)))
    assert evaluator(recorder.paths[0]) == pytest.approx(found, nan_ok=True)


def test_the_context_says_which_statistics_a_whole_network_has(trained, trained_supernet):
    """Nothing between the context and the model may put BN back into evaluation."""
    genotype = Genotype(depths=toy.ELIGIBLE[0])
    scores = []
    for context in (batch_statistics, partial(calibrated, batches=[])):
        scores.append(partial_evaluator(trained, trained_supernet, context)(genotype)["bbox/AP"])
    assert scores[0] != scores[1]
