"""Starter configs for a user's own dataset."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["starter_configs"]

# CR-NAS, appendix A.1: epochs, and the epochs after which the learning rate is divided by 10.
_SUPERNET, _NETWORK = (25, 16, 22), (13, 8, 11)
# NATS, section 4.2: epochs of a search, with a cosine schedule.
_CHANNELS = 25
_BATCH = 16
# A small dataset needs more epochs than COCO; this is the minimum number of iterations.
_LEAST = 5000


def starter_configs(
    name: str,
    entries: Mapping[str, tuple[Path, Path]],
    *,
    num_classes: int,
    num_images: Mapping[str, int],
    folder: Path,
    shipped: Path,
) -> dict[Path, str]:
    """Return configs of a stage supernet and a channel search, their baselines and their results.

    Args:
        name: of the dataset; its parts are ``<name>_archtrain`` and so on.
        entries: ``(json file, image folder)`` of archtrain, archval and, if there is one, test.
        num_images: of archtrain and archval.
        folder: the folder of the configs; output goes to ``output`` below it.
        shipped: the root of this project, whose configs these inherit from.

    Returns:
        the text of each config, keyed by its path.
    """
    # The data are listed by absolute path, so that the configs work from any folder.
    folder = Path(os.path.abspath(folder))
    shipped = Path(os.path.relpath(os.path.abspath(shipped), folder))
    inherit, nats = shipped / "configs", shipped / "projects" / "NATS" / "configs"
    listed = "\n".join(
        f"    - {json.dumps([f'{name}_{part}', *map(os.path.abspath, entry)], ensure_ascii=False)}"
        for part, entry in entries.items()
    )
    test = f'("{name}_test",)' if "test" in entries else "()"
    archtrain = num_images["archtrain"]
    both = archtrain + num_images["archval"]
    split = f'''DATASETS:
  TRAIN: ("{name}_archtrain",)
  ARCHVAL: ("{name}_archval",)
  TEST: {test}
'''
    everything = f'''DATASETS:
  TRAIN: ("{name}_archtrain", "{name}_archval")
  TEST: {test}
'''

    data = f"""# The dataset {name}: names, annotations and images of its parts.
MODEL:
  ROI_HEADS:
    NUM_CLASSES: {num_classes}
  RETINANET:
    NUM_CLASSES: {num_classes}
DATASETS:
  COCO_FORMAT:
{listed}
"""

    texts = {folder / "data.yaml": data}

    def config(run: str, comment: str, bases: Sequence[str | Path], *sections: str) -> None:
        files = json.dumps([Path(file).as_posix() for file in bases])
        output = json.dumps(str(folder / "output" / run), ensure_ascii=False)
        text = f"# {comment}\n_BASE_: {files}\n{''.join(sections)}OUTPUT_DIR: {output}\n"
        texts[folder / f"{run}.yaml"] = text

    faster_rcnn = inherit / "Base-RCNN-FPN.yaml"
    resnet50, search = nats / "network" / "R50.yaml", nats / "search" / "Base-search.yaml"
    config(
        "supernet",
        "Train this on archtrain, then search it on archval.",
        [inherit / "supernet-stage-R50.yaml", "data.yaml"],
        *(split, _schedule(archtrain, *_SUPERNET)),
    )
    config(
        "baseline",
        "ResNet-50, on all images but those of the test set.",
        [faster_rcnn, "data.yaml"],
        "MODEL:\n  RESNETS:\n    DEPTH: 50\n  GENOTYPE:\n    DEPTHS: [3, 4, 6, 3]\n",
        *(everything, _schedule(both, *_NETWORK)),
    )
    config(
        "searched",
        "As the baseline, with the network that the search found.",
        ["baseline.yaml", "output/search/genotype.yaml"],
    )
    config(
        "channels",
        "Gradient-based search: train weights on archtrain, the dilations of channels on archval.",
        [faster_rcnn, resnet50, search, "data.yaml"],
        *(split, _cosine(archtrain)),
    )
    config(
        "pretrained",
        "ResNet-50 from its ImageNet weights, on all images but those of the test set.",
        [faster_rcnn, resnet50, "data.yaml"],
        *(everything, _schedule(both, *_NETWORK)),
    )
    config(
        "mixed",
        "As pretrained.yaml, with the dilations that the search found.",
        ["pretrained.yaml", "output/channels/genotype.yaml"],
    )
    return texts


def _schedule(images: int, epochs: int, *steps: int) -> str:
    iterations, solver = _solver(images, epochs, "CR-NAS, appendix A.1")
    milestones = ", ".join(str(round(iterations * step / epochs)) for step in steps)
    return f"{solver}  STEPS: ({milestones})\n"


def _cosine(images: int) -> str:
    _, solver = _solver(images, _CHANNELS, "NATS, section 4.2")
    return f"{solver}  BASE_LR_END: {_BATCH * 0.00005:g}\n"  # per image


def _solver(images: int, epochs: int, source: str) -> tuple[int, str]:
    """Return the number of iterations, and the section ``SOLVER`` with it."""
    paper = round(epochs * images / _BATCH)
    iterations = max(paper, _LEAST)
    why = f"  # {epochs} epochs of {images} images ({source}) are {paper} iterations"
    why += f";\n  # at least {_LEAST} for a small dataset.\n" if paper < _LEAST else ".\n"
    text = f"""SOLVER:
{why}  IMS_PER_BATCH: {_BATCH}
  BASE_LR: 0.02
  MAX_ITER: {iterations}
"""
    return iterations, text
