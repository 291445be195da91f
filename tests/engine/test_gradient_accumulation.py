import json

import pytest
import search_toy
import torch
import toy
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng

from crnas_d2.data import register_image_folders
from crnas_d2.engine import Trainer
from crnas_d2.modeling import find_supernet

WITHOUT_BN = {"MODEL.RESNETS.NORM": "LN", "SOLVER.IMS_PER_BATCH": 4, "SOLVER.MAX_ITER": 3}
CHANNEL = {
    **{key: value for key, value in search_toy.CHANNEL.items() if key != "INPUT.RANDOM_FLIP"},
    "MODEL.SUPERNET.STAGE_OPTIONS": [],
    "SOLVER.ALPHA.START": 0.0,
    "SOLVER.BASE_LR": 0.002,
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.CLASSIFIER.ZERO_INIT_RESIDUAL": False,
    "DATASETS.ARCHVAL": ("toy_folder",),
}


class Passes(HookBase):
    """Records the images and the path of each forward pass, by step."""

    def before_train(self):
        self.steps = []
        self.handle = self.trainer.model.register_forward_pre_hook(self.record)

    def before_step(self):
        self.steps.append([])

    def record(self, model, inputs):
        self.steps[-1].append((len(inputs[0]), getattr(find_supernet(model), "path", None)))


def train(cfg, folder, parts, *hooks):
    cfg = cfg.clone()
    cfg.SOLVER.GRADIENT_ACCUMULATION, cfg.OUTPUT_DIR = parts, str(folder / str(parts))
    seed_all_rng(0)
    trainer = Trainer(cfg)
    trainer.register_hooks(list(hooks))
    trainer.train()
    return trainer


@pytest.fixture
def images(tmp_path, registered):
    toy.make_image_folder(tmp_path / "images", 4, seed=0)
    register_image_folders([["toy_folder", str(tmp_path / "images")]])
    return {"DATASETS.TRAIN": ("toy_folder",), "DATASETS.TEST": ()}


@pytest.mark.parametrize("kind", ["single path", "mixed"])
def test_without_bn_a_step_is_that_of_the_whole_batch(kind, images, tmp_path):
    settings = CHANNEL if kind == "mixed" else {}
    cfg = toy.classifier_config(images, WITHOUT_BN, settings)
    whole, split = (train(cfg, tmp_path, parts).model.state_dict() for parts in (1, 2))
    seed_all_rng(0)
    start = Trainer(cfg).model.state_dict()
    trained = set()
    for name, expected in whole.items():
        torch.testing.assert_close(split[name], expected, rtol=1e-4, atol=1e-6)
        if not torch.equal(expected, start[name]):
            trained.add(name.rpartition(".")[2])
    assert trained >= ({"weight", "alpha"} if kind == "mixed" else {"weight", "bias"})
    # Logged is the mean of the micro-batches, which is the loss of the batch.
    losses = [
        json.loads((tmp_path / parts / "metrics.json").read_text().splitlines()[-1])["total_loss"]
        for parts in "12"
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_all_micro_batches_of_a_step_run_one_path(toy_datasets, tmp_path):
    settings = {"SOLVER.IMS_PER_BATCH": 6, "SOLVER.MAX_ITER": 4}
    passes = Passes()
    train(toy.supernet_config(toy_datasets, settings), tmp_path, 3, passes)
    assert [[size for size, _ in step] for step in passes.steps] == [[2, 2, 2]] * 4
    paths = [{path for _, path in step} for step in passes.steps]
    assert all(len(step) == 1 for step in paths) and len(set.union(*paths)) > 1


def test_images_that_cannot_be_split_are_refused(toy_datasets, tmp_path, monkeypatch):
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    cfg = toy.supernet_config(toy_datasets, {"SOLVER.IMS_PER_BATCH": 6})
    words = r"IMS_PER_BATCH is 6; expected a multiple of 4, because 2 processes split .* 2 micro"
    with pytest.raises(ValueError, match=words):
        train(cfg, tmp_path, 2)
