"""Annotations: reading COCO and VOC files, splitting them, and their faults."""
