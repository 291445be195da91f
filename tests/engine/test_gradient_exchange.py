"""Two processes that exchange the gradients of the active path only."""

import pytest
import search_toy
import torch
import toy
from detectron2.engine import HookBase, launch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from crnas_d2.data import register_coco_format, register_image_folders
from crnas_d2.engine import GradientExchange, Trainer, path_parameters, peak_memory
from crnas_d2.layers import active_modules
from crnas_d2.modeling import find_supernet

SETTINGS = {
    "SOLVER.IMS_PER_BATCH": 4,
    "SOLVER.MAX_ITER": 4,
    "SOLVER.MOMENTUM": 0.9,
    "SOLVER.WEIGHT_DECAY": 0.01,
    # Low enough to clip.
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 0.5,
}
KINDS = ("single path", "accumulation", "mixed", "split", "whole")


def configs(datasets, images):
    """Of each kind, the settings to compare."""
    supernet = toy.supernet_config(datasets, SETTINGS)
    accumulation = supernet.clone()
    accumulation.SOLVER.GRADIENT_ACCUMULATION = 2
    mixed = search_toy.config(datasets, ".", SETTINGS)
    whole = toy.classifier_config(images, SETTINGS, {"MODEL.RESNETS.NORM": "LN"})
    split = whole.clone()
    split.SOLVER.GRADIENT_ACCUMULATION = 2
    return dict(zip(KINDS, (supernet, accumulation, mixed, split, whole), strict=True))


class Sent(HookBase):
    """Records what each step sends, and what there is to send."""

    def __init__(self):
        self.steps, self.expected, self.before = [], [], 0

    def after_step(self):
        self.steps.append(self.exchange.sent - self.before)
        self.before = self.exchange.sent
        self.expected.append(
            sum(
                parameter.nbytes
                for module in active_modules(self.trainer.model)
                for parameter in module.parameters(recurse=False)
                if parameter.requires_grad
            )
        )


class Memory:
    """Of a GPU that suffices."""

    def __init__(self, device):
        pass

    def restart(self):
        pass

    def peak(self):
        return 1

    total = of_others = peak


def train(cfg, folder, exchanges):
    cfg.OUTPUT_DIR = folder
    sent = Sent()
    with pytest.MonkeyPatch.context() as patch:
        register = GradientExchange.register

        def record(exchange, model):
            sent.exchange = exchange
            if exchanges:
                register(exchange, model)

        patch.setattr(GradientExchange, "register", record)
        if exchanges:  # a check of the memory changes nothing
            patch.setattr(peak_memory, "find_memory", Memory)
        seed_all_rng(comm.get_rank())
        trainer = Trainer(cfg)
        trainer.register_hooks([sent])
        trainer.train()
    halves = trainer._trainer.state_dict()
    optimizers = [halves] if "optimizer" in halves else [halves["weights"], halves["alpha"]]
    return {
        "model": trainer.model.module.state_dict(),
        "optimizers": [half["optimizer"]["state"] for half in optimizers],
        "sent": sent.steps,
        "expected": sent.expected,
        "parameters": sum(p.nbytes for p in trainer.model.parameters()),
    }


def train_on_a_rank(datasets, images, folder):
    torch.set_num_threads(1)
    register_coco_format(datasets["DATASETS.COCO_FORMAT"])
    register_image_folders([["toy_images", f"{folder}/images"]])
    results = {}
    for kind, cfg in configs(datasets, images).items():
        for exchanges in (True, False) if kind not in ("split", "whole") else (True,):
            results[kind, exchanges] = train(cfg, f"{folder}/{kind}{exchanges}", exchanges)
    torch.save(results, f"{folder}/rank{comm.get_rank()}.pth")


@pytest.fixture(scope="module")
def ranks(toy_datasets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exchange")
    toy.make_image_folder(folder / "images", 4, seed=0)
    images = {"DATASETS.TRAIN": ("toy_images",), "DATASETS.TEST": ()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        launch(train_on_a_rank, 2, dist_url="auto", args=(toy_datasets, images, str(folder)))
    return [torch.load(folder / f"rank{rank}.pth") for rank in range(2)]


@pytest.mark.parametrize("kind", ["single path", "accumulation", "mixed"])
def test_weights_and_momentum_are_those_of_plain_ddp(kind, ranks):
    for rank in ranks:
        ours, plain = rank[kind, True], rank[kind, False]
        for name, expected in plain["model"].items():
            assert torch.equal(ours["model"][name], expected), name
        for found, states in zip(ours["optimizers"], plain["optimizers"], strict=True):
            # Those that no step has used have none in either.
            assert found.keys() == states.keys() and len(states)
            search_toy.assert_same(found, states)


def test_all_ranks_have_the_same_weights(ranks):
    for kind, exchanges in ranks[0]:
        first, second = (rank[kind, exchanges]["model"] for rank in ranks)
        for name, value in first.items():
            # Statistics of BN are those of the rank's own images.
            assert "running_" in name or torch.equal(value, second[name]), (kind, name)


def test_a_step_sends_the_gradients_of_its_path_once(ranks):
    for kind in ("single path", "accumulation"):
        result = ranks[0][kind, True]
        assert result["sent"] == result["expected"]
        assert len(set(result["sent"])) > 1  # of several paths
        assert max(result["sent"]) < 0.9 * result["parameters"]


def test_each_half_of_a_channel_search_sends_its_own_gradients(ranks):
    result = ranks[0]["mixed", True]
    weights, both = result["sent"][0], result["sent"][-1]
    alphas = both - weights
    assert result["sent"] == [weights] * 2 + [both] * 2
    assert 0 < alphas < weights and weights + alphas == result["parameters"]


def test_micro_batches_of_several_processes_are_the_whole_batch(ranks):
    split, whole = (ranks[0][kind, True]["model"] for kind in ("split", "whole"))
    for name, expected in whole.items():
        torch.testing.assert_close(split[name], expected, rtol=1e-3, atol=1e-5)


def test_the_parameters_on_a_path_are_those_of_its_modules(toy_datasets):
    model = Trainer.build_model(toy.supernet_config(toy_datasets))
    supernet = find_supernet(model)
    on_path = path_parameters(model, supernet)
    for genotype in supernet.space:
        supernet.set_path(genotype)
        names = {name for name, parameter in model.named_parameters() if parameter in on_path()}
        depths = dict(zip(("res2", "res3", "res4", "res5"), genotype.depths, strict=True))
        for name, _ in model.named_parameters():
            stage, found, branch = name.removeprefix("backbone.bottom_up.").partition(
                ".0.branches."
            )
            expected = not found or int(branch.split(".")[0]) == depths[stage]
            assert (name in names) == expected, name
