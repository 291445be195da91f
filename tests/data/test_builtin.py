"""The papers' splits of COCO and VOC, by name."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from crnas_d2.data import check_datasets

PRESETS = {
    "coco_2017_archtrain": "coco2017",
    "coco_2017_archval": "coco2017",
    "voc_0712_archtrain": "voc0712",
    "voc_0712_archval": "voc0712",
    "coco_2014_valminusminival": "nats-coco2014",
    "coco_2014_minival": "nats-coco2014",
}


@pytest.mark.parametrize(("name", "preset"), PRESETS.items())
def test_a_missing_file_is_named_with_the_command_that_makes_it(
    name, preset, tmp_path, monkeypatch
):
    assert name in DatasetCatalog

    def missing():
        raise FileNotFoundError(2, "No such file", str(tmp_path / "x.json"))

    # The file may be there, below the folder that was set when this process started.
    monkeypatch.setitem(DatasetCatalog.data, name, missing)
    with pytest.raises(
        ValueError, match=rf"{name}.*x\.json.*prepare_archval\.py --preset {preset}$"
    ):
        check_datasets("DATASETS.TRAIN", (name,))


def test_the_classes_are_those_of_the_sets_that_the_networks_are_tested_on():
    def classes(name):
        return MetadataCatalog.get(name).thing_classes

    for part in ("archtrain", "archval"):
        assert classes(f"coco_2017_{part}") == classes("coco_2017_val")
        assert classes(f"voc_0712_{part}") == classes("voc_2007_test")
        assert MetadataCatalog.get(f"voc_0712_{part}").evaluator_type == "coco"
    assert MetadataCatalog.get("voc_2007_test").evaluator_type == "pascal_voc"


def test_files_are_looked_for_below_the_folder_of_the_datasets():
    root = MetadataCatalog.get("coco_2017_val").image_root.removesuffix("coco/val2017")
    archval = MetadataCatalog.get("coco_2017_archval")
    assert archval.json_file == f"{root}coco/annotations/instances_archval2017.json"
    assert archval.image_root == f"{root}coco/train2017"
    assert MetadataCatalog.get("voc_0712_archval").image_root == root
