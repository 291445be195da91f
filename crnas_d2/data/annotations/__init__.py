"""Annotations in COCO's format: their parts and faults, images that belong together, splits."""
