import contextlib
import logging

import pytest
import search_toy
import torch
import toy
from detectron2.utils.env import seed_all_rng
from search_toy import Killed, Steps, assert_same

from crnas_d2.data import register_image_folders
from crnas_d2.engine import Trainer, peak_memory
from crnas_d2.engine.peak_memory import _missing_state
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype

GIB = 2**30
DEEPEST = Genotype(depths=(2, 2, 3, 3))


class Allocator:
    """Stands for a GPU: counts what a forward pass keeps for backward, up to a limit."""

    def __init__(self, limit=float("inf")):
        self.limit = limit
        self.passes = []  # (path, image size, bytes)
        self.most = 0

    def restart(self):
        self.most = 0

    def peak(self):
        return self.most

    def total(self):
        return 15 * GIB

    def of_others(self):
        return 2 * GIB

    @contextlib.contextmanager
    def watching(self, model):
        def begin(_, inputs):
            supernet = find_supernet(model)
            path = getattr(supernet, "path", None)
            self.passes.append([path, tuple(inputs[0][0]["image"].shape[1:]), 0])

        def pack(tensor):
            self.passes[-1][2] += tensor.nbytes
            self.most = max(self.most, self.passes[-1][2])
            if self.passes[-1][2] > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return tensor

        handle = model.register_forward_pre_hook(begin)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield
        handle.remove()


@pytest.fixture
def gpu(monkeypatch):
    allocator = Allocator()
    monkeypatch.setattr(peak_memory, "find_memory", lambda device: allocator)
    return allocator


def train(cfg, *hooks, allocator=None, resume=False):
    seed_all_rng(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.register_hooks(list(hooks))
    watching = allocator.watching(trainer.model) if allocator else contextlib.nullcontext()
    with contextlib.suppress(Killed), watching:
        trainer.train()
    return trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    toy.make_image_folder(folder / "images", 4, seed=0)
    register_image_folders([["toy_memory", str(folder / "images")]])
    return {"DATASETS.TRAIN": ("toy_memory",), "DATASETS.TEST": ()}


RETINANET = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.RETINANET.NUM_CLASSES": len(toy.CLASSES),
    "MODEL.RETINANET.NUM_CONVS": 1,
}
MASKS = {
    "MODEL.MASK_ON": True,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
}
AMP = {"SOLVER.AMP.ENABLED": True, "SOLVER.GRADIENT_ACCUMULATION": 2}
FLIPS = {"INPUT.RANDOM_FLIP": "horizontal", "INPUT.MIN_SIZE_TRAIN": (48, 64)}
NETWORK = {"MODEL.GENOTYPE.DEPTHS": [1, 1, 2, 1]}


@pytest.mark.parametrize(
    "kind",
    ["supernet", "prefix", "mixed precision", "channels", "retinanet", "masks", "classifier"],
)
def test_a_training_is_bit_for_bit_the_one_without_the_check(
    kind, toy_datasets, masks, folder, gpu, tmp_path, monkeypatch
):
    cfg = {
        "supernet": lambda: toy.supernet_config(toy_datasets, FLIPS),
        "prefix": lambda: toy.supernet_config(toy_datasets, {"MODEL.SUPERNET.SHARING": "prefix"}),
        "mixed precision": lambda: toy.supernet_config(toy_datasets, AMP),
        "channels": lambda: search_toy.config(toy_datasets, tmp_path),
        "retinanet": lambda: toy.network_config(toy_datasets, NETWORK, RETINANET),
        "masks": lambda: toy.network_config(toy_datasets, NETWORK, MASKS, masks),
        "classifier": lambda: toy.classifier_config(folder),
    }[kind]()
    cfg.SOLVER.MAX_ITER = 2
    states = []
    for name in ("checked", "unchecked"):
        cfg.OUTPUT_DIR = str(tmp_path / name)
        trainer = train(cfg, allocator=gpu)
        if name == "checked":
            halves = 1 + (kind == "channels")  # alpha is trained in the second step
            parts = cfg.SOLVER.GRADIENT_ACCUMULATION
            assert len(gpu.passes) == 2 * parts + (halves - 1) + min(parts, 2)
            monkeypatch.setattr(peak_memory, "find_memory", lambda device: None)
        states.append(torch.load(tmp_path / name / "model_final.pth", weights_only=True))
        lines = (tmp_path / name / "metrics.json").read_text().splitlines()
        states[-1]["losses"] = trainer.storage.history("total_loss").values(), len(lines)
    assert_same(*states)


def test_no_step_takes_more_than_the_check(toy_datasets, gpu, tmp_path, caplog):
    settings = {**FLIPS, "SOLVER.MAX_ITER": 12, "OUTPUT_DIR": str(tmp_path)}
    with caplog.at_level(logging.INFO, logger="crnas_d2"):
        train(toy.supernet_config(toy_datasets, settings), allocator=gpu)
    (path, size, most), *steps = gpu.passes
    assert path == DEEPEST and size == (toy.SIZE, toy.SIZE)
    assert len({path for path, *_ in steps}) > 4
    # Up to what the number of sampled boxes adds.
    assert most >= 0.99 * max(used for *_, used in steps)
    assert min(used for *_, used in steps) < 0.9 * most
    assert f"the most expensive path, {DEEPEST} takes 0.0 of 15.0 GiB for 2 images" in caplog.text


def test_a_memory_that_is_too_small_is_said_before_the_first_step(toy_datasets, gpu, tmp_path):
    cfg = toy.supernet_config(toy_datasets, {"OUTPUT_DIR": str(tmp_path)})
    gpu.limit = 1e6  # enough for other paths
    words = (
        r"too small for the most expensive path, .*2.*2.*3.*3.*, in a step on 2 images of 64x64 "
        r"pixels: the step needs more than 0\.0 GiB; the GPU has 15\.0 GiB, of which the "
        r"driver and other processes use 2\.0 GiB\. Set SOLVER\.GRADIENT_ACCUMULATION to 2, or "
        r"set SOLVER\.AMP"
    )
    with pytest.raises(ValueError, match=words):
        train(cfg, allocator=gpu)
    assert [path for path, *_ in gpu.passes] == [DEEPEST]
    assert not list(tmp_path.glob("*.pth"))
    # What the message says helps.
    cfg.SOLVER.GRADIENT_ACCUMULATION = 2
    train(cfg, allocator=gpu)
    assert (tmp_path / "model_final.pth").exists()


def test_a_resumed_training_is_checked_too(toy_datasets, gpu, tmp_path):
    settings = {"OUTPUT_DIR": str(tmp_path), "SOLVER.CHECKPOINT_PERIOD": 2}
    cfg = toy.supernet_config(toy_datasets, settings)
    kill = Steps(killed_after=1)
    kill.halves = dict  # of a supernet of paths
    train(cfg, kill, allocator=gpu)
    gpu.passes, gpu.limit = [], 0
    with pytest.raises(ValueError, match="too small for the most expensive path"):
        train(cfg, allocator=gpu, resume=True)
    assert len(gpu.passes) == 1
    cfg.SOLVER.MAX_ITER = 2
    train(cfg, allocator=gpu, resume=True)  # has no step left
    assert len(gpu.passes) == 1


def test_images_that_are_one_by_one_cannot_be_split(toy_datasets, gpu, tmp_path):
    settings = {"OUTPUT_DIR": str(tmp_path), "SOLVER.IMS_PER_BATCH": 1}
    gpu.limit = 0
    words = (
        "too small for the network in a step on 1 image of .*GiB. Set SOLVER.AMP.ENABLED to True"
    )
    with pytest.raises(ValueError, match=words):
        train(toy.network_config(toy_datasets, NETWORK, settings), allocator=gpu)


def test_inputs_that_are_not_known_are_not_made_up(toy_datasets, gpu, tmp_path, caplog):
    settings = {"OUTPUT_DIR": str(tmp_path), "SOLVER.MAX_ITER": 1}
    cfg = toy.network_config(toy_datasets, NETWORK, settings)
    trainer = Trainer(cfg)
    trainer.cfg.MODEL.META_ARCHITECTURE = "SomebodysDetector"
    with gpu.watching(trainer.model), caplog.at_level(logging.INFO, logger="crnas_d2"):
        trainer.train()
    assert len(gpu.passes) == 1 and "is not checked" in caplog.text


def test_the_state_of_optimizers_grows_until_all_parameters_have_one():
    first, second = (torch.nn.Parameter(torch.ones(n)) for n in (10, 32))
    sgd = torch.optim.SGD([first, second], lr=0.1, momentum=0.9)
    assert _missing_state(sgd) == 4 * 42
    first.grad = torch.ones(10)
    sgd.step()
    assert _missing_state(sgd) == 4 * 32
    assert _missing_state(torch.optim.SGD([first], lr=0.1)) == 0
    assert _missing_state(torch.optim.Adam([first, second], lr=0.1)) == 8 * 42
