"""The values that a config may hold, checked before anything is built from them."""

import math
from functools import reduce
from typing import Any

import torch
from detectron2.config import CfgNode

from crnas_d2.common.errors import did_you_mean

from .entries import leaves
from .rules import Rule, increasing, list_of, number, one_of, whole

# A process seeds numpy with SEED + its rank, which must stay below 2**32.
_MOST_SEED = 2**32 - 2**16
_NORMS = ("BN", "SyncBN", "FrozenBN", "GN", "LN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "")

_ANY = number("", lambda value: True)
_POSITIVE = number("above 0", lambda value: value > 0)
_NOT_NEGATIVE = number("of at least 0", lambda value: value >= 0)
_SHARE = number("from 0 to 1", lambda value: 0 <= value <= 1)
_COUNT, _SIZE = whole(0), whole(1)
_TEXT = Rule("text", lambda value: isinstance(value, str) and bool(value.strip()))
_TEXTS = list_of(_TEXT, "a list of names")
_DATASETS = list_of(_TEXT, "names of datasets, like '(\"coco_2017_train\",)'")
_SIZES = list_of(_SIZE, "whole numbers of at least 1, one or more", least=1)
_ENTRIES = list_of(list_of(_TEXT, "", length=3), "a list of [name, json file, image folder]")
_FOLDERS = list_of(list_of(_TEXT, "", length=2), "a list of [name, folder]")
_BOX_LOSS = one_of("smooth_l1", "giou", "diou", "ciou")
_BOX_WEIGHTS = list_of(_POSITIVE, "4 numbers above 0", length=4)
_CHANNEL = list_of(_ANY, "a number for each channel of an image", least=1)

_RULES: dict[str, Rule] = {
    "VERSION": Rule("2, the version of Detectron2's keys", lambda value: value == 2),
    "OUTPUT_DIR": Rule("the path of a folder", lambda value: bool(str(value).strip())),
    "SEED": whole(-(2**63), _MOST_SEED),
    "VIS_PERIOD": _COUNT,
    "MODEL.PIXEL_MEAN": _CHANNEL,
    "MODEL.PIXEL_STD": list_of(_POSITIVE, "a number above 0 for each channel of an image", least=1),
    "MODEL.BACKBONE.FREEZE_AT": _COUNT,
    "MODEL.FPN.IN_FEATURES": _TEXTS,
    "MODEL.FPN.OUT_CHANNELS": _SIZE,
    "MODEL.FPN.FUSE_TYPE": one_of("sum", "avg"),
    "MODEL.ANCHOR_GENERATOR.SIZES": list_of(
        list_of(_POSITIVE, "", least=1), "a list of lists of numbers above 0", least=1
    ),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": list_of(
        list_of(_POSITIVE, "", least=1), "a list of lists of numbers above 0", least=1
    ),
    "MODEL.RPN.IN_FEATURES": _TEXTS,
    "MODEL.RPN.IOU_THRESHOLDS": list_of(_SHARE, "numbers from 0 to 1"),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": _SIZE,
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": _BOX_LOSS,
    "MODEL.RPN.BBOX_REG_WEIGHTS": _BOX_WEIGHTS,
    "MODEL.RPN.CONV_DIMS": list_of(
        Rule("", lambda value: value == -1 or _SIZE.admits(value)),
        "channels of at least 1 or, for those of the features, -1",
        least=1,
    ),
    "MODEL.RPN.POSITIVE_FRACTION": _SHARE,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": _SIZE,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": _SIZE,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": _SIZE,
    "MODEL.RPN.POST_NMS_TOPK_TEST": _SIZE,
    "MODEL.RPN.NMS_THRESH": _SHARE,
    "MODEL.ROI_HEADS.NUM_CLASSES": _SIZE,
    "MODEL.ROI_HEADS.IN_FEATURES": _TEXTS,
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": list_of(_SHARE, "numbers from 0 to 1"),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": _SIZE,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": _SHARE,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": _SHARE,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": _SHARE,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": _BOX_LOSS,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": _BOX_WEIGHTS,
    "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": list_of(
        _BOX_WEIGHTS, "4 numbers above 0 for each stage", least=1
    ),
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": list_of(_SHARE, "numbers from 0 to 1", least=1),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": _SIZE,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": one_of(
        "ROIAlign", "ROIAlignV2", "ROIPool", "ROIAlignRotated"
    ),
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": _COUNT,
    "MODEL.ROI_BOX_HEAD.NUM_FC": _COUNT,
    "MODEL.ROI_BOX_HEAD.NUM_CONV": _COUNT,
    "MODEL.ROI_BOX_HEAD.FC_DIM": _SIZE,
    "MODEL.ROI_BOX_HEAD.CONV_DIM": _SIZE,
    "MODEL.RETINANET.NUM_CLASSES": _SIZE,
    "MODEL.RETINANET.IN_FEATURES": _TEXTS,
    "MODEL.RETINANET.NUM_CONVS": _COUNT,
    "MODEL.RETINANET.BBOX_REG_LOSS_TYPE": _BOX_LOSS,
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": _BOX_WEIGHTS,
    "MODEL.RETINANET.SCORE_THRESH_TEST": _SHARE,
    "MODEL.RETINANET.NMS_THRESH_TEST": _SHARE,
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": _SIZE,
    "MODEL.RESNETS.DEPTH": _SIZE,
    "MODEL.RESNETS.NUM_GROUPS": _SIZE,
    "MODEL.RESNETS.WIDTH_PER_GROUP": _SIZE,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": _SIZE,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": _SIZE,
    "MODEL.RESNETS.OUT_FEATURES": _TEXTS,
    "MODEL.MOBILENETV2.OUT_FEATURES": _TEXTS,
    "MODEL.SHUFFLENETV2.OUT_FEATURES": _TEXTS,
    "MODEL.NAS_FPN.NUM_STACKS": _SIZE,
    "MODEL.SUPERNET.STAGE_OPTIONS": list_of(
        list_of(_ANY, ""),
        "a list of numbers of blocks for each stage, e.g. [[2, 3], [3, 4], [5, 6], [2, 3]]; or []",
    ),
    "MODEL.SUPERNET.CHANNEL.STAGES": _TEXTS,
    "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": _SIZE,
    "MODEL.SUPERNET.CHANNEL.CHANNELS_PER_GROUP": _COUNT,
    "MODEL.CLASSIFIER.NUM_CLASSES": _SIZE,
    "MODEL.CLASSIFIER.LABEL_SMOOTHING": _SHARE,
    "INPUT.MIN_SIZE_TRAIN": _SIZES,
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": one_of("choice", "range"),
    "INPUT.MAX_SIZE_TRAIN": _SIZE,
    "INPUT.MIN_SIZE_TEST": _COUNT,
    "INPUT.MAX_SIZE_TEST": _SIZE,
    "INPUT.RANDOM_FLIP": one_of("horizontal", "vertical", "none"),
    "INPUT.FORMAT": one_of("BGR", "RGB", "L", "YUV-BT.601"),
    "INPUT.MASK_FORMAT": one_of("polygon", "bitmask"),
    "INPUT.CROP.TYPE": one_of("relative_range", "relative", "absolute", "absolute_range"),
    "INPUT.CROP.SIZE": list_of(_POSITIVE, "two numbers above 0, (height, width)", length=2),
    "INPUT.CLASSIFICATION.CROP_SIZE": _SIZE,
    "INPUT.CLASSIFICATION.RESIZE_TEST": _SIZE,
    "INPUT.CLASSIFICATION.CROP_AREA": Rule(
        "[least, most], shares of the area above 0 and at most 1",
        lambda value: list_of(_POSITIVE, "", length=2).admits(value) and _is_range(value),
    ),
    "DATASETS.TRAIN": _DATASETS,
    "DATASETS.TEST": _DATASETS,
    "DATASETS.ARCHVAL": _DATASETS,
    "DATASETS.COCO_FORMAT": _ENTRIES,
    "DATASETS.IMAGE_FOLDERS": _FOLDERS,
    "DATALOADER.NUM_WORKERS": _COUNT,
    "DATALOADER.SAMPLER_TRAIN": one_of(
        "TrainingSampler", "RepeatFactorTrainingSampler", "RandomSubsetTrainingSampler"
    ),
    "DATALOADER.REPEAT_THRESHOLD": _NOT_NEGATIVE,
    "DATALOADER.IMAGE_CACHE": _NOT_NEGATIVE,
    "SOLVER.MAX_ITER": _SIZE,
    "SOLVER.BASE_LR": _POSITIVE,
    "SOLVER.BASE_LR_END": _NOT_NEGATIVE,
    "SOLVER.MOMENTUM": _SHARE,
    "SOLVER.WEIGHT_DECAY": _NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY_NORM": _NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY_BIAS": Rule(
        "a number of at least 0, or null",
        lambda value: value is None or _NOT_NEGATIVE.admits(value),
    ),
    "SOLVER.GAMMA": _POSITIVE,
    "SOLVER.STEPS": increasing(list_of(_COUNT, "iterations, whole numbers of at least 0")),
    "SOLVER.WARMUP_FACTOR": _NOT_NEGATIVE,
    "SOLVER.WARMUP_ITERS": _COUNT,
    "SOLVER.CHECKPOINT_PERIOD": _SIZE,
    "SOLVER.CHECKPOINT_MAX_TO_KEEP": _COUNT,
    "SOLVER.IMS_PER_BATCH": _SIZE,
    "SOLVER.REFERENCE_WORLD_SIZE": _COUNT,
    "SOLVER.GRADIENT_ACCUMULATION": _SIZE,
    "SOLVER.AMP.PRECISION": one_of("float16", "bfloat16"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of("value", "norm"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": _POSITIVE,
    "SOLVER.ALPHA.BASE_LR": _POSITIVE,
    "SOLVER.ALPHA.WEIGHT_DECAY": _NOT_NEGATIVE,
    "TEST.EVAL_PERIOD": _COUNT,
    "TEST.DETECTIONS_PER_IMAGE": Rule(
        "a whole number of at least 1, or -1 for all",
        lambda value: _SIZE.admits(value) or value == -1,
    ),
    "TEST.EXPECTED_RESULTS": list_of(
        Rule(
            "",
            lambda value: (
                isinstance(value, list | tuple)
                and len(value) == 4
                and all(map(_TEXT.admits, value[:2]))
                and all(map(_ANY.admits, value[2:]))
            ),
        ),
        "a list of [task, metric, value, tolerance], e.g. [['bbox', 'AP', 38.5, 0.2]]",
    ),
    "TEST.AUG.MIN_SIZES": _SIZES,
    "TEST.AUG.MAX_SIZE": _SIZE,
    "TEST.PRECISE_BN.NUM_ITER": _SIZE,
    "SEARCH.IMS_PER_BATCH": _SIZE,
    "SEARCH.PRECISION": one_of("float32", "bfloat16", "float16"),
    "SEARCH.BN_CALIBRATION.NUM_IMAGES": _COUNT,
    "SEARCH.IMAGE_CACHE": _NOT_NEGATIVE,
    "SEARCH.COST_INPUT_SIZE": list_of(_SIZE, "[height, width], pixels of at least 1", length=2),
    "SEARCH.COSTS": _TEXTS,
    "SEARCH.STUDY_NAME": _TEXT,
    "SEARCH.STORAGE_TIMEOUT": _NOT_NEGATIVE,
    "SEARCH.RACING.SHARES": increasing(
        list_of(
            number("", lambda value: 0 < value < 1),
            "shares of archval, numbers above 0 and below 1, one or more",
            least=1,
        )
    ),
    "SEARCH.RACING.CONFIDENCE": number(
        "of at least 0.5 and below 1", lambda value: 0.5 <= value < 1
    ),
    "SEARCH.FINALISTS.NUMBER": _COUNT,
    "SEARCH.FINALISTS.MAX_ITER": _SIZE,
    "SEARCH.FINALISTS.BASE_LR": _POSITIVE,
}


def check_values(cfg: CfgNode) -> None:
    """Check sizes, periods, names and lists of a config, each by itself.

    Raises:
        ValueError: naming the key, its value and what was expected.
    """
    for key, rule in _RULES.items():
        value = reduce(lambda node, name: node[name], key.split("."), cfg)
        _check(key, value, rule)
    for key, value in leaves(cfg):
        if key.endswith(".NORM"):
            _check(key, value, one_of(*_NORMS))
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"{key} is nan; expected a number.")
    _check_combinations(cfg)
    check_device("MODEL.DEVICE", cfg.MODEL.DEVICE)


def _check_combinations(cfg: CfgNode) -> None:
    """Raise ValueError for values that do not go together."""
    channels = 1 if cfg.INPUT.FORMAT == "L" else 3
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        if len(cfg.MODEL[key]) != channels:
            raise ValueError(
                f"MODEL.{key} has {len(cfg.MODEL[key])} numbers, {cfg.MODEL[key]}; expected "
                f"{channels}, one per channel of INPUT.FORMAT {cfg.INPUT.FORMAT}."
            )
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range" and len(cfg.INPUT.MIN_SIZE_TRAIN) != 2:
        raise ValueError(
            f"INPUT.MIN_SIZE_TRAIN is {cfg.INPUT.MIN_SIZE_TRAIN}, but MIN_SIZE_TRAIN_SAMPLING is "
            "'range'; expected two sizes, (least, most)."
        )
    crop = cfg.INPUT.CROP
    if crop.TYPE.startswith("relative") and max(crop.SIZE) > 1:
        raise ValueError(
            f"INPUT.CROP.SIZE is {crop.SIZE}, but INPUT.CROP.TYPE is '{crop.TYPE}'; expected "
            "shares of the image, at most 1."
        )
    if crop.TYPE.startswith("absolute") and not all(type(side) is int for side in crop.SIZE):
        raise ValueError(
            f"INPUT.CROP.SIZE is {crop.SIZE}, but INPUT.CROP.TYPE is '{crop.TYPE}'; expected whole "
            "numbers of pixels."
        )
    if cfg.SOLVER.IMS_PER_BATCH % cfg.SOLVER.GRADIENT_ACCUMULATION:
        raise ValueError(
            f"SOLVER.GRADIENT_ACCUMULATION is {cfg.SOLVER.GRADIENT_ACCUMULATION}; expected a "
            f"divisor of SOLVER.IMS_PER_BATCH, which is {cfg.SOLVER.IMS_PER_BATCH}."
        )
    world_size = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if world_size and cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}; expected a multiple of "
            f"SOLVER.REFERENCE_WORLD_SIZE, which is {world_size}."
        )


def _is_range(value: Any) -> bool:
    return value[0] <= value[1] <= 1


def _check(key: str, value: object, rule: Rule) -> None:
    if not rule.admits(value):
        near = did_you_mean(value, rule.names) if isinstance(value, str) else ""
        raise ValueError(f"{key} is {value!r}; expected {rule.words}.{near}")


def check_device(key: str, name: str) -> None:
    """Raise ValueError for a name that torch does not know as that of a device."""
    try:
        torch.device(name)
    except RuntimeError as error:
        known = ("cpu", "cuda", "cuda:1", "mps")
        raise ValueError(
            f"{key} is '{name}'; expected a device of torch, e.g. {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        ) from error
