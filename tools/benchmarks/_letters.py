"""The search that benchmarks run: which blocks does a detector of letters need?"""

import contextlib
import io
import tempfile
from pathlib import Path

LETTERS = "crnas_d2://configs/letters"


def search_of_letters(device: str, iterations: int):
    """Train a detector for a short while; return the config of a search of its blocks.

    Args:
        iterations: of the training; there should be detections to score.
    """
    from crnas_d2 import load_config, run_training

    work = Path(tempfile.mkdtemp(prefix="crnas_d2-letters-"))
    on_device = ["MODEL.DEVICE", device, "DATASETS.TEST", "()", "OUTPUT_DIR", str(work)]
    short = ["SOLVER.MAX_ITER", str(iterations), "SOLVER.WARMUP_ITERS", str(iterations // 4)]
    with contextlib.redirect_stdout(io.StringIO()):
        run_training(load_config(f"{LETTERS}/baseline.yaml", [*on_device, *short]))
    weights = ["MODEL.WEIGHTS", str(work / "model_final.pth"), "OUTPUT_DIR", str(work / "search")]
    return load_config(f"{LETTERS}/supernet-inherit.yaml", [*on_device, *weights])
