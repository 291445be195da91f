"""Classes of a checkpoint and of the data are compared by name, in whatever order they are."""

import json
import logging
from pathlib import Path

import pytest
import toy
from detectron2.data import DatasetCatalog
from test_training_job import TEST, config, start

from crnas_d2.data import register_coco_format
from crnas_d2.data.datasets.class_names import dataset_classes, match_classes
from crnas_d2.engine.scores import build_score
from crnas_d2.engine.subnets import load_supernet, save_subnet
from crnas_d2.runs.results import plain
from crnas_d2.space import Genotype

GENOTYPE = Genotype(depths=(1, 2, 2, 3))


def changed(entry, folder, name, categories):
    """Writes a dataset anew: ``categories`` are ``(old id, new id, new name)`` each."""
    content = json.loads(Path(entry[1]).read_text())
    content["categories"] = [{"id": new, "name": name} for _, new, name in categories]
    ids = {old: new for old, new, _ in categories}
    for annotation in content["annotations"]:
        annotation["category_id"] = ids[annotation["category_id"]]
    file = Path(folder) / f"{name}.json"
    file.write_text(json.dumps(content))
    return [name, str(file), entry[2]]


EXCHANGED = [(1, 2, "bright"), (2, 1, "dark")]
SPARSE = [(1, 90, "bright"), (2, 7, "dark")]
OTHER = [(1, 1, "light"), (2, 2, "dark")]


@pytest.fixture
def entries(toy_datasets):
    return {entry[0]: entry for entry in toy_datasets["DATASETS.COCO_FORMAT"]}


@pytest.fixture(scope="module")
def weights(trained, tmp_path_factory):
    """A network that detects something."""
    file = tmp_path_factory.mktemp("weights") / "network.pth"
    save_subnet(trained, load_supernet(trained), GENOTYPE, file)
    return str(file)


@pytest.mark.parametrize("categories", [EXCHANGED, SPARSE])
def test_an_evaluation_takes_the_order_of_the_weights(
    categories, weights, entries, toy_datasets, tmp_path, registered
):
    settings = {"MODEL.WEIGHTS": weights, "MODEL.GENOTYPE.DEPTHS": list(GENOTYPE.depths)}
    expected = start(config(toy_datasets, tmp_path / "a", settings, TEST), eval_only=True)["bbox"]
    assert expected["AP"] > 0.1 and expected["AP-bright"] != expected["AP-dark"]
    entry = changed(entries["toy_test"], tmp_path, "exchanged", categories)
    data = {"DATASETS.COCO_FORMAT": [entry], "DATASETS.TEST": ("exchanged",)}
    cfg = config(toy_datasets, tmp_path / "b", settings, data)
    assert start(cfg, eval_only=True)["bbox"] == pytest.approx(expected, nan_ok=True)
    # The file of detections has the ids of the test set.
    file = Path(cfg.OUTPUT_DIR, "inference", "coco_instances_results.json")
    found = {each["category_id"] for each in json.loads(file.read_text())}
    assert found == {new for _, new, _ in categories}


def test_a_search_takes_the_order_of_the_weights(
    trained, entries, toy_datasets, tmp_path, registered
):
    expected = build_score(trained)(GENOTYPE)
    cfg = trained.clone()
    cfg.DATASETS.COCO_FORMAT = [
        changed(entries[f"toy_{name}"], tmp_path, f"other_{name}", EXCHANGED)
        for name in ("archtrain", "archval")
    ]
    cfg.DATASETS.TRAIN, cfg.DATASETS.ARCHVAL = ("other_archtrain",), ("other_archval",)
    register_coco_format(cfg.DATASETS.COCO_FORMAT)
    found = build_score(cfg)(plain(GENOTYPE))
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("how", ["evaluation", "resume", "search"])
def test_other_classes_are_refused(
    how, weights, trained, entries, toy_datasets, tmp_path, registered
):
    entry = changed(entries["toy_test"], tmp_path, "others", OTHER)
    words = r"trained on the classes \['bright', 'dark'\], but 'others' has \['light', 'dark'\]"
    data = {"DATASETS.COCO_FORMAT": [entry]}
    with pytest.raises(ValueError, match=words):
        if how == "evaluation":
            settings = {"MODEL.WEIGHTS": weights, "MODEL.GENOTYPE.DEPTHS": list(GENOTYPE.depths)}
            cfg = config(toy_datasets, tmp_path / "b", settings, data)
            cfg.DATASETS.TEST = ("others",)
            start(cfg, eval_only=True)
        elif how == "resume":
            cfg = config(toy_datasets, tmp_path / "run")
            start(cfg)
            cfg.DATASETS.COCO_FORMAT, cfg.DATASETS.TRAIN = [entry], ("others",)
            cfg.SOLVER.MAX_ITER = 3
            start(cfg, resume=True)
        else:
            cfg = trained.clone()
            cfg.DATASETS.COCO_FORMAT, cfg.DATASETS.ARCHVAL = [entry], ("others",)
            build_score(cfg)


def test_the_objects_of_a_dataset_in_order_are_the_same(entries, tmp_path, registered):
    entry = changed(entries["toy_archtrain"], tmp_path, "toy_archtrain2", EXCHANGED)
    register_coco_format([entry])
    labels = [
        [each["category_id"] for image in DatasetCatalog.get(name) for each in image["annotations"]]
        for name in ("toy_archtrain", "toy_archtrain2")
    ]
    assert labels[0] != labels[1]
    match_classes(["toy_archtrain2"], {"names": list(toy.CLASSES), "ids": [1, 2]}, "a file")
    again = DatasetCatalog.get("toy_archtrain2")
    assert [each["category_id"] for i in again for each in i["annotations"]] == labels[0]
    assert dataset_classes("toy_archtrain2").ids == (2, 1)


def test_folders_of_images_too(tmp_path, registered, caplog):
    from crnas_d2.data import register_image_folders

    toy.make_image_folder(tmp_path / "data", 1, seed=0)
    register_image_folders([["toy_folder", str(tmp_path / "data")]])
    record = {"names": ["red", "blue", "green"], "ids": [1, 2, 3]}
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        match_classes(["toy_folder"], record, "a file")  # not loaded yet
        assert [image["label"] for image in DatasetCatalog.get("toy_folder")] == [1, 2, 0]
        assert [image["label"] for image in DatasetCatalog.get("toy_folder")] == [1, 2, 0]
    assert caplog.text.count("gets the order of classes of a file") == 1
    # A training may start from a network of other classes.
    match_classes(
        ["toy_folder"], {"names": ["a", "b", "c"], "ids": [1, 2, 3]}, "b", needs_all=False
    )
    assert [image["label"] for image in DatasetCatalog.get("toy_folder")] == [1, 2, 0]
