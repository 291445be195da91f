"""A network that detects objects in images as they are read, and draws them."""

from colorsys import hsv_to_rgb
from pathlib import Path

import numpy as np
import torch
from detectron2.data import detection_utils
from detectron2.data.catalog import Metadata
from detectron2.data.transforms import AugInput, AugmentationList
from detectron2.structures import Instances
from PIL import Image

from crnas_d2.data.images.files import judge_alpha
from crnas_d2.data.images.pixels import THIN, WIDEN, ImageError, read_pixels, vanishes
from crnas_d2.runs.loaded_network import LoadedNetwork

_LEAST = 640  # pixels of the longer side, so that labels can be read
_GOLDEN = 0.618034  # of the circle of hues, so that classes with near numbers differ most


class Detector:
    """A network that takes images as they are read.

    Detections below ``score_threshold`` are left out.
    """

    def __init__(self, network: LoadedNetwork, score_threshold: float):
        self.network = network
        self.format = network.cfg.INPUT.FORMAT
        self.augmentation = AugmentationList(
            detection_utils.build_augmentation(network.cfg, is_train=False)
        )
        self.score_threshold = score_threshold

    def read(self, file: Path) -> np.ndarray:
        """Read an image file as training does, (H, W, C) of ``INPUT.FORMAT``.

        Raises:
            ImageError: it cannot be read, resizing leaves no pixel of it, or all that differs in it
                is the alpha channel.
        """
        inputs = self.network.cfg.INPUT
        image = read_pixels(file, inputs.FORMAT, inputs.DEPTH_RANGE)
        height, width = image.shape[:2]
        if vanishes(width, height, inputs.MIN_SIZE_TEST, inputs.MAX_SIZE_TEST):
            raise ImageError(f"The image {file} cannot be used: {THIN}; {WIDEN}.")
        if (image == image[0, 0]).all() and judge_alpha(Image.open(file))[1]:
            why = "its picture is in the alpha channel, which networks do not see"
            raise ImageError(f"The image {file} cannot be used: {why}; paint it on a background.")
        return image

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> Instances:
        """Detect objects in an image (H, W, C) of ``INPUT.FORMAT``; the result is on the CPU."""
        height, width = image.shape[:2]
        augmented = AugInput(image)
        self.augmentation(augmented)
        pixels = torch.as_tensor(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        [output] = self.network.model([{"image": pixels, "height": height, "width": width}])
        instances = output["instances"].to("cpu")
        return instances[instances.scores >= self.score_threshold]

    def from_bgr(self, frame: np.ndarray) -> np.ndarray:
        """Turn a frame of a video into ``INPUT.FORMAT``, as Detectron2 reads images."""
        if self.format == "BGR":
            return frame
        return detection_utils.convert_PIL_to_numpy(Image.fromarray(frame[:, :, ::-1]), self.format)

    def draw(self, image: np.ndarray, instances: Instances) -> np.ndarray:
        """Draw boxes, masks and key points with the names and scores of their classes.

        Args:
            image: (H, W, C) of ``INPUT.FORMAT``; a grey one stays grey.

        Returns RGB, (H', W', 3), enlarged to a longer side of at least 640 pixels.
        """
        # Needs OpenCV, which only those who draw have to install.
        from detectron2.utils.visualizer import GenericMask, Visualizer
        from matplotlib import rc_context

        names = self.network.classes.names
        height, width = image.shape[:2]
        scale = max(1.0, _LEAST / max(height, width))
        rgb = detection_utils.convert_image_to_rgb(image, self.format)
        drawn = Visualizer(rgb, Metadata(thing_classes=list(names)), scale=scale)
        boxes, classes = instances.pred_boxes.tensor.numpy(), instances.pred_classes.tolist()
        # One colour per class, in all images.
        colours = [hsv_to_rgb(index * _GOLDEN % 1, 0.85, 1.0) for index in classes]
        masks = None
        if instances.has("pred_masks"):
            masks = [GenericMask(mask, height, width) for mask in instances.pred_masks.numpy()]
        points = instances.pred_keypoints if instances.has("pred_keypoints") else None
        drawn.overlay_instances(
            boxes=boxes, masks=masks, keypoints=points, assigned_colors=colours, alpha=0.4
        )
        # Visualizer's own labels are too small to read in small images. Times scale in the output.
        size = min(20, max(12, scale * max(height, width) / 50)) / scale
        scores = instances.scores.tolist()
        for box, index, score, colour in zip(boxes, classes, scores, colours, strict=True):
            left, top = np.clip(box[:2], 0, (width - 1, height - 1))
            above = top - 1.8 * size
            place = (left, above if above >= 0 else top)
            text = f"{names[index]} {100 * score:.0f}%"
            with rc_context({"text.parse_math": False}):  # a $ in a name is no formula
                label = {"color": colour, "horizontal_alignment": "left"}
                drawn.draw_text(text, place, font_size=size, **label)
        return drawn.output.get_image()
