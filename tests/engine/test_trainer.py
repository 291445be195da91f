import copy
import json
import math

import pytest
import torch
import toy
from detectron2.engine import HookBase, launch
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from search_toy import Killed, train

from crnas_d2.data import register_coco_format
from crnas_d2.engine import PathSampling, Trainer, trainer
from crnas_d2.evaluation import build_evaluator
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype

PATHS = [(1, 2, 3, 2), (2, 1, 2, 2), (2, 2, 3, 2), (1, 2, 2, 2), (1, 1, 3, 2)]
NEVER = ("res5", 3)  # the depth that none of PATHS takes


class Paths(HookBase):
    """Records the path of every step; may stop the training after one, as a kill would."""

    def __init__(self, killed_after=None):
        self.seen = []
        self.killed_after = killed_after

    def after_step(self):
        self.seen.append(find_supernet(self.trainer.model).path)
        if self.trainer.iter == self.killed_after:
            raise Killed


class Snapshots(HookBase):
    """Compares the whole training state before and after each step, by name."""

    def __init__(self, sharing):
        self.sharing = sharing
        self.steps = []

    def before_step(self):
        self.before = self.state()

    def after_step(self):
        depths = find_supernet(self.trainer.model).path.depths
        after = self.state()
        same = {
            name: name in self.before and torch.equal(self.before[name], value)
            for name, value in after.items()
        }
        on_path = {name: is_on_path(name, depths, self.sharing) for name in after}
        self.steps.append((same, on_path))

    def state(self):
        model, optimizer = self.trainer._trainer.model, self.trainer._trainer.optimizer
        if hasattr(model, "module"):
            model = model.module
        state = {name: value.clone() for name, value in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                state[f"{name}/momentum"] = buffer.clone()
        return state


def is_on_path(name, depths, sharing):
    for stage, depth in zip(("res2", "res3", "res4", "res5"), depths, strict=True):
        _, found, tail = name.partition(f"{stage}.0.")
        if found:
            kind, index = tail.split(".")[:2]
            if sharing == "none":
                assert kind == "branches"
                return int(index) == depth
            assert kind == "blocks"
            return int(index) < depth
    return True


def sampling_hook(trainer):
    return next(hook for hook in trainer._hooks if isinstance(hook, PathSampling))


@pytest.mark.parametrize("sharing", ["none", "prefix"])
def test_nothing_off_the_path_changes(sharing, toy_datasets, tmp_path):
    cfg = toy.supernet_config(
        toy_datasets,
        {
            "MODEL.SUPERNET.SHARING": sharing,
            "SOLVER.MOMENTUM": 0.9,
            "SOLVER.WEIGHT_DECAY": 0.01,
            "SOLVER.MAX_ITER": len(PATHS),
            "OUTPUT_DIR": str(tmp_path),
        },
    )
    trainer = Trainer(cfg)
    sampling_hook(trainer).path_sampler = lambda iteration: Genotype(depths=PATHS[iteration])
    start = copy.deepcopy(trainer.model.state_dict())
    snapshots = Snapshots(sharing)
    trainer.register_hooks([snapshots])
    trainer.train()

    assert len(snapshots.steps) == len(PATHS)
    off_path_momentum = 0
    for same, on_path in snapshots.steps:
        for name, unchanged in same.items():
            if not on_path[name]:
                assert unchanged, name
                off_path_momentum += name.endswith("/momentum")
    # Layers that had been trained and were then left out: their momentum might have moved them.
    assert off_path_momentum > 0

    never = [
        name for name in start if not any(is_on_path(name, depths, sharing) for depths in PATHS)
    ]
    assert never and all(NEVER[0] in name for name in never)
    for name, value in trainer.model.state_dict().items():
        assert name not in never or torch.equal(value, start[name]), name


def test_every_parameter_on_the_path_is_trained(toy_datasets, tmp_path):
    cfg = toy.supernet_config(toy_datasets, {"SOLVER.MAX_ITER": 2, "OUTPUT_DIR": str(tmp_path)})
    snapshots = Snapshots("none")
    trainer = train(cfg, snapshots)
    parameters = {name for name, _ in trainer.model.named_parameters()}
    for same, on_path in snapshots.steps:
        for name, unchanged in same.items():
            if on_path[name] and name in parameters:
                assert not unchanged, name
            if on_path[name] and name.endswith(("running_mean", "num_batches_tracked")):
                assert not unchanged, name


def test_a_killed_and_resumed_training_draws_the_paths_of_an_uninterrupted_one(
    toy_datasets, tmp_path
):
    def config(name):
        overrides = {"SOLVER.CHECKPOINT_PERIOD": 3, "OUTPUT_DIR": str(tmp_path / name)}
        return toy.supernet_config(toy_datasets, overrides)

    uninterrupted, first, second = Paths(), Paths(killed_after=2), Paths()
    train(config("uninterrupted"), uninterrupted)
    train(config("killed"), first)
    train(config("killed"), second, resume=True)
    assert len(first.seen) == len(second.seen) == 3
    assert first.seen + second.seen == uninterrupted.seen
    assert len(set(uninterrupted.seen)) > 1

    checkpoint = torch.load(tmp_path / "killed" / "model_0000002.pth", weights_only=True)
    assert checkpoint["iteration"] == 2
    states = checkpoint["trainer"]["_trainer"]["optimizer"]["state"].values()
    assert states and all("momentum_buffer" in state for state in states)


def test_the_paths_depend_on_the_seed_of_the_config(toy_datasets, tmp_path):
    seen = []
    for seed in (1, 2, 1):
        overrides = {"SEED": seed, "SOLVER.MAX_ITER": 4, "OUTPUT_DIR": str(tmp_path / str(seed))}
        paths = Paths()
        train(toy.supernet_config(toy_datasets, overrides), paths)
        seen.append(paths.seen)
    assert seen[0] == seen[2] != seen[1]


def test_a_fixed_network_trains_and_is_evaluated_at_the_end(toy_datasets, tmp_path):
    class DetectionTrainer(Trainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            return build_evaluator(cfg, dataset_name)

    overrides = {"SOLVER.MAX_ITER": 2, "OUTPUT_DIR": str(tmp_path)}
    test = {"DATASETS.TEST": ("toy_test",)}
    trainer = DetectionTrainer(toy.network_config(toy_datasets, overrides, test))
    trainer.train()
    assert set(trainer._last_eval_results) == {"bbox"}
    assert "AP" in trainer._last_eval_results["bbox"]


def test_a_supernet_is_not_evaluated_at_the_end_of_its_training(toy_datasets, tmp_path):
    overrides = {"SOLVER.MAX_ITER": 1, "DATASETS.TEST": ("toy_test",), "OUTPUT_DIR": str(tmp_path)}
    trainer = train(toy.supernet_config(toy_datasets, overrides))
    assert trainer._last_eval_results == {}


def train_on_a_rank(cfg, datasets, folder):
    """One of two processes; leaves behind what it saw."""
    torch.set_num_threads(1)
    register_coco_format(datasets)
    torch.manual_seed(comm.get_rank())  # ranks that differ where nothing makes them equal
    trainer = Trainer(cfg)
    paths, snapshots = Paths(), Snapshots("none")
    trainer.register_hooks([paths, snapshots])
    trainer.train()
    torch.save(
        {
            "paths": [list(path.depths) for path in paths.seen],
            "weights": trainer._trainer.model.module.state_dict(),
            "norms": sorted(
                {type(m).__name__ for m in trainer.model.modules() if "Norm" in type(m).__name__}
            ),
            "changed off the path": [
                name
                for same, on_path in snapshots.steps
                for name, unchanged in same.items()
                if not on_path[name] and not unchanged
            ],
        },
        f"{folder}/rank{comm.get_rank()}.pth",
    )


def test_two_processes_draw_equal_paths_and_keep_equal_weights(toy_datasets, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    overrides = {
        "MODEL.RESNETS.NORM": "SyncBN",
        "MODEL.FPN.NORM": "SyncBN",
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.MAX_ITER": 4,
        "OUTPUT_DIR": str(tmp_path),
    }
    cfg = toy.supernet_config(toy_datasets, overrides)
    entries = toy_datasets["DATASETS.COCO_FORMAT"]
    launch(train_on_a_rank, 2, dist_url="auto", args=(cfg, entries, str(tmp_path)))

    first, second = (torch.load(tmp_path / f"rank{rank}.pth") for rank in range(2))
    assert first["paths"] == second["paths"] and len(set(map(tuple, first["paths"]))) > 1
    assert first["norms"] == second["norms"] == [NaiveSyncBatchNorm.__name__]
    assert first["weights"].keys() == second["weights"].keys()
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    assert first["changed off the path"] == second["changed off the path"] == []
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    losses = [line["total_loss"] for line in lines if "total_loss" in line]
    assert losses and all(map(math.isfinite, losses))


@pytest.mark.parametrize("is_installed", [True, False])
def test_scalars_are_written_for_tensorboard_where_it_is_installed(
    toy_datasets, tmp_path, monkeypatch, is_installed
):
    find = trainer.find_module
    missing = () if is_installed else ("tensorboard",)
    monkeypatch.setattr(
        trainer, "find_module", lambda name: None if name in missing else find(name)
    )
    cfg = toy.network_config(
        toy_datasets,
        {"OUTPUT_DIR": str(tmp_path), "SOLVER.MAX_ITER": 2, "MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1]},
    )
    train(cfg)
    assert (tmp_path / "metrics.json").stat().st_size
    assert bool(list(tmp_path.glob("events.out.tfevents*"))) == is_installed


def test_channels_last_computes_the_same_to_rounding(toy_datasets, tmp_path):
    features, kernels = [], []
    for last in (False, True):
        settings = {"SOLVER.CHANNELS_LAST": last, "SOLVER.MAX_ITER": 1}
        cfg = toy.network_config(toy_datasets, settings, {"OUTPUT_DIR": str(tmp_path / f"{last}")})
        torch.manual_seed(0)
        steps = Trainer(cfg)
        with torch.no_grad():
            features.append(steps.model.eval().backbone(toy.images()))
        steps.model.train()
        steps.train()
        kernels.append(steps.model.backbone.fpn_output2.weight)
    torch.testing.assert_close(features[1], features[0], rtol=1e-4, atol=1e-5)
    is_last = [k.is_contiguous(memory_format=torch.channels_last) for k in kernels]
    assert is_last == [False, True]
