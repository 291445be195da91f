"""Images of archval that training or test has, too: left out wherever archval is read."""

import csv
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.pascal_voc import register_pascal_voc
from detectron2.structures import Boxes, Instances
from voc_toy import write_voc

from crnas_d2.config import load_config
from crnas_d2.data import (
    archval_twins,
    build_fixed_batches,
    build_resumable_loader,
    build_test_loader,
    check_data,
    fixed_images,
    register_coco_format,
    register_image_folders,
)
from crnas_d2.engine.log import save_twins
from crnas_d2.engine.subnets import image_files
from crnas_d2.evaluation import build_evaluator

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def detection(tmp_path):
    """A config whose archval has ten images, the third of which is also in archtrain."""
    entries = [
        toy.make_dataset(tmp_path, f"twin_{part}", number, seed)
        for seed, (part, number) in enumerate({"train": 4, "archval": 10, "test": 3}.items(), 20)
    ]
    shutil.copyfile(tmp_path / "twin_archval/002.png", tmp_path / "twin_train/001.png")
    register_coco_format(entries)
    return toy.supernet_config(
        {
            "DATASETS.COCO_FORMAT": entries,
            "DATASETS.TRAIN": ("twin_train",),
            "DATASETS.ARCHVAL": ("twin_archval",),
            "DATASETS.TEST": ("twin_test",),
            "SEARCH.IMS_PER_BATCH": 3,
            "OUTPUT_DIR": str(tmp_path),
        }
    )


@pytest.fixture
def classification(tmp_path):
    """ClsNASNet's search on small folders in place of ImageNet; the second val image is a twin."""
    entries = []
    for seed, (part, per_class) in enumerate({"train": 4, "val": 3}.items()):
        toy.make_image_folder(tmp_path / part, per_class, seed)
        entries.append([f"small_{part}", str(tmp_path / part)])
    shutil.copyfile(tmp_path / "val/blue/1.png", tmp_path / "train/green/3.png")
    register_image_folders(entries)
    return load_config(
        str(toy.ROOT / "projects/DetNAS/configs/search/ClsNASNet.yaml"),
        toy.as_list(
            {
                "DATASETS.IMAGE_FOLDERS": entries,
                "DATASETS.TRAIN": ("small_train",),
                "DATASETS.ARCHVAL": ("small_val",),
                "MODEL.CLASSIFIER.NUM_CLASSES": 3,
                "DATALOADER.NUM_WORKERS": 0,
                "OUTPUT_DIR": str(tmp_path),
            }
        ),
    )


def name(image):
    return "/".join(Path(image["file_name"]).parts[-2:])


def names(batches):
    return [name(image) for batch in batches for image in batch]


def test_a_twin_is_counted_in_the_log_and_left_out_of_what_candidates_see(detection, caplog):
    cfg = detection
    with caplog.at_level(logging.WARNING):
        check_data(cfg, ["TRAIN", "ARCHVAL", "TEST"])
    assert "1 of 10 images of DATASETS.ARCHVAL ['twin_archval'] are also in DAT" in caplog.text
    seen = names(build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL))
    assert len(seen) == 9 and "twin_archval/002.png" not in seen
    assert len(image_files(cfg)["archval"]) == 9
    assert len(fixed_images(cfg, cfg.DATASETS.TRAIN)) == 4


def test_alpha_is_not_trained_on_a_twin(detection):
    loader = build_resumable_loader(detection, detection.DATASETS.ARCHVAL, seed=0)
    assert sorted({image["image_id"] for image in loader.dataset.images}) == [
        *(1, 2, 4, 5, 6, 7, 8, 9, 10),
    ]


def perfect(content, kept):
    """Inputs and outputs of a detector that finds every object of some images."""
    for image in content["images"]:
        if image["id"] not in kept:
            continue
        objects = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        boxes = torch.tensor([a["bbox"] for a in objects], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        found = Instances((toy.SIZE, toy.SIZE))
        found.pred_boxes, found.scores = Boxes(boxes), torch.ones(len(objects))
        found.pred_classes = torch.tensor([a["category_id"] - 1 for a in objects])
        yield [{"image_id": image["id"]}], [{"instances": found}]


def test_the_objects_of_a_twin_do_not_count_as_missed(detection, tmp_path):
    content = json.loads((tmp_path / "twin_archval.json").read_text())
    DatasetCatalog.get("twin_archval")  # fills in the metadata

    def score(cfg):
        evaluator = build_evaluator(cfg, "twin_archval", in_search=True)
        evaluator.reset()
        for inputs, outputs in perfect(content, {*range(1, 11)} - {3}):
            evaluator.process(inputs, outputs)
        return evaluator, evaluator.evaluate()["bbox"]["AP"]

    evaluator, ap = score(detection)
    assert ap == pytest.approx(100)
    assert evaluator.image_results("bbox/AP").num_images == 9
    detection.DATASETS.TRAIN = ()  # without the twin, all ten images count
    assert score(detection)[1] < 99


def test_finalists_are_tested_without_the_twin(detection):
    cfg = detection
    cfg.DATASETS.TEST = cfg.DATASETS.ARCHVAL
    assert len(names(build_test_loader(cfg, "twin_archval"))) == 9
    cfg.DATASETS.TRAIN = ()
    assert len(names(build_test_loader(cfg, "twin_archval"))) == 10


def test_a_twin_of_the_test_set_is_left_out_too_and_all_are_listed(detection, tmp_path):
    shutil.copyfile(tmp_path / "twin_archval/005.png", tmp_path / "twin_test/000.png")
    [line] = save_twins(detection)
    assert "2 of 10 images" in line and "DATASETS.TEST" in line
    with (tmp_path / "archval_twins.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    root = str(tmp_path)
    assert [(r["image"], r["same_as"], r["in"]) for r in rows] == [
        (
            f"{root}/twin_archval/002.png",
            f"{root}/twin_train/001.png",
            "DATASETS.TRAIN (archtrain)",
        ),
        (f"{root}/twin_archval/005.png", f"{root}/twin_test/000.png", "DATASETS.TEST"),
    ]


def test_nothing_is_listed_where_all_images_differ(detection, tmp_path):
    detection.DATASETS.TRAIN = ()
    assert save_twins(detection) == [] and not (tmp_path / "archval_twins.csv").exists()


def test_more_than_a_few_are_a_mistake(detection, tmp_path):
    shutil.copyfile(tmp_path / "twin_archval/007.png", tmp_path / "twin_train/003.png")
    with pytest.raises(ValueError, match=r"share 2 images, e\.g\. .*20% .*prepare_archval"):
        check_data(detection, ["TRAIN", "ARCHVAL", "TEST"])


def test_clsnasnet_is_searched_without_the_images_of_val_that_train_has(classification, caplog):
    cfg = classification
    with caplog.at_level(logging.WARNING):
        check_data(cfg, ["TRAIN", "ARCHVAL", "TEST"])
    assert "1 of 9 images of DATASETS.ARCHVAL ['small_val']" in caplog.text
    [twin] = archval_twins(cfg)
    assert twin.endswith("val/blue/1.png")
    batches = build_fixed_batches(cfg, cfg.DATASETS.ARCHVAL)
    assert len(names(batches)) == 8 and "blue/1.png" not in names(batches)
    evaluator = build_evaluator(cfg, "small_val", in_search=True)
    for batch in batches:
        scores = [torch.eye(3)[image["label"]] for image in batch]
        evaluator.process(batch, [{"scores": each} for each in scores])
    assert evaluator.evaluate()["classification"]["top1"] == 100
    assert evaluator.image_results("classification/top1").num_images == 8


def test_of_voc_only_the_objects_of_the_kept_images_count(tmp_path):
    box = ("cat", 0, 10, 10, 30, 30)
    images = {f"{number:06d}": [box] for number in range(10)}
    sets = {"trainval": list(images)[:2], "test": list(images)[2:]}
    folder = write_voc(tmp_path / "VOC2007", images, sets)
    # The same pixels as an image of the other set, whose name is in another set.
    shutil.copyfile(folder / "JPEGImages/000000.jpg", folder / "JPEGImages/000004.jpg")
    for file in (folder / "Annotations").iterdir():
        also_read = "<pose></pose><truncated>0</truncated><difficult>"
        file.write_text(file.read_text().replace("<difficult>", also_read))
    for split in sets:
        register_pascal_voc(f"small_voc_{split}", str(folder), split, 2007)
        MetadataCatalog.get(f"small_voc_{split}").evaluator_type = "pascal_voc"
    cfg = toy.supernet_config(
        {"DATASETS.TRAIN": ("small_voc_trainval",), "DATASETS.ARCHVAL": ("small_voc_test",)},
        {"DATASETS.TEST": ()},
    )
    kept = [image["image_id"] for image in fixed_images(cfg, cfg.DATASETS.ARCHVAL)]
    assert len(kept) == 7 and "000004" not in kept

    def score(cfg):
        evaluator = build_evaluator(cfg, "small_voc_test", in_search=True)
        evaluator.reset()
        for image_id in kept:
            found = Instances((40, 60))
            found.pred_boxes = Boxes(torch.tensor([[9.0, 9.0, 29.0, 29.0]]))
            found.scores, found.pred_classes = torch.ones(1), torch.tensor([7])
            evaluator.process([{"image_id": image_id}], [{"instances": found}])
        return evaluator.evaluate()["bbox"]["AP50"]

    ap = score(cfg)
    cfg.DATASETS.TRAIN = ()
    assert score(cfg) < ap
