import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators, inference_on_dataset
from detectron2.structures import Boxes, Instances
from image_results import score

from crnas_d2.data import build_fixed_batches, register_coco_format
from crnas_d2.evaluation import (
    EVALUATOR_REGISTRY,
    EvaluatorBuilder,
    FastCOCOEvaluator,
    build_evaluator,
    evaluator_builder,
)
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
        annotations.append(toy.annotation(1000 + image_id, image_id, 1, 10, 10, scale, scale))
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


@pytest.mark.parametrize(("limit", "expected"), [(20, 13), (100, 66), (300, 100), (-1, 100)])
def test_the_limit_of_detections_counts_above_100(limit, expected, tmp_path, registered):
    boxes = [[5 * (n % 15), 6 * (n // 15), 4, 4] for n in range(150)]
    objects = [toy.annotation(n + 1, 1, 1, *box) for n, box in enumerate(boxes)]
    entry = toy.make_dataset(tmp_path, "many", 1, seed=0)
    content = json.loads(Path(entry[1]).read_text())
    Path(entry[1]).write_text(json.dumps({**content, "annotations": objects}))
    register_coco_format([entry])
    DatasetCatalog.get("many")
    found = Instances((toy.SIZE, toy.SIZE))
    found.pred_boxes = Boxes(torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]).float())
    found.scores = torch.linspace(0.9, 0.1, len(boxes))
    found.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    found = found if limit < 0 else found[:limit]  # as the detector cuts them
    cfg = toy.network_config({"TEST.DETECTIONS_PER_IMAGE": limit})
    evaluator = build_evaluator(cfg, "many", in_search=True, image_ids=[1])
    ap = score(evaluator, [({"image_id": 1}, {"instances": found})])["bbox"]["AP"]
    assert ap == pytest.approx(expected, abs=1)
    [again] = evaluator.image_results("bbox/AP").scores(np.ones((1, 1), int))
    assert again == pytest.approx(ap)


def test_ap_does_not_depend_on_earlier_evaluations(hard_dataset):
    evaluator = FastCOCOEvaluator("hard", distributed=False)
    first, second = (list(predict(hard_dataset, seed)) for seed in (0, 1))
    expected = score(evaluator, first)
    score(evaluator, second)
    assert score(evaluator, first) == expected


def nothing_in(content):
    nothing = Instances((toy.SIZE, toy.SIZE))
    nothing.pred_boxes, nothing.pred_masks = Boxes(torch.zeros(0, 4)), torch.zeros(0, 64, 64)
    nothing.scores, nothing.pred_classes = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    nothing.pred_keypoints = torch.zeros(0, 5, 3)
    return [({"image_id": image["id"]}, {"instances": nothing}) for image in content["images"]]


def points_of(annotation, count=5):
    """Key points from one corner of a box to the other, all visible."""
    x, y, width, height = annotation["bbox"]
    steps = [number / (count - 1) for number in range(count)]
    return [v for step in steps for v in (x + step * width, y + step * height, 2)]


@pytest.mark.parametrize("seen", ["all", "some", "crowds", "none"])
@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
def test_without_detections_ap_is_0_where_there_are_objects_and_else_nan(tmp_path, task, seen):
    name, json_file, image_root = toy.make_dataset(tmp_path, f"{task} {seen}", 8, seed=7)
    content = json.loads(Path(json_file).read_text())
    if seen == "some":
        content["annotations"] = [toy.annotation(1, 1, 1, 0, 0, 40, 40)]
    elif seen == "none":
        content["annotations"] = []
    for annotation in content["annotations"]:
        annotation |= {"segmentation": [toy.polygon(annotation["bbox"])]}
        annotation |= {"keypoints": points_of(annotation), "iscrowd": int(seen == "crowds")}
    Path(json_file).write_text(json.dumps(content))
    register_coco_format([[name, json_file, image_root]])
    DatasetCatalog.get(name)
    evaluator = FastCOCOEvaluator(
        name,
        tasks=(task,),
        distributed=False,
        keeps_images=True,
        oks_sigmas=[0.1] * 5,
        max_detections=-1,
    )
    found = score(evaluator, nothing_in(content))[task]
    zero = {"all": {"AP", "AP50", "AP75", "APs", "AP-bright", "AP-dark"}, "some": {"AP", "AP50"}}
    for metric, value in found.items():
        assert value == 0 or math.isnan(value), metric
    assert all(found[metric] == 0 for metric in zero.get(seen, ()) if metric in found)
    assert {math.isnan(found[n]) for n in ("AP", "AP50", "AP75")} == {seen in ("crowds", "none")}
    if seen == "some":
        assert math.isnan(found["AP-dark"]) and found["AP-bright"] == 0
        assert found["APm"] == 0 and math.isnan(found["APl"])
    [ap] = evaluator.image_results(f"{task}/AP").scores(np.ones((1, len(content["images"])), int))
    assert ap == pytest.approx(found["AP"], nan_ok=True)


@pytest.mark.parametrize("sigmas", [[0.1] * 5, [0.01] * 5, [0.1, 0.2, 0.01, 0.01, 0.05], ()])
def test_ap_of_key_points_is_that_of_detectron2(tmp_path, registered, sigmas):
    name, json_file, image_root = toy.make_dataset(tmp_path, "points", 8, seed=7)
    content, random = json.loads(Path(json_file).read_text()), np.random.default_rng(0)
    count = len(sigmas) or 17
    for annotation in content["annotations"]:
        annotation |= {"keypoints": points_of(annotation, count), "num_keypoints": count}
    Path(json_file).write_text(json.dumps(content))
    register_coco_format([[name, json_file, image_root]])
    DatasetCatalog.get(name)
    predictions = []
    for inputs, outputs in predict(content, seed=0):
        found = outputs["instances"]
        boxes = found.pred_boxes.tensor
        points = [points_of({"bbox": [*b[:2], *(b[2:] - b[:2])]}, count) for b in boxes.numpy()]
        noise = random.normal(0, 0.3, (len(found), count, 3))
        found.pred_keypoints = torch.tensor(np.reshape(points, noise.shape) + noise)
        predictions.append((inputs, outputs))
    settings = {"tasks": ("keypoints",), "distributed": False}
    oracle = COCOEvaluator(name, kpt_oks_sigmas=list(sigmas), use_fast_impl=False, **settings)
    expected = score(oracle, copy.deepcopy(predictions))["keypoints"]  # it changes key points
    cfg = toy.network_config({"MODEL.KEYPOINT_ON": True, "TEST.KEYPOINT_OKS_SIGMAS": list(sigmas)})
    results = score(build_evaluator(cfg, name, in_search=True), predictions)
    found = {f"{task}/{metric}" for task, metrics in results.items() for metric in metrics}
    assert found == set(evaluator_builder(cfg, name).metric_names())
    assert results["keypoints"] == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert expected["AP"] > 0


def test_the_metadata_choose_the_evaluator(toy_datasets, tmp_path, registered):
    cfg = toy.network_config(toy_datasets, {"OUTPUT_DIR": str(tmp_path / "output")})
    assert isinstance(build_evaluator(cfg, "toy_test"), FastCOCOEvaluator)
    assert isinstance(build_evaluator(cfg, "toy_test", in_search=True), FastCOCOEvaluator)
    name, json_file, image_root = toy.make_dataset(tmp_path, "strange", 1, seed=0)
    register_coco_format([[name, json_file, image_root]])
    del MetadataCatalog.get("strange").evaluator_type
    with pytest.raises(ValueError, match=r"'strange'.*'none'; known: coco, pascal_voc"):
        build_evaluator(cfg, "strange")


def test_a_plug_in_scores_its_datasets(toy_datasets, monkeypatch):
    monkeypatch.setattr(EVALUATOR_REGISTRY, "_obj_map", dict(EVALUATOR_REGISTRY._obj_map))

    @EVALUATOR_REGISTRY.register("counts")
    class CountsBuilder(EvaluatorBuilder):
        def build(self, image_ids, *, in_search):
            return DatasetEvaluators([image_ids, in_search])

        def metric_names(self):
            return [f"count/{self.dataset_name}"]

    cfg = toy.network_config(toy_datasets)
    monkeypatch.setitem(MetadataCatalog.get("toy_archval").__dict__, "evaluator_type", "counts")
    evaluator = build_evaluator(cfg, "toy_archval", in_search=True, image_ids=[3])
    assert evaluator._evaluators == [[3], True]
    builder = evaluator_builder(cfg, "toy_archval")
    assert builder.metric_names() == ["count/toy_archval"] and not builder.gives_images


@pytest.mark.parametrize("classes", [["one"], ["one", "two"]])
def test_the_metrics_that_are_named_are_those_that_come(
    hard_dataset, toy_datasets, tmp_path, classes
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
    names = evaluator_builder(cfg, "classes").metric_names()
    assert names == [f"bbox/{name}" for name in found]


def test_each_of_several_test_sets_has_a_folder_for_its_predictions(
    toy_datasets, hard_dataset, tmp_path
):
    predictions = list(predict(hard_dataset, 0))
    cfg = toy.network_config(toy_datasets, {"OUTPUT_DIR": str(tmp_path / "output")})
    for test in (("hard",), ("hard", "toy_test")):
        cfg.DATASETS.TEST = test
        score(build_evaluator(cfg, "hard"), predictions)
    files = sorted((tmp_path / "output").rglob("coco_instances_results.json"))
    folders = [str(file.parent.relative_to(tmp_path / "output")) for file in files]
    assert folders == ["inference", "inference/hard"]
    written = json.loads(files[0].read_text())
    assert len(written) == sum(len(output["instances"]) for _, output in predictions)


def test_a_search_leaves_no_predictions_in_the_output_folder(
    toy_datasets, tmp_path, trained, trained_supernet
):
    cfg = trained.clone()
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    evaluator = build_evaluator(cfg, "toy_archval", in_search=True)
    find_supernet(trained_supernet).set_path(Genotype(depths=toy.ELIGIBLE[0]))
    archval = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL)
    inference_on_dataset(trained_supernet, archval, evaluator)
    assert not (tmp_path / "output").exists()
