"""The images of archval that are left out, in the log and in a file."""

import csv
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from crnas_d2.data import archval_twins


def save_twins(cfg: CfgNode) -> list[str]:
    """List the images of archval that are left out, if any, in a file; return lines for the log."""
    twins = archval_twins(cfg) if cfg.DATASETS.ARCHVAL else {}
    if not twins:
        return []
    path = Path(cfg.OUTPUT_DIR, "archval_twins.csv")
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "same_as", "in"))
        writer.writerows((file, *twin) for file, twin in sorted(twins.items()))
    images = sum(len(DatasetCatalog.get(name)) for name in cfg.DATASETS.ARCHVAL)
    keys = " and ".join(dict.fromkeys(key for _, key in twins.values()))
    count = f"{len(twins):,} of {images:,} images"
    return [f"left out of archval: {count}, which are also in {keys}: {path}"]
