"""Layouts of datasets, as labelling tools write them: recognized, and read as parts in COCO form.

A reader finds images by name (:mod:`.folder`) and collects objects and findings
(:mod:`.collector`, :mod:`.shapes`); :mod:`.layout` is the door to it.
"""

from . import coco, cvat, label_studio, labelme, via, voc, yolo  # noqa: F401  (registration)
from .layout import LAYOUT_REGISTRY, Layout, find_layout

__all__ = ["LAYOUT_REGISTRY", "Layout", "find_layout"]
