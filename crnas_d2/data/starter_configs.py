"""Configs to start from for a dataset of one's own."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["starter_configs"]

# CR-NAS, appendix A.1: epochs, and the epochs after which the learning rate is divided by 10.
_SUPERNET, _NETWORK = (25, 16, 22), (13, 8, 11)
_BATCH = 16
# A small dataset needs more epochs than COCO; this is the least number of iterations.
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
    """Configs of a stage supernet, of its baseline and of the network that a search will find.

    Args:
        name: of the dataset; its parts are ``<name>_archtrain`` and so on.
        entries: ``(json file, image folder)`` of archtrain, archval and, if there is one, test.
        num_images: of archtrain and archval.
        folder: where the configs will lie; output goes to ``output`` below it.
        shipped: the folder with this project's configs, which these inherit from.

    Returns:
        text by path.
    """
    # The files of the data by absolute path: the configs work from any folder.
    folder = Path(os.path.abspath(folder))
    inherit = Path(os.path.relpath(os.path.abspath(shipped), folder))
    listed = "\n".join(
        f"    - {json.dumps([f'{name}_{part}', *map(os.path.abspath, entry)], ensure_ascii=False)}"
        for part, entry in entries.items()
    )
    test = f'("{name}_test",)' if "test" in entries else "()"
    archtrain = num_images["archtrain"]
    both = archtrain + num_images["archval"]

    def base(*files: str | Path) -> str:
        return f"_BASE_: {json.dumps([Path(file).as_posix() for file in files])}\n"

    def output(run: str) -> str:
        return f"OUTPUT_DIR: {json.dumps(str(folder / 'output' / run), ensure_ascii=False)}\n"

    return {
        folder / "data.yaml": f"""# The dataset {name}: names, annotations and images of its parts.
MODEL:
  ROI_HEADS:
    NUM_CLASSES: {num_classes}
  RETINANET:
    NUM_CLASSES: {num_classes}
DATASETS:
  COCO_FORMAT:
{listed}
""",
        folder / "supernet.yaml": f"""# Train this on archtrain, then search it on archval.
{base(inherit / "supernet-stage-R50.yaml", "data.yaml")}DATASETS:
  TRAIN: ("{name}_archtrain",)
  ARCHVAL: ("{name}_archval",)
  TEST: {test}
{_schedule(archtrain, *_SUPERNET)}{output("supernet")}""",
        folder / "baseline.yaml": f"""# ResNet-50, on all images but those of the test set.
{base(inherit / "Base-RCNN-FPN.yaml", "data.yaml")}MODEL:
  RESNETS:
    DEPTH: 50
  GENOTYPE:
    DEPTHS: [3, 4, 6, 3]
DATASETS:
  TRAIN: ("{name}_archtrain", "{name}_archval")
  TEST: {test}
{_schedule(both, *_NETWORK)}{output("baseline")}""",
        folder / "searched.yaml": f"""# As the baseline, with the network that the search has found.
{base("baseline.yaml", "output/search/genotype.yaml")}{output("searched")}""",
    }


def _schedule(images: int, epochs: int, *steps: int) -> str:
    paper = round(epochs * images / _BATCH)
    iterations = max(paper, _LEAST)
    milestones = ", ".join(str(round(iterations * step / epochs)) for step in steps)
    why = f"  # {epochs} epochs of {images} images (CR-NAS, appendix A.1) are {paper} iterations"
    why += f";\n  # {_LEAST} at least, for a small dataset.\n" if paper < _LEAST else ".\n"
    return f"""SOLVER:
{why}  IMS_PER_BATCH: {_BATCH}
  BASE_LR: 0.02
  MAX_ITER: {iterations}
  STEPS: ({milestones})
"""
