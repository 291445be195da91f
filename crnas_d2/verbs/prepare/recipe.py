"""A recipe for a user's dataset: what the network, the images and the trainings look like."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crnas_d2.modeling.families import EfficientNetLiteFamily, ResNetFamily

from .statistics import Anchors, Statistics, fit_anchors

Settings = dict[str, Any]  # of a config, by key

PRESETS = ("quick", "standard", "paper")
DEVICES = ("cpu", "gpu")
# Not MSRA's: their BN statistics are folded away, and a search calibrates BN.
PUBLISHED = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
# In packages of the extra `weights`, 20 MB each.
LITE = "crnas_d2://weights/efficientnet-lite0"
BASE = "crnas_d2://configs/Base-RCNN-FPN.yaml"
_PAPER_SIZE = (800, 1333)  # CR-NAS, appendix A.1
_EPOCHS = 13  # the 1x schedule of CR-NAS
# From published weights: the least number of images that the detector's training reads.
_LEAST_IMAGES = {"quick": 16_000, "standard": 60_000, "paper": 80_000}
# A narrow network on a CPU: pixels that it reads, about 20 minutes and 4 hours on two cores, and
# the least and the greatest number of images.
_PIXELS = {"quick": 1.2e9, "standard": 12e9}
_IMAGES = {"quick": (2_400, 20_000), "standard": (8_000, 100_000)}
# From ImageNet weights fewer images are enough: blood cells have 57.0 AP after 3,200 of them and
# 56.0 after 8,000, one run each (docs/RESULTS.md).
_LITE_SHARE = 0.16
# A ResNet-50 from own weights on a CPU: images that it reads, at some seconds each.
_IMAGES_OF_R50 = {"quick": 1_600, "standard": 16_000}
# GiB that an image of _PAPER_SIZE takes in the training of a ResNet-50 with FPN, none of it frozen.
_MEMORY = 2.4
_LEAST_OBJECT = 12  # pixels; smaller objects are hardly found
# EfficientNet-Lite's stem and stages c16 and c24 keep their weights in trainings.
FROZEN = 3
_WIDTH = {"quick": 8, "standard": 16}
_MANY_IMAGES = 10_000  # for a supernet from scratch without shared weights


@dataclass(frozen=True)
class Recipe:
    """One recipe, from which all starter configs are written.

    Everything is stated for one process: ``SOLVER.REFERENCE_WORLD_SIZE`` is 1 in all configs.

    Attributes:
        statistics: of archtrain and archval together.
        archtrain: number of images in archtrain.
        preset: of :data:`PRESETS`; quick: within about an hour; standard: a sound training;
            paper: the sizes and schedules of CR-NAS.
        device: of :data:`DEVICES`.
        weights: a file to start from, of a ResNet-50, instead of the published one.
        convention: keys and values of a config with which that file was trained.
        gpu_memory: of a GPU, GiB; 0 if unknown.
        depth_range: ``INPUT.DEPTH_RANGE``, for images of more than 8 bits per channel.
        has_lite: whether :data:`LITE` is installed.
    """

    statistics: Statistics
    archtrain: int
    preset: str
    device: str
    weights: str = ""
    convention: tuple[tuple[str, Any], ...] = ()
    gpu_memory: float = 0.0
    depth_range: tuple[float, ...] = ()
    has_lite: bool = False

    @property
    def is_narrow(self) -> bool:
        """Whether neck and heads are narrow: on a CPU, without a user's weights.

        The body is EfficientNet-Lite0 from ImageNet weights or, where they are not installed, a
        narrow ResNet from scratch.
        """
        return self.device == "cpu" and self.preset != "paper" and not self.weights

    @property
    def is_lite(self) -> bool:
        return self.is_narrow and self.has_lite

    @property
    def start(self) -> str:
        """What the detector starts from: a file or URL, "" for scratch."""
        if self.is_narrow:
            return LITE if self.has_lite else ""
        return self.weights or PUBLISHED

    def describe_start(self) -> str:
        """Return what the user should know of the weights; "" if nothing."""
        if self.is_lite:
            return f"The detector starts from ImageNet weights that are installed, {LITE}."
        if self.is_narrow:
            return (
                "The detector starts from scratch. From ImageNet weights it is better after the "
                "same time: pip install 'crnas-d2[weights]' and prepare again."
            )
        if "://" in self.start:
            return (
                f"The detector starts from {self.start}, downloaded on first use (100 MB).\n"
                "Without a network, add --weights FILE: any ResNet-50 of torchvision or Detectron2."
            )
        return ""

    @cached_property
    def size(self) -> tuple[int, int]:
        """Shorter and longer side of the network's input, pixels."""
        if self.preset == "paper":
            return _PAPER_SIZE
        quick = self.preset == "quick"
        if quick and self.device == "cpu":
            # As large as the time allows, or as small objects need.
            area = _PIXELS["quick"] / _IMAGES["quick"][1]
            return self.statistics.input_size(_PAPER_SIZE, _LEAST_OBJECT, area)
        return self.statistics.input_size((480, 800) if quick else _PAPER_SIZE)

    @cached_property
    def anchors(self) -> Anchors:
        return fit_anchors(self.statistics, self.size[0])

    @cached_property
    def images_seen(self) -> int:
        """Images that the training of the detector reads, all epochs together."""
        if self.is_narrow:
            least, most = _IMAGES[self.preset]
            share = _LITE_SHARE if self.is_lite else 1
            images = min(_PIXELS[self.preset] / math.prod(self.size), most)
            return round(max(share * images, least))
        if self.device == "cpu" and self.preset in _IMAGES_OF_R50:
            return _IMAGES_OF_R50[self.preset]
        epochs = 0 if self.preset == "quick" else _EPOCHS
        return max(epochs * self.archtrain, _LEAST_IMAGES[self.preset])

    @property
    def batch(self) -> int:
        if self.is_narrow:
            return 8 if self.is_lite or self.images_seen >= 6_000 else 4
        if self.device == "cpu":
            return 4
        memory = self.gpu_memory or 16
        per_image = _MEMORY * math.prod(self.size) / math.prod(_PAPER_SIZE)
        return next((n for n in (16, 8, 4, 2) if n * per_image <= 0.85 * memory), 1)

    @property
    def rate(self) -> float:
        """Learning rate of the detector: CR-NAS's per image, or one for narrow networks."""
        if self.is_lite:
            return 0.005 * self.batch
        return (0.01 if self.is_narrow else 0.00125) * self.batch

    @property
    def has_supernet(self) -> bool:
        """Whether a supernet from scratch is offered: it needs many images, and days."""
        many = self.archtrain >= _MANY_IMAGES
        return self.preset == "paper" or (
            self.preset == "standard" and self.device == "gpu" and many
        )

    @property
    def supernet_sharing(self) -> str:
        """``none``, as in the paper, or ``prefix``, a small part of the weights for few images."""
        return "none" if self.archtrain >= _MANY_IMAGES else "prefix"

    @property
    def has_channels(self) -> bool:
        """Whether a search of channels is offered, which starts from ImageNet weights."""
        return self.preset != "quick" and not self.is_narrow

    def network(self) -> Settings:
        """Return the settings of network and images that all configs share."""
        anchors, (shorter, longer) = self.anchors, self.size
        shared: Settings = {
            "MODEL.DEVICE": "cuda" if self.device == "gpu" else "cpu",
            "MODEL.ANCHOR_GENERATOR.SIZES": anchors.sizes,
            "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [anchors.ratios],
            "MODEL.RPN.IN_FEATURES": anchors.levels,
            "INPUT.MIN_SIZE_TRAIN": [shorter],
            "INPUT.MIN_SIZE_TEST": shorter,
            "INPUT.MAX_SIZE_TRAIN": longer,
            "INPUT.MAX_SIZE_TEST": longer,
            **({"INPUT.DEPTH_RANGE": list(self.depth_range)} if self.depth_range else {}),
            "DATALOADER.NUM_WORKERS": 0 if self.device == "cpu" else 4,
            "SEARCH.COST_INPUT_SIZE": [shorter, longer],
        }
        if not self.is_narrow:
            return {
                "MODEL.RESNETS.DEPTH": 50,
                **shared,
                **ResNetFamily.published_convention,
                **dict(self.convention),
            }
        if self.is_lite:
            body: Settings = {
                "MODEL.SUPERNET.FAMILY": "efficientnet_lite",
                "MODEL.BACKBONE.FREEZE_AT": FROZEN,
                **EfficientNetLiteFamily.published_convention,
                "SOLVER.CHANNELS_LAST": True,
            }
        else:
            body = {
                "MODEL.RESNETS.DEPTH": 34,  # BasicBlock
                "MODEL.RESNETS.STEM_OUT_CHANNELS": _WIDTH[self.preset],
                "MODEL.RESNETS.RES2_OUT_CHANNELS": _WIDTH[self.preset],
                "MODEL.RESNETS.NORM": "BN",
            }
        width = _WIDTH[self.preset]
        # Proposals for the fullest images; on a CPU their bookkeeping costs as much as the body.
        proposals = 32 * math.ceil(max(64, 4 * self.statistics.objects) / 32)
        return {
            **shared,
            **body,
            "MODEL.FPN.OUT_CHANNELS": 4 * width,
            "MODEL.FPN.NORM": "BN",
            "MODEL.RPN.CONV_DIMS": [4 * width],
            "MODEL.RPN.IOU_THRESHOLDS": [0.3, 0.5],
            "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 64,
            "MODEL.RPN.PRE_NMS_TOPK_TRAIN": proposals,
            "MODEL.RPN.PRE_NMS_TOPK_TEST": proposals,
            "MODEL.RPN.POST_NMS_TOPK_TRAIN": proposals // 2,
            "MODEL.RPN.POST_NMS_TOPK_TEST": proposals,
            "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 32,
            "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.5,
            "MODEL.ROI_BOX_HEAD.NUM_CONV": 1,
            "MODEL.ROI_BOX_HEAD.CONV_DIM": 8 * width,
            "MODEL.ROI_BOX_HEAD.NUM_FC": 0,
            "MODEL.ROI_BOX_HEAD.NORM": "BN",
            "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 4,
            "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
        }

    def schedule(self, images: int, seen: int, rate: float, epochs: int = _EPOCHS) -> Settings:
        """Return the section SOLVER of a training that reads ``seen`` images out of ``images``.

        ``epochs``, 13 or 25, are those of the paper's schedule, for its steps.
        """
        iterations = math.ceil(seen / self.batch)
        per_epoch = max(1, math.ceil(images / self.batch))
        # About ten checkpoints, each after whole epochs.
        period = per_epoch * max(1, round(iterations / per_epoch / 10))
        solver: Settings = {
            "REFERENCE_WORLD_SIZE": 1,
            "IMS_PER_BATCH": self.batch,
            "BASE_LR": float(f"{rate:.4g}"),
            "MAX_ITER": iterations,
            "WARMUP_ITERS": min(100 if self.is_narrow else 500, iterations // 10),
            "LR_SCHEDULER_NAME": "WarmupCosineLR",
            "STEPS": [],
            "CHECKPOINT_PERIOD": min(period, iterations),
        }
        if self.preset == "paper":
            steps = (16, 22) if epochs == 25 else (8, 11)
            solver["LR_SCHEDULER_NAME"] = "WarmupMultiStepLR"
            solver["STEPS"] = [round(iterations * step / epochs) for step in steps]
        return solver
