"""Files of proposals are data: one that asks for anything else is refused, and never unpickled."""

import io
import pickle
from collections import Counter

import numpy as np
import pytest
import toy
from detectron2.structures import BoxMode

from crnas_d2.data import build_test_loader, build_train_loader, register_coco_format
from crnas_d2.data.datasets.proposals import check_proposals

pytestmark = pytest.mark.usefixtures("registered")
BOXES = [np.array([[1.0, 2.0, 30.0, 40.0]])] * 12
GOOD = {"ids": list(range(1, 13)), "boxes": BOXES, "objectness_logits": [np.array([0.5])] * 12}


class Asking:
    """Pickles itself as a call of a function, which a test may notice but does no harm."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def config(toy_datasets, tmp_path):
    register_coco_format(toy_datasets["DATASETS.COCO_FORMAT"])

    def config(content):
        file = tmp_path / "proposals.pkl"
        file.write_bytes(content)
        test = {"DATASETS.TEST": ("toy_archtrain",), "MODEL.LOAD_PROPOSALS": True}
        files = {f"DATASETS.PROPOSAL_FILES_{key}": (str(file),) for key in ("TRAIN", "TEST")}
        return toy.network_config(toy_datasets, test, files)

    return config


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        {**GOOD, "bbox_mode": BoxMode.XYXY_ABS},
        {"indexes": GOOD["ids"], "boxes": BOXES, "scores": GOOD["objectness_logits"]},
    ],
)
def test_proposals_are_read(config, content, protocol):
    cfg = config(pickle.dumps(content, protocol))
    for loader in (build_train_loader(cfg), build_test_loader(cfg, "toy_archtrain")):
        assert next(iter(loader))[0]["proposals"].proposal_boxes.tensor.shape == (1, 4)


WRONG = [
    (pickle.dumps(Asking(Counter)), "asks for collections.Counter, which could run code"),
    (pickle.dumps({**GOOD, "more": Asking(io.StringIO, "x")}), "asks for _io.StringIO"),
    (pickle.dumps({**GOOD, "ids": Asking(getattr, 1, "real")}), "asks for builtins.getattr"),
    (pickle.dumps(GOOD)[:-20], "is damaged"),
    (b"", "is damaged"),
    (pickle.dumps([1]), "holds no proposals; expected a pickled dict of arrays: ids"),
    (pickle.dumps({"ids": [1], "boxes": BOXES}), "holds no proposals"),
]


@pytest.mark.parametrize(("content", "words"), WRONG)
def test_what_asks_for_more_is_refused_wherever_it_would_be_read(config, content, words):
    cfg = config(content)
    for read in (
        lambda: check_proposals(cfg, "TRAIN"),
        lambda: build_train_loader(cfg),
        lambda: build_test_loader(cfg, "toy_archtrain"),
    ):
        with pytest.raises(ValueError, match=words):
            read()
