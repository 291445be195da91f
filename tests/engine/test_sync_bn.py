import pytest
import torch
import toy
from detectron2.engine import HookBase, launch
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm

from crnas_d2.data import register_coco_format
from crnas_d2.engine import Trainer
from crnas_d2.layers import active_modules
from crnas_d2.modeling import find_supernet

MOMENTUM = 0.1


class OneStep(HookBase):
    """Records what every norm of the backbone saw, and its statistics before and after."""

    def before_step(self):
        backbone = self.trainer.model.module.backbone
        self.before = {name: value.clone() for name, value in backbone.named_buffers()}
        self.inputs, self.outputs = {}, {}
        for name, module in backbone.named_modules():
            if isinstance(module, NaiveSyncBatchNorm):
                module.register_forward_hook(self.record(name))

    def record(self, name):
        def hook(_module, inputs, output):
            self.inputs[name] = inputs[0].detach().clone()
            self.outputs[name] = output.detach().clone()

        return hook

    def after_step(self):
        backbone = self.trainer.model.module.backbone
        self.after = {name: value.clone() for name, value in backbone.named_buffers()}
        running = set(active_modules(backbone))
        self.on_path = [name for name, module in backbone.named_modules() if module in running]


def step_on_a_rank(cfg, datasets, folder):
    torch.set_num_threads(1)
    register_coco_format(datasets)
    torch.manual_seed(comm.get_rank())
    trainer = Trainer(cfg)
    step = OneStep()
    trainer.register_hooks([step])
    trainer.train()
    kept = ("before", "inputs", "outputs", "after", "on_path")
    torch.save({name: getattr(step, name) for name in kept}, f"{folder}/rank{comm.get_rank()}.pth")


@pytest.fixture(scope="module")
def ranks(toy_datasets, tmp_path_factory):
    """What two processes saw in one step of a supernet, each with its own two images."""
    folder = tmp_path_factory.mktemp("ranks")
    overrides = {
        "MODEL.RESNETS.NORM": "SyncBN",
        "MODEL.FPN.NORM": "SyncBN",
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.MAX_ITER": 1,
        "OUTPUT_DIR": str(folder),
    }
    cfg = toy.supernet_config(toy_datasets, overrides)
    entries = toy_datasets["DATASETS.COCO_FORMAT"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        launch(step_on_a_rank, 2, dist_url="auto", args=(cfg, entries, str(folder)))
    return [torch.load(folder / f"rank{rank}.pth") for rank in range(2)]


def test_the_statistics_are_those_of_the_images_of_all_processes(ranks):
    first, second = ranks
    layers = first["inputs"]
    assert len(layers) > 20 and layers.keys() == second["inputs"].keys()
    for name in layers:
        assert not torch.equal(first["inputs"][name], second["inputs"][name])
        batch = torch.cat([rank["inputs"][name] for rank in ranks])
        mean = batch.mean(dim=(0, 2, 3))
        variance = batch.var(dim=(0, 2, 3), correction=0)
        for moment, value in [("mean", mean), ("var", variance)]:
            buffer = f"{name}.running_{moment}"
            expected = (1 - MOMENTUM) * first["before"][buffer] + MOMENTUM * value
            torch.testing.assert_close(first["after"][buffer], expected, rtol=1e-4, atol=1e-6)
        # Weights are 1 and biases 0 in the first step.
        normalized = (batch - mean[:, None, None]) * (variance[:, None, None] + 1e-5).rsqrt()
        output = torch.cat([rank["outputs"][name] for rank in ranks])
        torch.testing.assert_close(output, normalized, rtol=1e-3, atol=1e-3)


def test_all_processes_keep_equal_statistics(ranks):
    first, second = ranks
    assert first["after"].keys() == second["after"].keys()
    for name, value in first["after"].items():
        assert torch.equal(value, second["after"][name]), name


def test_statistics_off_the_path_stay(ranks):
    for rank in ranks:
        on_path = {name for name in rank["on_path"] if name in rank["inputs"]}
        assert on_path == set(rank["inputs"])
        off_path = 0
        for name, value in rank["after"].items():
            layer, _, kind = name.rpartition(".")
            unchanged = torch.equal(value, rank["before"][name])
            if layer not in on_path:
                assert unchanged, name
                off_path += 1
            elif kind in ("running_mean", "running_var"):
                assert not unchanged, name
        assert off_path > 20


def test_one_process_trains_plain_bn_that_is_not_frozen(toy_datasets, tmp_path):
    overrides = {"MODEL.RESNETS.NORM": "SyncBN", "SOLVER.MAX_ITER": 1, "OUTPUT_DIR": str(tmp_path)}
    trainer = Trainer(toy.supernet_config(toy_datasets, overrides))
    assert find_supernet(trainer.model) is not None
    body = trainer.model.backbone.bottom_up
    norms = [module for name, module in body.named_modules() if name.endswith("norm")]
    assert norms and all(type(norm) is torch.nn.BatchNorm2d for norm in norms)
    before = {name: value.clone() for name, value in body.state_dict().items()}
    trainer.train()
    for name in ("running_mean", "running_var", "weight", "bias"):
        stem = f"stem.conv1.norm.{name}"
        assert not torch.equal(body.state_dict()[stem], before[stem]), stem
