"""The user's datasets, by name."""

import pytest
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog

from crnas_d2.data import register_coco_format, register_image_folders

pytestmark = pytest.mark.usefixtures("registered")
REGISTER = {"COCO_FORMAT": register_coco_format, "IMAGE_FOLDERS": register_image_folders}


@pytest.fixture
def entries(tmp_path):
    """An entry of each key, registered twice, which changes nothing."""
    toy.make_image_folder(tmp_path / "labels", 2, seed=1)
    found = {
        "COCO_FORMAT": toy.make_dataset(tmp_path, "boxes", 4, seed=5),
        "IMAGE_FOLDERS": ["labels", str(tmp_path / "labels")],
    }
    for key, entry in found.items():
        REGISTER[key]([entry])
        REGISTER[key]([entry, entry])
    return found


def test_a_dataset_is_registered_under_its_name(entries):
    assert (len(DatasetCatalog.get("boxes")), len(DatasetCatalog.get("labels"))) == (4, 6)
    assert MetadataCatalog.get("boxes").thing_classes == list(toy.CLASSES)
    assert MetadataCatalog.get("boxes").evaluator_type == "coco"
    assert MetadataCatalog.get("labels").evaluator_type == "classification"


COCO, FOLDERS = r"expected \[name, json file, image folder\]", r"expected \[name, folder\]"
TAKEN = "but another dataset has this name"
# The change of an entry, and words of the message.
MALFORMED = [
    ("COCO_FORMAT", lambda entry: entry[:2], COCO),
    ("COCO_FORMAT", lambda entry: [*entry, "more"], COCO),
    ("COCO_FORMAT", lambda e: [e[0], "no/such.json", e[2]], r"'boxes', but no/such\.json does not"),
    ("COCO_FORMAT", lambda e: [*e[:2], "no/images"], "'boxes', but no/images does not exist"),
    ("COCO_FORMAT", lambda entry: ["letters_test", *entry[1:]], f"'letters_test', {TAKEN}"),
    ("COCO_FORMAT", lambda entry: ["boxes", __file__, entry[2]], f"'boxes', {TAKEN}"),
    ("COCO_FORMAT", lambda entry: ["labels", *entry[1:]], f"'labels', {TAKEN}"),
    ("COCO_FORMAT", lambda entry: [*entry[:2], "."], f"'boxes', {TAKEN}"),
    ("IMAGE_FOLDERS", lambda entry: entry[:1], FOLDERS),
    ("IMAGE_FOLDERS", lambda entry: ["labels", "no/such"], "'labels', but no/such does not exist"),
    ("IMAGE_FOLDERS", lambda entry: ["letters_test", "."], f"'letters_test', {TAKEN}"),
    ("IMAGE_FOLDERS", lambda entry: ["labels", "."], f"'labels', {TAKEN}"),
]


@pytest.mark.parametrize(("key", "malform", "words"), MALFORMED)
def test_a_malformed_entry_is_refused(entries, key, malform, words):
    with pytest.raises(ValueError, match=rf"DATASETS\.{key} .*{words}"):
        REGISTER[key]([malform(entries[key])])
