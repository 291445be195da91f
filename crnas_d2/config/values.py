"""The values that a config may hold, checked before anything is built from them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode

from crnas_d2.common.digests import text_digest
from crnas_d2.common.errors import invalid
from crnas_d2.common.plain_yaml import is_list

from .entries import leaves


@dataclass(frozen=True)
class Rule:
    """What is expected of a value, in words and as a check; or one of some names."""

    words: str
    admits: Callable[[Any], bool]
    names: tuple[str, ...] = ()


def _whole(least: int, most: float = math.inf) -> Rule:
    words = f"a whole number of at least {least}"
    words += f" and at most {most}" if most < math.inf else ""
    return Rule(words, lambda v: type(v) is int and least <= v <= most)  # bool is an int in Python


def _number(words: str, admits: Callable[[float], bool]) -> Rule:
    """Expect a finite number; ``words`` follow "a number" and say what is admitted."""

    def is_one(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and admits(value)

    return Rule(f"a number {words}".strip(), is_one)


def _list_of(each: Rule, words: str, *, least: int = 0, length: int | None = None) -> Rule:
    """Expect a list or tuple of a least or a fixed length."""

    def admits(value: Any) -> bool:
        if not is_list(value) or len(value) < least or len(value) != (length or len(value)):
            return False
        return all(map(each.admits, value))

    return Rule(words, admits)


def _increasing(rule: Rule) -> Rule:
    """Expect in addition that each item of a list is greater than the one before."""
    words = f"{rule.words}, in increasing order"
    return Rule(words, lambda v: rule.admits(v) and list(v) == sorted(set(v)))


def _one_of(*names: str) -> Rule:
    return Rule(f"one of {', '.join(map(repr, names))}", names.__contains__, names)


_ANY = _number("", lambda value: True)
_POSITIVE = _number("above 0", lambda value: value > 0)
_NOT_NEGATIVE = _number("of at least 0", lambda value: value >= 0)
_SHARE = _number("from 0 to 1", lambda value: 0 <= value <= 1)
_COUNT, _SIZE = _whole(0), _whole(1)
_TEXT = Rule("text", lambda value: isinstance(value, str) and bool(value.strip()))
_BOX_WEIGHTS = _list_of(_POSITIVE, "4 numbers above 0", length=4)
_PAIR = _list_of(_ANY, "", length=2)
_AREA = _list_of(_POSITIVE, "", length=2)
_NORM = _one_of(
    *("BN", "SyncBN", "FrozenBN", "GN", "LN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "")
)
_NAMES, _PAIR = _list_of(_TEXT, "", length=2), _list_of(_ANY, "", length=2)
_SHARES = _list_of(_SHARE, "numbers from 0 to 1")


# "A.B: C D" stands for A.B.C and A.B.D.
_RULES: dict[str, Rule] = {
    """
        VIS_PERIOD  MODEL.BACKBONE: FREEZE_AT
        MODEL.ROI_BOX_HEAD: POOLER_SAMPLING_RATIO NUM_FC NUM_CONV  MODEL.RETINANET: NUM_CONVS
        MODEL.SUPERNET.CHANNEL: CHANNELS_PER_GROUP  INPUT: MIN_SIZE_TEST  DATALOADER: NUM_WORKERS
        SOLVER: WARMUP_ITERS CHECKPOINT_MAX_TO_KEEP REFERENCE_WORLD_SIZE  TEST: EVAL_PERIOD
        SEARCH.BN_CALIBRATION: NUM_IMAGES IMS_PER_BATCH  SEARCH.FINALISTS: NUMBER
        """: _COUNT,
    """
        MODEL.FPN: OUT_CHANNELS  MODEL.ROI_KEYPOINT_HEAD: NUM_KEYPOINTS
        MODEL.SEM_SEG_HEAD: NUM_CLASSES  MODEL.ROI_HEADS: NUM_CLASSES BATCH_SIZE_PER_IMAGE
        MODEL.RPN: BATCH_SIZE_PER_IMAGE PRE_NMS_TOPK_TRAIN PRE_NMS_TOPK_TEST POST_NMS_TOPK_TRAIN
        POST_NMS_TOPK_TEST  MODEL.NAS_FPN: NUM_STACKS  MODEL.CLASSIFIER: NUM_CLASSES
        MODEL.ROI_BOX_HEAD: POOLER_RESOLUTION FC_DIM CONV_DIM
        MODEL.RETINANET: NUM_CLASSES TOPK_CANDIDATES_TEST  MODEL.SUPERNET.CHANNEL: NUM_GROUPS
        MODEL.RESNETS: DEPTH NUM_GROUPS WIDTH_PER_GROUP RES2_OUT_CHANNELS STEM_OUT_CHANNELS
        INPUT: MAX_SIZE_TRAIN MAX_SIZE_TEST  INPUT.CLASSIFICATION: CROP_SIZE RESIZE_TEST
        SOLVER: MAX_ITER CHECKPOINT_PERIOD IMS_PER_BATCH GRADIENT_ACCUMULATION
        TEST.AUG: MAX_SIZE  TEST.PRECISE_BN: NUM_ITER  SEARCH: IMS_PER_BATCH
        SEARCH.FINALISTS: MAX_ITER
        """: _SIZE,
    """
        MODEL.RPN: POSITIVE_FRACTION NMS_THRESH
        MODEL.ROI_HEADS: POSITIVE_FRACTION SCORE_THRESH_TEST NMS_THRESH_TEST
        MODEL.RETINANET: SCORE_THRESH_TEST NMS_THRESH_TEST
        MODEL.CLASSIFIER: LABEL_SMOOTHING  SOLVER: MOMENTUM  SEARCH.BN_CALIBRATION: WEIGHT
        """: _SHARE,
    """
        SOLVER: BASE_LR GAMMA  SOLVER.CLIP_GRADIENTS: CLIP_VALUE  SOLVER.ALPHA: BASE_LR
        SEARCH.FINALISTS: BASE_LR
        """: _POSITIVE,
    """
        DATALOADER: REPEAT_THRESHOLD IMAGE_CACHE  SEARCH: IMAGE_CACHE STORAGE_TIMEOUT
        SOLVER: BASE_LR_END WEIGHT_DECAY WEIGHT_DECAY_NORM WARMUP_FACTOR
        SOLVER.ALPHA: WEIGHT_DECAY
        """: _NOT_NEGATIVE,
    """
        MODEL.FPN: IN_FEATURES  MODEL.RPN: IN_FEATURES  MODEL.ROI_HEADS: IN_FEATURES
        MODEL.RETINANET: IN_FEATURES  MODEL.RESNETS: OUT_FEATURES
        MODEL.MOBILENETV2: OUT_FEATURES  MODEL.SHUFFLENETV2: OUT_FEATURES
        MODEL.EFFICIENTNET_LITE: OUT_FEATURES  MODEL.SUPERNET.CHANNEL: STAGES  SEARCH: COSTS
        """: _list_of(_TEXT, "a list of names"),
    """
        MODEL.RPN: BBOX_REG_WEIGHTS  MODEL.ROI_BOX_HEAD: BBOX_REG_WEIGHTS
        MODEL.RETINANET: BBOX_REG_WEIGHTS
        """: _BOX_WEIGHTS,
    """
        MODEL.RPN: BBOX_REG_LOSS_TYPE  MODEL.ROI_BOX_HEAD: BBOX_REG_LOSS_TYPE
        MODEL.RETINANET: BBOX_REG_LOSS_TYPE
        """: _one_of("smooth_l1", "giou", "diou", "ciou"),
    "SEARCH: STUDY_NAME": _TEXT,
    "VERSION": Rule("2, the version of Detectron2's keys", lambda value: value == 2),
    "OUTPUT_DIR": Rule("the path of a folder", lambda value: bool(str(value).strip())),
    # A process seeds numpy with SEED + its rank, which must stay below 2**32.
    "SEED": _whole(-(2**63), 2**32 - 2**16),
    "MODEL: PIXEL_MEAN": _list_of(_ANY, "a number for each channel of an image", least=1),
    "MODEL: PIXEL_STD": _list_of(_POSITIVE, "numbers above 0, one for each channel", least=1),
    "MODEL.ANCHOR_GENERATOR: SIZES ASPECT_RATIOS": _list_of(
        _list_of(_POSITIVE, "", least=1), "a list of lists of numbers above 0", least=1
    ),
    "MODEL.RPN: IOU_THRESHOLDS  MODEL.ROI_HEADS: IOU_THRESHOLDS": _SHARES,
    "MODEL.ROI_BOX_CASCADE_HEAD: IOUS": _list_of(_SHARE, "numbers from 0 to 1", least=1),
    "MODEL.ROI_BOX_CASCADE_HEAD: BBOX_REG_WEIGHTS": _list_of(
        _BOX_WEIGHTS, "4 numbers above 0 for each stage", least=1
    ),
    "MODEL.RPN: CONV_DIMS": _list_of(
        Rule("", lambda value: value == -1 or _SIZE.admits(value)),
        "channels of at least 1 or, for those of the features, -1",
        least=1,
    ),
    "MODEL.ROI_BOX_HEAD: POOLER_TYPE": _one_of("ROIAlign", "ROIAlignV2", "ROIPool"),
    "MODEL.FPN: FUSE_TYPE": _one_of("sum", "avg"),
    "MODEL.SUPERNET: STAGE_OPTIONS": _list_of(
        _list_of(_ANY, ""),
        "a list of numbers of blocks for each stage, e.g. [[2, 3], [3, 4], [5, 6], [2, 3]]; or []",
    ),
    "INPUT: MIN_SIZE_TRAIN  TEST.AUG: MIN_SIZES": _list_of(
        _SIZE, "whole numbers of at least 1, one or more", least=1
    ),
    "INPUT: MIN_SIZE_TRAIN_SAMPLING": _one_of("choice", "range"),
    "INPUT: RANDOM_FLIP": _one_of("horizontal", "vertical", "none"),
    "INPUT: FORMAT": _one_of("BGR", "RGB", "L", "YUV-BT.601"),
    "INPUT: DEPTH_RANGE": Rule(
        "[] or [LOW, HIGH], two numbers of which the second is larger",
        lambda value: value in ([], ()) or (_PAIR.admits(value) and value[0] < value[1]),
    ),
    "INPUT: MASK_FORMAT": _one_of("polygon", "bitmask"),
    "INPUT.CROP: TYPE": _one_of("relative_range", "relative", "absolute", "absolute_range"),
    "INPUT.CROP: SIZE": _list_of(_POSITIVE, "two numbers above 0, (height, width)", length=2),
    "INPUT.CLASSIFICATION: CROP_AREA": Rule(
        "[least, most], shares of the area above 0 and at most 1",
        lambda value: _AREA.admits(value) and value[0] <= value[1] <= 1,
    ),
    "DATASETS: TRAIN TEST ARCHVAL": _list_of(
        _TEXT, "names of datasets, like '(\"coco_2017_train\",)'"
    ),
    "DATASETS: COCO_FORMAT": _list_of(
        _list_of(_TEXT, "", length=3), "a list of [name, json file, image folder]"
    ),
    "DATASETS: IMAGE_FOLDERS": _list_of(_NAMES, "a list of [name, folder]"),
    "DATALOADER: SAMPLER_TRAIN": _one_of(
        "TrainingSampler", "RepeatFactorTrainingSampler", "RandomSubsetTrainingSampler"
    ),
    "SOLVER: WEIGHT_DECAY_BIAS": Rule(
        "a number of at least 0, or null", lambda v: v is None or _NOT_NEGATIVE.admits(v)
    ),
    "SOLVER: STEPS": _increasing(_list_of(_COUNT, "iterations, whole numbers of at least 0")),
    "SOLVER.AMP: PRECISION": _one_of("float16", "bfloat16"),
    "SOLVER.CLIP_GRADIENTS: CLIP_TYPE": _one_of("value", "norm"),
    "TEST: DETECTIONS_PER_IMAGE": Rule(
        "a whole number of at least 1, or -1 for all", lambda v: _SIZE.admits(v) or v == -1
    ),
    "TEST: KEYPOINT_OKS_SIGMAS": _list_of(_POSITIVE, "numbers above 0, one for each key point"),
    "TEST: EXPECTED_RESULTS": _list_of(
        Rule("", lambda v: is_list(v) and _NAMES.admits(v[:2]) and _PAIR.admits(v[2:])),
        "a list of [task, metric, value, tolerance], e.g. [['bbox', 'AP', 38.5, 0.2]]",
    ),
    "SEARCH: IMAGE_SIZES": Rule(
        "different shorter sides, whole numbers of pixels, e.g. [800, 704, 608]; or []",
        lambda v: is_list(v) and all(map(_SIZE.admits, v)) and len(set(v)) == len(v),
    ),
    "SEARCH: PRECISION": _one_of("float32", "bfloat16", "float16"),
    "SEARCH: COST_INPUT_SIZE": _list_of(
        Rule("", lambda value: _SIZE.admits(value) and value <= 10**6),
        "[height, width], pixels of at least 1 and at most 1000000",
        length=2,
    ),
    "SEARCH.RACING: SHARES": _increasing(
        _list_of(
            _number("", lambda value: 0 < value < 1),
            "shares of archval, numbers above 0 and below 1, one or more",
            least=1,
        )
    ),
    "SEARCH.RACING: CONFIDENCE": _number(
        "of at least 0.5 and below 1", lambda value: 0.5 <= value < 1
    ),
}


_RULE_OF: dict[str, Rule] = {}
for _keys, _rule in _RULES.items():
    _section = ""
    for _word in _keys.split():
        if _word.endswith(":"):
            _section = _word.replace(":", ".")
        else:
            _RULE_OF[_section + _word] = _rule
_CHECKED: set[str] = set()  # digests of the configs that were found right


def check_values(cfg: CfgNode) -> None:
    """Raise ValueError for wrong sizes, periods, names and lists; check each content once."""
    content = text_digest(repr(cfg), 64)
    if content in _CHECKED:
        return
    values = dict(leaves(cfg))
    norms = {key: _NORM for key in values if key.endswith(".NORM")}
    for key, rule in (_RULE_OF | norms).items():
        value = values[key]
        if not rule.admits(value):
            known = rule.names if isinstance(value, str) else ()
            raise invalid(key, value, rule.words, known=known)
    for key, value in values.items():
        if isinstance(value, float) and math.isnan(value):
            raise invalid(key, value, "a number")
    for key, value, expected, but in _wrong_combinations(cfg):
        raise invalid(key, value, expected, but=but)
    check_device("MODEL.DEVICE", cfg.MODEL.DEVICE)
    _CHECKED.add(content)


def _wrong_combinations(cfg: CfgNode) -> Iterator[tuple[str, object, str, str]]:
    """Yield values, right each, that do not go together: key, value, expected, and what differs."""
    inputs, solver, crop = cfg.INPUT, cfg.SOLVER, cfg.INPUT.CROP
    channels = 1 if inputs.FORMAT == "L" else 3
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        expected = f"{channels} numbers, one per channel of INPUT.FORMAT {inputs.FORMAT}"
        if len(cfg.MODEL[key]) != channels:
            yield f"MODEL.{key}", cfg.MODEL[key], expected, ""
    found_at, size = cfg.MODEL.GENOTYPE.IMAGE_SIZE, inputs.MIN_SIZE_TEST
    if found_at and list(found_at) != [size]:
        expected = "put genotype.yaml last in _BASE_, or set the other to []"
        but = f"MODEL.GENOTYPE.IMAGE_SIZE is {list(found_at)}"
        yield "INPUT.MIN_SIZE_TEST", size, f"the size of the genotype ({expected})", but
    if cfg.SEARCH.IMAGE_SIZES and not size:
        but = "SEARCH.IMAGE_SIZES scales it"
        yield "INPUT.MIN_SIZE_TEST", size, "a size of at least 1", but
    sizes, expected = inputs.MIN_SIZE_TRAIN, "two sizes, (least, most)"
    if inputs.MIN_SIZE_TRAIN_SAMPLING == "range" and len(sizes) != 2:
        yield "INPUT.MIN_SIZE_TRAIN", sizes, expected, "MIN_SIZE_TRAIN_SAMPLING is 'range'"
    is_type = f"INPUT.CROP.TYPE is '{crop.TYPE}'"
    if crop.TYPE.startswith("relative") and max(crop.SIZE) > 1:
        yield "INPUT.CROP.SIZE", crop.SIZE, "shares of the image, at most 1", is_type
    if crop.TYPE.startswith("absolute") and not all(type(side) is int for side in crop.SIZE):
        yield "INPUT.CROP.SIZE", crop.SIZE, "whole numbers of pixels", is_type
    images, parts = solver.IMS_PER_BATCH, solver.GRADIENT_ACCUMULATION
    processes, of = solver.REFERENCE_WORLD_SIZE, "SOLVER.IMS_PER_BATCH"
    if images % parts:
        yield "SOLVER.GRADIENT_ACCUMULATION", parts, f"a divisor of {of}, which is {images}", ""
    if processes and images % processes:
        expected = f"a multiple of SOLVER.REFERENCE_WORLD_SIZE, which is {processes}"
        yield of, images, expected, ""


def check_device(key: str, name: str) -> None:
    """Raise ValueError for a name that torch does not know as that of a device."""
    known = ("cpu", "cuda", "cuda:1", "mps")
    try:
        torch.device(name)
    except RuntimeError as error:
        expected = f"a device of torch, e.g. {', '.join(known)}"
        raise invalid(key, name, expected, known=known) from error
