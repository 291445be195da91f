"""Inference of detectors with tensor operations for all images of a batch at once.

Detectron2's heads loop over images and levels, and decode every anchor; on small networks that
takes more time than the convolutions. Here only what is kept is decoded. Results are those of
Detectron2, in the same order.
"""

from .detectors import batched_inference

__all__ = ["batched_inference"]
