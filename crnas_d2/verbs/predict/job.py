"""Detections of a trained network on images and videos: pictures, and a file in COCO's format."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec as find_module
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from PIL import Image

from crnas_d2.common.errors import JobError, invalid
from crnas_d2.common.files import check_new_folder, whole_folder
from crnas_d2.common.progress import progress_bar
from crnas_d2.config.architectures import detectors, find_architecture
from crnas_d2.data import ClassNames, ImageError
from crnas_d2.data.images.pictures import Picture, find_pictures
from crnas_d2.runs.loaded_network import load_network

from .detector import Detector
from .videos import VideoReader, VideoWriter

logger = logging.getLogger(__name__)

PREDICTIONS, LIST, PICTURES = "predictions.json", "images.json", "pictures"
_DRAWN_AS = (".jpeg", ".jpg", ".png", ".webp")  # other images are drawn as PNG


@dataclass
class Prediction:
    """Detections on images."""

    classes: ClassNames
    # {"id", "file_name", "width", "height"}, in pixels; of a video also "frame", from 0 on.
    images: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)  # in COCO's format
    skipped: list[str] = field(default_factory=list)  # a sentence for each unreadable image

    def add(self, entry: dict[str, Any], image: np.ndarray, instances: Instances) -> None:
        """Add an image, which ``entry`` names, and its detections."""
        number, (height, width) = len(self.images) + 1, image.shape[:2]
        self.images.append({"id": number, **entry, "width": width, "height": height})
        for result in instances_to_coco_json(instances, number):
            category = self.classes.ids[result["category_id"]]
            self.results.append({**result, "category_id": category})

    def write(self, folder: Path) -> None:
        """Write both JSON files."""
        pairs = zip(self.classes.ids, self.classes.names, strict=True)
        categories = [{"id": number, "name": name} for number, name in pairs]
        listed = {"images": self.images, "categories": categories}
        (folder / LIST).write_text(json.dumps(listed, indent=1))
        (folder / PREDICTIONS).write_text(json.dumps(self.results))


def run_prediction(
    cfg: CfgNode,
    inputs: Sequence[str],
    output: str,
    *,
    folder: str | None = None,
    score_threshold: float = 0.5,
    with_pictures: bool = True,
    overwrite: bool = False,
) -> Prediction:
    """Detect objects in images and videos; write ``predictions.json``, ``images.json``, pictures.

    ``predictions.json`` has results in COCO's format, with the category ids of the training's
    dataset; ``images.json`` the images and categories. Images that cannot be read are skipped.

    Args:
        cfg: of :func:`~crnas_d2.runs.loaded_network.network_config`.
        inputs: images, folders with images, and videos.
        folder: the run or exported folder of the config, if it has one.
        score_threshold: from 0 to 1; detections below are neither drawn nor written. The network
            itself gives none below its ``SCORE_THRESH_TEST``.
        with_pictures: whether to draw. Drawing and videos need OpenCV.

    After a JobError or ValueError, which says what to do, nothing is written.
    """
    if not 0 <= score_threshold <= 1:
        raise invalid("--score-threshold", score_threshold, "0 to 1")
    if not find_architecture(cfg).detects:
        name, expected = cfg.MODEL.META_ARCHITECTURE, f"one of {', '.join(detectors())}"
        but = "it is not known to detect objects"
        raise invalid("MODEL.META_ARCHITECTURE", name, expected, but=but)
    pictures = find_pictures(inputs)
    above = Path(output).resolve().parents
    for path in inputs:
        if Path(path).resolve() in above:
            raise ValueError(
                f"--output {output} lies in the input {path}, whose next prediction would read the "
                "drawn pictures: choose another folder."
            )
    check_new_folder(output, PREDICTIONS, overwrite=overwrite, inputs=inputs)
    if find_module("cv2") is None:
        video = next((picture.file for picture in pictures if picture.is_video), None)
        install = "with OpenCV, which is not installed: pip install 'crnas-d2[predict]'"
        if video is not None:
            raise ValueError(f"The video {video} is read {install}.")
        if with_pictures:
            raise ValueError(f"Pictures are drawn {install}, or add --no-pictures.")
    network = load_network(cfg)
    detector, prediction = Detector(network, score_threshold), Prediction(network.classes)
    with whole_folder(output) as unfinished:
        drawn = unfinished / PICTURES if with_pictures else None
        _predict_all(detector, pictures, prediction, drawn)
        if not prediction.images:
            raise JobError(f"None of the inputs can be read. {prediction.skipped[0]}")
        prediction.write(unfinished)
    for sentence in prediction.skipped:
        logger.warning("Skipped: %s", sentence)
    return prediction


def _predict_all(
    detector: Detector, pictures: Sequence[Picture], prediction: Prediction, drawn: Path | None
) -> None:
    """Add the detections of all pictures; draw them in the folder ``drawn``, if there is one."""
    files = _drawn_files(pictures)
    with progress_bar(total=len(pictures), unit="img", desc="Predicting") as bar:
        for picture in pictures:
            images: Iterable[np.ndarray]
            video = None
            try:
                if picture.is_video:
                    video = VideoReader(picture.file)
                    images = map(detector.from_bgr, video)
                    bar.total = (bar.total or 0) + max(1, video.count) - 1
                else:
                    images = [detector.read(picture.file)]
            except ImageError as error:
                prediction.skipped.append(str(error))
                bar.update()
                continue
            file = drawn / files[picture.name] if drawn is not None else None
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
            writer = VideoWriter(file, video.rate) if file and video else None
            for number, image in enumerate(images):
                instances = detector(image)
                if writer is not None:
                    writer.write(detector.draw(image, instances))
                elif file is not None:
                    Image.fromarray(detector.draw(image, instances)).save(file)
                frame = {"frame": number} if video is not None else {}
                prediction.add({"file_name": picture.name, **frame}, image, instances)
                bar.update()
            if writer is not None:
                writer.close()


def _drawn_files(pictures: Sequence[Picture]) -> dict[str, str]:
    """Return the name of the drawn file of each picture, by its name; no two have the same."""
    kinds = {p.name: ((".mp4",), ".mp4") if p.is_video else (_DRAWN_AS, ".png") for p in pictures}
    drawn = {name: name for name, (usual, _) in kinds.items() if name.lower().endswith(usual)}
    for name, (_, suffix) in kinds.items():
        if name not in drawn:
            numbered = (f"{name}-{number}{suffix}" for number in count(2))
            taken = set(drawn.values())
            drawn[name] = next(n for n in chain([name + suffix], numbered) if n not in taken)
    return drawn
