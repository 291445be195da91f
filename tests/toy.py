"""A detector and a dataset small enough for tests: seconds on a CPU, nothing downloaded."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from PIL import Image
from torch.nn.modules.batchnorm import _BatchNorm

from crnas_d2.config import load_config
from crnas_d2.cost import detector_cost, meta_network

ROOT = Path(__file__).resolve().parent.parent
SUPERNET = ROOT / "configs" / "letters" / "supernet-stage.yaml"
SEARCHED = ROOT / "configs" / "letters" / "Base-letters.yaml"
PRETRAIN = ROOT / "configs" / "letters" / "pretrain-stage.yaml"

RGB = ShapeSpec(channels=3)
CLASSES = ("bright", "dark")
SIZE = 64
SPLITS = {"archtrain": 12, "archval": 8, "test": 6}

# Overrides that make any of the letters configs tiny, whatever its head and its schedule are.
TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 4,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.FPN.NORM": "",
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.CONV_DIMS": [16],
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 128,
    "MODEL.ROI_HEADS.NUM_CLASSES": len(CLASSES),
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 16,
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 0,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
    "MODEL.ROI_BOX_HEAD.NORM": "",
    "MODEL.ANCHOR_GENERATOR.SIZES": [[12], [24], [48], [96], [160]],
    "MODEL.RPN.IOU_THRESHOLDS": [0.3, 0.7],
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 2,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": False,
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[1.0, 1.7]],
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 400,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 200,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 40,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
    "INPUT.MIN_SIZE_TRAIN": (SIZE,),
    "INPUT.MAX_SIZE_TRAIN": SIZE,
    "INPUT.MIN_SIZE_TEST": SIZE,
    "INPUT.MAX_SIZE_TEST": SIZE,
    "SOLVER.REFERENCE_WORLD_SIZE": 0,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.BASE_LR": 0.04,
    "SOLVER.MAX_ITER": 6,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.CLIP_GRADIENTS.ENABLED": True,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "norm",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 5.0,
    "DATALOADER.NUM_WORKERS": 0,
}
# 16 genotypes, of which 6 have 8 blocks: few enough to evaluate, enough to tell apart.
STAGE_SPACE = {
    "MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1, 2], [2, 3], [2, 3]],
    "SEARCH.BUDGET.BLOCKS": [8, 8],
    "SEARCH.IMS_PER_BATCH": 4,
    "SEARCH.BN_CALIBRATION.NUM_IMAGES": 8,
    "SEARCH.COST_INPUT_SIZE": [SIZE, SIZE],
}
ELIGIBLE = [(1, 1, 3, 3), (1, 2, 2, 3), (1, 2, 3, 2), (2, 1, 2, 3), (2, 1, 3, 2), (2, 2, 2, 2)]


def as_list(*overrides: dict) -> list:
    """``KEY, VALUE, ...`` as Detectron2 takes them; later mappings win."""
    merged = {key: value for mapping in overrides for key, value in mapping.items()}
    return [item for pair in merged.items() for item in pair]


def as_arguments(*overrides: dict) -> list[str]:
    """The same for a command line."""
    return [str(item) for item in as_list(*overrides)]


def supernet_config(*overrides: dict):
    """The config of a tiny supernet detector."""
    return load_config(str(SUPERNET), as_list(TINY, STAGE_SPACE, *overrides))


def network_config(*overrides: dict):
    """The config of a tiny detector with one path."""
    return load_config(str(SEARCHED), as_list(TINY, *overrides))


# By its kind of block, what makes a toy ResNet.
RESNETS = {
    "basic": {"MODEL.RESNETS.DEPTH": 34},
    "bottleneck": {"MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.RES2_OUT_CHANNELS": 8},
    "resnext": {
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
        "MODEL.RESNETS.NUM_GROUPS": 4,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 2,
    },
}
# For bodies of the other families, whose names they have.
SMALL_BODIES = {
    "mobilenetv2": {"MODEL.MOBILENETV2.WIDTH_MULT": 0.25},
    "shufflenetv2": {
        "MODEL.SHUFFLENETV2.CHANNELS": [4, 8, 16, 24, 32],
        "MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 2],
    },
}


def body_config(family: str, *overrides: dict):
    """The config of a body without neck and head."""
    body = {"MODEL.SUPERNET.FAMILY": family, "MODEL.BACKBONE.NAME": "build_supernet_backbone"}
    return network_config(body, *overrides)


def build_body(family: str, *overrides: dict):
    return build_backbone(body_config(family, *overrides))


def images(size: int = SIZE) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@contextmanager
def unchanged(module):
    """Check that no weight and no statistic of a module differs afterwards."""
    before = {name: value.clone() for name, value in module.state_dict().items()}
    yield
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def randomize_norms(model) -> None:
    """Weights and statistics that differ from layer to layer, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for name, tensor in module.state_dict().items():
                if "num_batches" not in name:
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)


# For the classifier, on top of TINY.
TINY_CLASSIFIER = {
    "MODEL.CLASSIFIER.NUM_CLASSES": 3,
    "INPUT.CLASSIFICATION.CROP_SIZE": 32,
    "INPUT.CLASSIFICATION.CROP_AREA": [0.5, 1.0],
    "INPUT.CLASSIFICATION.RESIZE_TEST": 40,
    "SEARCH.COST_INPUT_SIZE": [32, 32],
}


def classifier_config(*overrides: dict):
    """The config of a tiny supernet classifier."""
    return load_config(str(PRETRAIN), as_list(TINY, STAGE_SPACE, TINY_CLASSIFIER, *overrides))


def make_image_folder(root: Path, per_class: int, seed: int, classes=("blue", "green", "red")):
    """One colour per class on noise, in ImageNet's layout; images of several sizes."""
    random = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            height, width = random.integers(36, 70, 2)
            pixels = random.integers(60, 120, (height, width, 3))
            pixels[..., 2 - label % 3] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{index}.png")


def make_dataset(folder: Path, name: str, num_images: int, seed: int) -> list[str]:
    """Bright and dark rectangles on noise, as a COCO JSON and image files.

    Returns:
        ``[name, json file, image folder]``, an entry of ``DATASETS.COCO_FORMAT``.
    """
    random = np.random.default_rng(seed)
    image_root = folder / name
    image_root.mkdir(parents=True)
    images, annotations = [], []
    for index in range(num_images):
        pixels = random.integers(90, 150, (SIZE, SIZE, 3))
        for _ in range(int(random.integers(1, 3))):
            width, height = (int(side) for side in random.integers(14, 40, 2))
            x, y = int(random.integers(0, SIZE - width)), int(random.integers(0, SIZE - height))
            label = int(random.integers(len(CLASSES)))
            pixels[y : y + height, x : x + width] = (230, 20)[label]
            box = (x, y, width, height)
            annotations.append(annotation(len(annotations) + 1, index + 1, label + 1, *box))
        file_name = f"{index:03d}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(image_root / file_name)
        images.append({"id": index + 1, "file_name": file_name, "width": SIZE, "height": SIZE})
    categories = [{"id": i, "name": label} for i, label in enumerate(CLASSES, start=1)]
    json_file = folder / f"{name}.json"
    write_json(json_file, images, annotations, categories)
    return [name, str(json_file), str(image_root)]


def annotation(number, image_id, category_id, x, y, width, height) -> dict:
    owners = {"id": number, "image_id": image_id, "category_id": category_id}
    return {**owners, "bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}


def polygon(box) -> list[int]:
    """The corners of ``[x, y, width, height]``, as COCO's polygons."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def write_json(path: Path, images: list, annotations: list, categories: list) -> None:
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))


def detector_macs(cfg, *arguments, **keywords):
    """The MACs of each part of the one network that a config builds."""
    costs = detector_cost(meta_network(cfg), *arguments, **keywords)
    return {part: cost.macs for part, cost in costs.items()}
