"""What the tests of projects/* share: their configs, and how to run one at toy size."""

import json
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from random import Random

import torch
import toy

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import NetworkCost, body_cost
from crnas_d2.data import register_image_folders
from crnas_d2.engine import Trainer
from crnas_d2.evaluation import build_evaluator

# Narrow networks, small images and few boxes; nothing else of a config changes.
TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 32,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 1,
    "MODEL.MOBILENETV2.WIDTH_MULT": 0.1,
    "MODEL.SHUFFLENETV2.CHANNELS": [4, 8, 12, 16, 20],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 60,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 20,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 30,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 10,
    "MODEL.ROI_HEADS.NUM_CLASSES": len(toy.CLASSES),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 16,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "MODEL.ROI_BOX_HEAD.CONV_DIM": 8,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
    "MODEL.RETINANET.NUM_CLASSES": len(toy.CLASSES),
    "MODEL.RETINANET.SCORE_THRESH_TEST": 0.0,
    "INPUT.MIN_SIZE_TRAIN": (toy.SIZE,),
    "INPUT.MAX_SIZE_TRAIN": toy.SIZE,
    "INPUT.MIN_SIZE_TEST": toy.SIZE,
    "INPUT.MAX_SIZE_TEST": toy.SIZE,
    "SOLVER.REFERENCE_WORLD_SIZE": 0,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 1,
    "SOLVER.STEPS": (),
    "DATALOADER.NUM_WORKERS": 0,
}


class Project:
    """The configs and the README of one folder of ``projects``.

    Args:
        root: of the clone, or what :func:`after_searches` has made of it.
    """

    def __init__(self, name: str, root: Path = toy.ROOT):
        self.name = name
        self.root = root
        self.configs = root / "projects" / name / "configs"
        self.readme = (toy.ROOT / "projects" / name / "README.md").read_text()

    def file(self, name: str) -> str:
        return str(self.configs / f"{name}.yaml")

    def config(self, name: str):
        """A config as it is, e.g. ``searched/mask_rcnn_CR-R50_FPN_1x``."""
        return _load(self.file(name))

    def names(self, *folders: str) -> list[str]:
        """The configs in folders, but for those that are only bases of others."""
        files = [path for folder in folders for path in (self.configs / folder).glob("*.yaml")]
        return sorted(f"{f.parent.name}/{f.stem}" for f in files if not f.stem.startswith("Base-"))


PROJECTS = {name: Project(name) for name in ("CR-NAS", "DetNAS", "NATS")}


def config_file(name: str) -> str:
    """The file of ``CR-NAS/searched/mask_rcnn_CR-R50_FPN_1x``."""
    project, _, config = name.partition("/")
    return PROJECTS[project].file(config)


@cache
def _load(file: str):
    return load_config(file, [])


def copy_configs(folder: Path) -> Path:
    """All shipped configs in a folder that is not the clone, for those that inherit from output."""
    for name in ("configs", "projects", "crnas_d2/genotypes"):
        shutil.copytree(toy.ROOT / name, folder / name)
    return folder


def after_searches(folder: Path) -> Path:
    """The same after all channel searches, each of which has found a random network."""
    copy_configs(folder)
    for file in sorted(folder.glob("projects/*/configs/search/*.yaml")):
        cfg = _load(str(file))
        if cfg.MODEL.SUPERNET.SPACE == "channel" and "Base-" not in file.name:
            output, space = folder / cfg.OUTPUT_DIR, NetworkSpec.from_config(cfg).space
            output.mkdir(parents=True)
            genotype = space.sample(Random(file.stem))
            settings = {"family": cfg.MODEL.SUPERNET.FAMILY, "channel": space.to_config()}
            genotype.to_yaml(output / "genotype.yaml", **settings)
    return folder


# The training and the test set of a detector, and its number of classes.
DATA = {
    "COCO": (("coco_2017_train",), ("coco_2017_val",), 80),
    "VOC": (("voc_2007_trainval", "voc_2012_trainval"), ("voc_2007_test",), 20),
}


def num_classes(cfg) -> int:
    is_one_stage = cfg.MODEL.META_ARCHITECTURE == "RetinaNet"
    return (cfg.MODEL.RETINANET if is_one_stage else cfg.MODEL.ROI_HEADS).NUM_CLASSES


def check_data(cfg, data: str) -> None:
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, num_classes(cfg)) == DATA[data]


def check_schedule(cfg, iterations: float, steps: Iterable[float], sizes=(800, 1333)) -> None:
    """The steps of a paper, and what all of them have: 16 images, a rate per kind of detector."""
    solver, images = cfg.SOLVER, cfg.INPUT
    assert (round(iterations), tuple(map(round, steps))) == (solver.MAX_ITER, solver.STEPS)
    assert (solver.IMS_PER_BATCH, solver.GAMMA, solver.REFERENCE_WORLD_SIZE) == (16, 0.1, 8)
    assert (solver.MOMENTUM, solver.WEIGHT_DECAY) == (0.9, 1e-4)
    assert solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR" and solver.WARMUP_ITERS > 0
    assert (0.01 if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else 16 * 0.00125) == solver.BASE_LR
    assert (*images.MIN_SIZE_TRAIN, images.MAX_SIZE_TRAIN) == sizes
    assert sizes == (images.MIN_SIZE_TEST, images.MAX_SIZE_TEST)


def body(cfg) -> list:
    """All that makes the body of a network what it is."""
    model = cfg.MODEL.clone()
    for family in ("RESNETS", "MOBILENETV2", "SHUFFLENETV2"):
        model[family].OUT_FEATURES = []
    keys = ("SUPERNET", "GENOTYPE", "RESNETS", "MOBILENETV2", "SHUFFLENETV2")
    return [model[key] for key in keys]


def cost_of(cfg, size: tuple[int, int]) -> NetworkCost:
    """What the body of a config costs for an image of ``size``."""
    return body_cost(NetworkSpec.from_config(cfg), size)


class ToyTrainer(Trainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return build_evaluator(cfg, dataset_name)


def train_one_step(file: str, overrides: dict, folder: Path):
    """Trains one step of a config at toy size, from ``MODEL.WEIGHTS`` if an override names them.

    Returns:
        the config, the model, and the metrics that were logged.
    """
    cfg = load_config(file, toy.as_list(TINY, overrides, {"OUTPUT_DIR": str(folder)}))
    trainer = ToyTrainer(cfg)
    trainer.resume_or_load(resume=False)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.train()
    after = trainer.model.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    metrics = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert all(torch.tensor(line["total_loss"]).isfinite() for line in metrics) and metrics
    return cfg, trainer.model, metrics[0]


def train_classifier_then_load(classifier: str, detector: str, overrides: dict, folder: Path):
    """Pretrains one step on a toy image folder, which gets registered, and loads the checkpoint.

    Args:
        classifier, detector: config files.

    Returns:
        the parameters of the body by name: of the classifier, and of the detector.
    """
    toy.make_image_folder(folder / "images", per_class=2, seed=0)
    register_image_folders([["toy_folder", str(folder / "images")]])
    images = {"DATASETS.TRAIN": ("toy_folder",), "DATASETS.TEST": (), "SOLVER.IMS_PER_BATCH": 6}
    (folder / "first").mkdir()
    _, classifies, _ = train_one_step(
        classifier, {**toy.TINY_CLASSIFIER, **images}, folder / "first"
    )
    second = {
        "MODEL.WEIGHTS": str(folder / "first" / "model_final.pth"),
        "OUTPUT_DIR": str(folder / "second"),
    }
    trainer = Trainer(load_config(detector, toy.as_list(TINY, overrides, second)))
    trainer.resume_or_load(resume=False)
    return classifies.backbone.state_dict(), trainer.model.backbone.bottom_up.state_dict()
