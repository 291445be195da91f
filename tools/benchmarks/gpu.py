"""See :func:`gpu`."""

import gc
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from itertools import repeat

from ._sides import ROOT, Table

CONFIGS = {
    "detectron2": "CR-NAS/configs/baseline/faster_rcnn_R50_FPN_1x.yaml",
    "supernet": "CR-NAS/configs/supernet/stage-R50.yaml",
    "nats": "NATS/configs/search/R50-G16.yaml",
}
OVERRIDES: list = []  # of all configs, e.g. for narrower networks
IMAGES = 2  # of a training step, as the papers have per GPU
OBJECTS = 6  # of an image
ARCHVAL, CALIBRATION = 5000, 200  # images of a candidate, CR-NAS section 4.1


def gpu(device: str, repeats: int, size: tuple[int, int] | None) -> tuple[list[dict], dict]:
    """Step time and memory of Detectron2, supernet and NATS search; candidates per hour. For GPUs.

    ResNet-50-FPN detectors of the three projects on images of noise. A step of the supernet is the
    mean over sampled paths, and its memory that of the largest; a step of the NATS search trains
    the weights, then alpha. Candidates per hour count the forward passes for 5,000 images of
    archval and for the calibration on 200 alone, at random weights: what comes on top, e.g. COCO's
    evaluation, is in the benchmark ``candidates``.

    Args:
        size: (height, width) of the images in pixels; default: 800x1333, without a GPU 64x96.

    Returns:
        a row for each measurement, and the main figures.
    """
    size = size or ((800, 1333) if device.startswith("cuda") else (64, 96))
    rows = []
    for name in CONFIGS:
        step, memory = _measured(partial(_training_step, name, device, size), device, repeats)
        rows.append({"what": f"step of {name}", "ms": step, "MiB": memory})
    rates = {}
    for precision in ("float32", "bfloat16", *(["float16"] if device.startswith("cuda") else [])):
        for channels_last in (False, True):
            make = partial(_candidate, device, size, precision, channels_last)
            seconds, memory = _measured(make, device, repeats, unit=1)
            rate = None if seconds is None else 3600 / seconds
            layout = "channels_last" if channels_last else "contiguous"
            rates[f"{precision}_{layout}"] = rate
            what = f"candidate, {precision}, {layout.replace('_', ' ')}"
            rows.append({"what": what, "MiB": memory, "per hour": rate})
    (plain, supernet, nats) = (row["ms"] for row in rows[:3])
    figures = {
        "ratio": supernet / plain if plain and supernet else None,
        **{"size": f"{size[0]}x{size[1]}", "detectron2_step_ms": plain},
        **{"supernet_step_ms": supernet, "nats_step_ms": nats},
        **{f"{name}_candidates_per_hour": rate for name, rate in rates.items()},
    }
    return rows, figures


def _measured(
    make: Callable[[], Callable[[], float]], device: str, repeats: int, unit: float = 1e-3
) -> tuple[float | None, float | None]:
    """Return the mean over calls of what ``make`` makes, and the peak memory of the GPU in MiB.

    Args:
        unit: of the mean, in seconds.

    Returns:
        ``None`` for what is not known: memory of a CPU, and all if it does not fit the GPU.
    """
    import torch

    on_gpu = device.startswith("cuda")
    gc.collect()  # the model before
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        run = make()
        run()  # allocates memory, and chooses kernels
        seconds = [run() for _ in range(repeats)]
    except torch.OutOfMemoryError:
        return None, None
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None
    return sum(seconds) / len(seconds) / unit, memory


def _config(name: str, device: str):
    from crnas_d2 import load_config

    here = ["MODEL.DEVICE", device, "MODEL.WEIGHTS", ""]
    return load_config(str(ROOT / "projects" / CONFIGS[name]), [*here, *OVERRIDES])


def _training_step(name: str, device: str, size: tuple[int, int]) -> Callable[[], float]:
    """Build a model, and return a function that trains it for a step and returns the seconds."""
    import torch
    from detectron2.engine import SimpleTrainer
    from detectron2.utils.events import EventStorage

    from crnas_d2.data.images.random_images import random_images
    from crnas_d2.engine import Trainer
    from crnas_d2.engine.solver import build_alpha_optimizer
    from crnas_d2.modeling import find_supernet

    cfg = _config(name, device)
    torch.manual_seed(0)
    model = Trainer.build_model(cfg).train()
    batch = random_images(cfg, IMAGES, size, OBJECTS)
    cfg.SOLVER.BASE_LR = 1e-6  # without a warm-up, the losses would soon be infinite
    optimizers = [Trainer.build_optimizer(cfg, model)]
    if name == "nats":
        optimizers.append(build_alpha_optimizer(cfg, model))
    trainers = [SimpleTrainer(model, repeat(batch), optimizer) for optimizer in optimizers]
    supernet = find_supernet(model)
    paths = _paths(supernet.space) if supernet is not None and supernet.has_paths else None

    def step() -> float:
        with EventStorage(), _timed(device) as seconds:
            if paths is not None:
                supernet.set_path(next(paths))
            for trainer in trainers:
                trainer.iter = 0
                model.zero_grad(set_to_none=True)
                trainer.run_step()
        return seconds[0]

    return step


def _candidate(
    device: str, size: tuple[int, int], precision: str, channels_last: bool
) -> Callable[[], float]:
    """Build a supernet, and return a function that returns the seconds of a candidate in it."""
    import torch

    from crnas_d2.data.images.random_images import random_images
    from crnas_d2.engine import Trainer
    from crnas_d2.evaluation import build_precision, calibrated, check_precision, use_channels_last
    from crnas_d2.evaluation.inference import batched_inference
    from crnas_d2.modeling import find_supernet

    check_precision(precision, device)
    cfg = _config("supernet", device)
    torch.manual_seed(0)
    model = Trainer.build_model(cfg).eval()
    if channels_last:
        use_channels_last(model)
    predict = batched_inference(model)
    supernet, in_precision = find_supernet(model), build_precision(precision, device)
    count = cfg.SEARCH.IMS_PER_BATCH
    batch, paths = random_images(cfg, count, size, OBJECTS), _paths(supernet.space)

    def candidate() -> float:
        supernet.set_path(next(paths))
        with torch.inference_mode():
            with _timed(device) as calibration, calibrated(model, [batch]):
                pass
            with _timed(device) as prediction, in_precision():
                predict(batch)
        return (CALIBRATION * calibration[0] + ARCHVAL * prediction[0]) / count

    return candidate


def _paths(space):
    """Yield the deepest network, whose memory is the largest, then sampled ones."""
    from random import Random

    from crnas_d2.engine.detects import base_network

    random = Random(0)
    yield base_network(space)
    while True:
        yield space.sample(random)


@contextmanager
def _timed(device: str):
    """Measure the seconds that the body takes; they are in the list when it has ended."""
    import torch

    synchronize = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    seconds: list[float] = []
    synchronize()
    start = time.perf_counter()
    yield seconds
    synchronize()
    seconds.append(time.perf_counter() - start)


BENCHMARK = Table(gpu, repeats=5)
