"""The gradient search: whose turn it is, what is saved, and that it resumes (NATS 3.2, 4.2)."""

import contextlib
import copy
import json

import pytest
import torch
import toy
from detectron2.engine import HookBase, launch
from detectron2.utils import comm

from crnas_d2.data import register_coco_format
from crnas_d2.engine import AlternatingTrainer, Trainer
from crnas_d2.modeling import decoded_genotype, find_mixed_convs
from crnas_d2.space import build_search_space

CHANNEL = {
    "MODEL.SUPERNET.SPACE": "channel",
    "MODEL.SUPERNET.PATH_SAMPLER": "alpha",
    "MODEL.SUPERNET.CHANNEL.STAGES": ["res3", "res5"],
    "MODEL.SUPERNET.CHANNEL.DILATIONS": [[1, 2], [1, 3, [1, 3]]],
    "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 4,
    "MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1],
    "INPUT.RANDOM_FLIP": "horizontal",
    "SOLVER.MOMENTUM": 0.9,
    "SOLVER.ALPHA.START": 0.5,
}


class Killed(Exception):
    pass


class Steps(HookBase):
    """The weights and alpha before and after each half of a step; may end like a kill."""

    def __init__(self, killed_after=None):
        self.killed_after = killed_after
        self.changed, self.files = [], []

    def before_train(self):
        trainer = self.trainer._trainer
        for name in ("weights", "alphas"):
            half = getattr(trainer, name)
            half.run_step = self.record(name, half, half.run_step)

    def record(self, name, half, run_step):
        def recorded():
            forward = half.model.forward

            def seen(batch):
                self.files.append((name, [image["file_name"] for image in batch]))
                return forward(batch)

            before = copy.deepcopy(half.model.state_dict())
            half.model.forward = seen
            run_step()
            half.model.forward = forward
            after = half.model.state_dict()
            parameters = {name for name, _ in half.model.named_parameters()}
            changed = {n for n in parameters if not torch.equal(before[n], after[n])}
            self.changed.append((name, changed))

        return recorded

    def after_step(self):
        if self.trainer.iter == self.killed_after:
            raise Killed


def config(datasets, folder, *overrides):
    return toy.network_config(datasets, CHANNEL, {"OUTPUT_DIR": str(folder)}, *overrides)


def train(cfg, *hooks, resume=False):
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.register_hooks(list(hooks))
    with contextlib.suppress(Killed):
        trainer.train()
    return trainer


def test_weights_and_alpha_take_turns_on_two_splits(toy_datasets, tmp_path):
    steps = Steps()
    trainer = train(config(toy_datasets, tmp_path), steps)
    assert isinstance(trainer._trainer, AlternatingTrainer)
    # Six iterations; alpha is trained in the second half of them.
    expected = ["weights"] * 3 + ["weights", "alphas"] * 3
    assert [name for name, _ in steps.changed] == expected
    alphas = {f"{name}.alpha" for name in find_mixed_convs(trainer.model)}
    assert len(alphas) == 3
    weights = {name for name, _ in trainer.model.named_parameters()} - alphas
    for name, changed in steps.changed:
        assert changed == (alphas if name == "alphas" else weights)
    for name, files in steps.files:
        split = "toy_archval" if name == "alphas" else "toy_archtrain"
        assert all(split in file for file in files)


def test_each_half_has_its_optimizer(toy_datasets, tmp_path):
    settings = {"SOLVER.ALPHA.BASE_LR": 0.02, "SOLVER.ALPHA.WEIGHT_DECAY": 0.001}
    cfg = config(toy_datasets, tmp_path, settings, {"SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR"})
    trainer = train(cfg)
    adam, sgd = trainer._trainer.alphas.optimizer, trainer._trainer.weights.optimizer
    assert type(adam) is torch.optim.Adam and isinstance(sgd, torch.optim.SGD)
    assert adam.defaults["lr"] == 0.02 and adam.defaults["weight_decay"] == 0.001
    assert adam.param_groups[0]["lr"] == 0.02  # constant
    assert sgd.param_groups[0]["lr"] < cfg.SOLVER.BASE_LR  # the schedule is that of the weights
    owned = [{id(p) for g in o.param_groups for p in g["params"]} for o in (adam, sgd)]
    assert not owned[0] & owned[1]
    assert owned[0] | owned[1] == {id(p) for p in trainer.model.parameters()}


# Killed before alpha is trained, and in the midst of it.
@pytest.mark.parametrize("killed_after", [1, 3])
def test_killed_and_resumed_it_is_the_uninterrupted_search(killed_after, toy_datasets, tmp_path):
    period = {"SOLVER.CHECKPOINT_PERIOD": killed_after + 1}
    uninterrupted = train(config(toy_datasets, tmp_path / "whole", period))
    train(config(toy_datasets, tmp_path / "killed", period), Steps(killed_after))
    resumed = train(config(toy_datasets, tmp_path / "killed", period), resume=True)
    assert resumed.start_iter == killed_after + 1

    expected = uninterrupted.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert torch.load(tmp_path / "killed" / "model_final.pth", weights_only=True)["iteration"] == 5
    for name in ("weights", "alpha"):
        states = [t._trainer.state_dict()[name]["loader"] for t in (resumed, uninterrupted)]
        assert states[0] == states[1]
    assert states[0]["position"] == 3  # of alpha


def test_the_normalizer_of_a_dense_detector_goes_on(toy_datasets, tmp_path):
    trainer = Trainer(config(toy_datasets, tmp_path))
    trainer.model.loss_normalizer = 12.5
    state = trainer.state_dict()
    resumed = Trainer(config(toy_datasets, tmp_path))
    assert not hasattr(resumed.model, "loss_normalizer")
    resumed.load_state_dict(state)
    assert resumed.model.loss_normalizer == 12.5


@pytest.mark.parametrize("begun_as_search", [True, False])
def test_a_run_of_another_kind_is_not_resumed(begun_as_search, toy_datasets, tmp_path):
    search = config(toy_datasets, tmp_path, {"SOLVER.MAX_ITER": 1})
    network = search.clone()
    network.MODEL.SUPERNET.SPACE, network.MODEL.SUPERNET.PATH_SAMPLER = "none", "fixed"
    begun, resumed = (search, network) if begun_as_search else (network, search)
    train(begun)
    holds = "a" if begun_as_search else "no"
    with pytest.raises(ValueError, match=f"holds {holds} channel search.*another OUTPUT_DIR"):
        train(resumed, resume=True)


def test_alpha_is_trained_however_late(toy_datasets, tmp_path):
    late = config(toy_datasets, tmp_path, {"SOLVER.ALPHA.START": 0.999})
    assert Trainer(late)._trainer.alpha_start == late.SOLVER.MAX_ITER - 1


def test_progress_of_alpha_is_in_the_metrics(toy_datasets, tmp_path):
    cfg = config(toy_datasets, tmp_path, {"SOLVER.ALPHA.BASE_LR": 0.5})
    trainer = train(cfg)
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    metrics = {name: value for line in lines for name, value in line.items()}
    assert {"total_loss", "loss_cls", "alpha/total_loss", "alpha/loss_cls"} <= set(metrics)
    shares = {name: value for name, value in metrics.items() if "/share_" in name}
    assert set(shares) == {
        *("alpha/res3/share_1x1", "alpha/res3/share_2x2"),
        *("alpha/res5/share_1x1", "alpha/res5/share_3x3", "alpha/res5/share_1x3"),
    }
    assert sum(shares.values()) == pytest.approx(2)
    genotype = decoded_genotype(trainer.model, build_search_space(cfg))
    assert [len(indices) for indices in genotype.channels] == [4, 4, 4]
    threes = sum(index == 1 for index in genotype.channels[2]) / 4
    assert shares["alpha/res5/share_3x3"] == threes
    assert 0 < metrics["alpha/res3/entropy"] < 0.6931  # less than log(2), that of the beginning


def train_on_a_rank(cfg, datasets, folder):
    torch.set_num_threads(1)
    register_coco_format(datasets)
    torch.manual_seed(comm.get_rank())
    steps = Steps()
    trainer = Trainer(cfg)
    trainer.register_hooks([steps])
    trainer.train()
    state = {"weights": trainer._trainer.model.module.state_dict(), "files": steps.files}
    torch.save(state, f"{folder}/rank{comm.get_rank()}.pth")


def test_two_processes_share_the_images_and_keep_equal_weights(toy_datasets, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    norms = {"MODEL.RESNETS.NORM": "FrozenBN", "MODEL.FPN.NORM": ""}
    cfg = config(toy_datasets, tmp_path, norms)
    entries = toy_datasets["DATASETS.COCO_FORMAT"]
    launch(train_on_a_rank, 2, dist_url="auto", args=(cfg, entries, str(tmp_path)))
    first, second = (torch.load(tmp_path / f"rank{rank}.pth") for rank in range(2))
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    # One image each: within an epoch, not one that both have seen.
    seen = [
        [files[0] for name, files in rank["files"] if name == "weights"] for rank in (first, second)
    ]
    assert len({*seen[0], *seen[1]}) == 12 and len(seen[0]) == 6
