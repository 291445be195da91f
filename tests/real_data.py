"""Real images, below DETECTRON2_DATASETS or beside the checkout; tests skip without them."""

import os
from pathlib import Path

import pytest
import toy


def folder(name: str) -> Path:
    """``coco`` in COCO's own layout, or ``bccd`` in VOC's."""
    roots = [os.environ.get("DETECTRON2_DATASETS"), toy.ROOT.parent / "shared" / "data"]
    for root in roots:
        if root and (Path(root) / name).is_dir():
            return (Path(root) / name).resolve()
    pytest.skip(f"DETECTRON2_DATASETS names no folder with {name}/")
