"""Detections of a trained network on images and videos: pictures, and a file in COCO's format."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec as find_module
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.detection_utils import build_augmentation, convert_PIL_to_numpy
from detectron2.data.transforms import AugInput, AugmentationList
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from PIL import Image
from tqdm import tqdm

from crnas_d2.common.errors import JobError, invalid
from crnas_d2.common.files import check_new_folder, whole_folder
from crnas_d2.common.progress import progress_bar
from crnas_d2.config.architectures import detectors, find_architecture
from crnas_d2.data import ImageError
from crnas_d2.data.images.pictures import Picture, find_pictures, read_picture
from crnas_d2.runs.loaded_network import LoadedNetwork, load_network

from .drawn_detections import draw_detections
from .videos import VideoReader, VideoWriter

logger = logging.getLogger(__name__)

PREDICTIONS, LIST, PICTURES = "predictions.json", "images.json", "pictures"
_DRAWN_AS = (".jpeg", ".jpg", ".png", ".webp")  # other images are drawn as PNG


@dataclass
class Prediction:
    """What was predicted.

    Attributes:
        images: ``{"id", "file_name", "width", "height"}`` each, sizes in pixels; a frame of a video
            also has ``"frame"``, from 0 on.
        results: detections in COCO's format.
        skipped: a sentence for each image that cannot be read.
    """

    images: list[dict] = field(default_factory=list)
    results: list[dict] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


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

    ``predictions.json`` is a list of results in COCO's format, with the category ids of the
    dataset of the training. ``images.json`` is COCO's file of the images and categories, without
    annotations. Images that cannot be read are skipped, and named at the end.

    Args:
        cfg: of :func:`~crnas_d2.jobs.network_config`.
        inputs: images, folders with images, and videos.
        output: a new folder.
        folder: the run or exported folder of the config, if it has one.
        score_threshold: from 0 to 1; detections below are neither drawn nor written. The network
            itself gives none below its ``SCORE_THRESH_TEST``.
        with_pictures: whether to draw. Drawing and videos need OpenCV.
        overwrite: replace the folder of earlier predictions.

    Raises:
        JobError, ValueError: with what is wrong and what to do; then nothing is written.
    """
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"--score-threshold is {score_threshold}; expected 0 to 1.")
    if not find_architecture(cfg).detects:
        raise invalid(
            "MODEL.META_ARCHITECTURE",
            cfg.MODEL.META_ARCHITECTURE,
            f"one of {', '.join(detectors())}",
            but="it is not known to detect objects",
        )
    pictures = find_pictures(inputs)
    _check_not_among(output, inputs)
    check_new_folder(output, PREDICTIONS, overwrite=overwrite, inputs=tuple(inputs))
    _check_opencv(pictures, with_pictures)
    detector = _Detector(load_network(cfg, folder), score_threshold)
    with whole_folder(output) as unfinished:
        drawn = unfinished / PICTURES if with_pictures else None
        prediction = _predict_all(detector, pictures, drawn)
        if not prediction.images:
            raise JobError(f"None of the inputs can be read. {prediction.skipped[0]}")
        categories = [
            {"id": number, "name": name}
            for number, name in zip(
                detector.network.classes.ids, detector.network.classes.names, strict=True
            )
        ]
        listed = {"images": prediction.images, "categories": categories}
        (unfinished / LIST).write_text(json.dumps(listed, indent=1))
        (unfinished / PREDICTIONS).write_text(json.dumps(prediction.results))
    for sentence in prediction.skipped:
        logger.warning("Skipped: %s", sentence)
    return prediction


def _check_not_among(output: str, inputs: Sequence[str]) -> None:
    """Raise ValueError for an output inside an input, whose next prediction would read it."""
    for path in inputs:
        if Path(path).resolve() in Path(output).resolve().parents:
            raise ValueError(
                f"--output {output} lies in the input {path}, which would then hold pictures that "
                "were drawn: choose another folder for the results."
            )


def _check_opencv(pictures: Sequence[Picture], with_pictures: bool) -> None:
    if find_module("cv2") is not None:
        return
    video = next((picture.file for picture in pictures if picture.is_video), None)
    if video is not None or with_pictures:
        what = f"The video {video} is read" if video is not None else "Pictures are drawn"
        raise ValueError(
            f"{what} with OpenCV, which is not installed: pip install 'crnas-d2[predict]'"
            + ("." if video is not None else ", or add --no-pictures.")
        )


class _Detector:
    """A network that takes images as they are read.

    Args:
        score_threshold: below which detections are left out.
    """

    def __init__(self, network: LoadedNetwork, score_threshold: float):
        self.network = network
        self.format = network.cfg.INPUT.FORMAT
        self.augmentation = AugmentationList(build_augmentation(network.cfg, is_train=False))
        self.score_threshold = score_threshold

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
        return convert_PIL_to_numpy(Image.fromarray(frame[:, :, ::-1]), self.format)

    def draw(self, image: np.ndarray, instances: Instances) -> np.ndarray:
        return draw_detections(image, self.format, instances, self.network.classes.names)


def _predict_all(
    detector: _Detector, pictures: Sequence[Picture], drawn: Path | None
) -> Prediction:
    """
    Args:
        drawn: the folder for pictures; ``None`` to draw none.
    """
    prediction = Prediction()
    with progress_bar(total=len(pictures), unit="img", desc="Predicting") as bar:
        for picture in pictures:
            predict = _predict_video if picture.is_video else _predict_image
            try:
                predict(detector, picture, drawn, prediction, bar)
            except ImageError as error:
                prediction.skipped.append(str(error))
                bar.update()
    return prediction


def _predict_image(
    detector: _Detector, picture: Picture, drawn: Path | None, prediction: Prediction, bar: tqdm
) -> None:
    image = read_picture(picture.file, detector.format)
    instances = detector(image)
    if drawn is not None:
        is_usual = picture.name.lower().endswith(_DRAWN_AS)
        file = _place(drawn, picture.name if is_usual else f"{picture.name}.png")
        Image.fromarray(detector.draw(image, instances)).save(file)
    _add(prediction, detector, {"file_name": picture.name}, image, instances)
    bar.update()


def _predict_video(
    detector: _Detector, picture: Picture, drawn: Path | None, prediction: Prediction, bar: tqdm
) -> None:
    video, writer = VideoReader(picture.file), None
    if drawn is not None:
        is_usual = picture.name.lower().endswith(".mp4")
        file = _place(drawn, picture.name if is_usual else f"{picture.name}.mp4")
        writer = VideoWriter(file, video.rate)
    bar.total += max(1, video.count) - 1
    for number, frame in enumerate(video):
        image = detector.from_bgr(frame)
        instances = detector(image)
        if writer is not None:
            writer.write(detector.draw(image, instances))
        entry = {"file_name": picture.name, "frame": number}
        _add(prediction, detector, entry, image, instances)
        bar.update()
    if writer is not None:
        writer.close()


def _place(folder: Path, name: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _add(
    prediction: Prediction,
    detector: _Detector,
    entry: dict,
    image: np.ndarray,
    instances: Instances,
) -> None:
    """Add an image, which ``entry`` names, and its detections."""
    number = len(prediction.images) + 1
    height, width = image.shape[:2]
    prediction.images.append({"id": number, **entry, "width": width, "height": height})
    ids = detector.network.classes.ids
    for result in instances_to_coco_json(instances, number):
        prediction.results.append({**result, "category_id": ids[result["category_id"]]})
