"""See :func:`image_cache`."""

import json
import tempfile
import time
from pathlib import Path

from ._sides import Benchmark, Sides

IMAGES, BATCH = 32, 8
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")


def image_cache(device: str) -> Sides:
    """CPU time of a training step on kept photographs, over one that decodes and resizes them.

    JPEG files whose longer side has 1000 to 1600 pixels, with the network and sizes that
    ``crnas-d2 prepare --preset quick`` chooses for them on a CPU. The first epoch, which decodes
    the images on both sides, is the warm-up.
    """
    import numpy as np
    import torch
    from detectron2.utils.events import EventStorage

    from crnas_d2.config import load_config
    from crnas_d2.data import register_coco_format
    from crnas_d2.engine import Trainer
    from crnas_d2.verbs.prepare.recipe import BASE, Recipe
    from crnas_d2.verbs.prepare.statistics import Statistics

    class StepTrainer(Trainer):
        """Ours, without the hooks that write files."""

        def build_hooks(self):
            return []

    folder = Path(tempfile.mkdtemp(prefix="crnas_d2-photographs-"))
    coco = make_photographs(folder)
    register_coco_format([["photographs", str(folder / "photographs.json"), str(folder)]])
    settings = {
        **Recipe(Statistics.of([coco]), IMAGES, "quick", "cpu").network(),
        "MODEL.DEVICE": device,
        "MODEL.ROI_HEADS.NUM_CLASSES": 1,
        "DATASETS.TRAIN": ("photographs",),
        "SOLVER.IMS_PER_BATCH": BATCH,
        "SOLVER.REFERENCE_WORLD_SIZE": 0,
        "OUTPUT_DIR": str(folder / "output"),
    }

    def build(limit: float) -> Trainer:
        np.random.seed(0)
        torch.manual_seed(0)
        pairs = {**settings, "DATALOADER.IMAGE_CACHE": limit}.items()
        trainer = StepTrainer(load_config(BASE, [item for pair in pairs for item in pair]))
        trainer.storage = EventStorage()
        return trainer

    def step(trainer: Trainer) -> float:
        np.random.seed(trainer.iter)  # both sides draw the same augmentation and proposals
        torch.manual_seed(trainer.iter)
        start = time.process_time()
        with trainer.storage:
            trainer.before_step()
            trainer.run_step()
            trainer.after_step()
        trainer.iter += 1
        return 1e3 * (time.process_time() - start)

    ours, theirs = build(1.0), build(0.0)
    for _ in range(2):
        step(ours), step(theirs)
        losses = [side.storage.latest()["total_loss"][0] for side in (ours, theirs)]
        if losses[0] != losses[1]:
            raise RuntimeError(f"The two sides take different steps: their losses are {losses}.")
    return lambda: step(ours), lambda: step(theirs)


def make_photographs(folder: Path) -> dict:
    """Write noisy, enlarged photographs and their COCO JSON, with one object each."""
    import numpy as np
    from PIL import Image

    from crnas_d2.data.embedded.photographs import load_photo

    random = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, IMAGES + 1):
        photograph = Image.fromarray(load_photo(PHOTOGRAPHS[number % len(PHOTOGRAPHS)]))
        scale = random.integers(1000, 1601) / max(photograph.size)
        width, height = (round(scale * side) for side in photograph.size)
        noise = random.normal(0, 4, (height, width, 3))
        pixels = np.asarray(photograph.resize((width, height))) + noise
        name = f"{number}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name, quality=92)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        box = [width / 4, height / 4, width / 2, height / 2]
        owners = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0}
        annotations.append({**owners, "bbox": box, "area": box[2] * box[3]})
    categories = [{"id": 1, "name": "object"}]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "photographs.json").write_text(json.dumps(coco))
    return coco


BENCHMARK = Benchmark(
    image_cache,
    goal=0.7,
    keys=("kept_cpu_ms", "decoded_cpu_ms"),
    repeats=16,
    warm_up=IMAGES // BATCH,
)
