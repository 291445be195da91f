"""What a training has been run with so far: its settings and data, as its checkpoints keep them."""

from collections.abc import Mapping, Sequence, Sized
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from crnas_d2.common.digests import remembered_sha256
from crnas_d2.common.plain_yaml import without_tuples
from crnas_d2.config import changed_settings

RUN = "run"  # the key of a checkpoint
_FILE = "annotations of "
# What does not change a training: where and how it runs, where files lie, and how it began.
_IRRELEVANT = (
    *("OUTPUT_DIR", "MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.INHERIT", "CUDNN_BENCHMARK"),
    *("DATASETS.COCO_FORMAT", "DATASETS.IMAGE_FOLDERS", "DATALOADER.NUM_WORKERS"),
    *("DATALOADER.IMAGE_CACHE", "VIS_PERIOD"),
)


def run_record(cfg: CfgNode, loaders: Sequence[Any]) -> dict[str, object]:
    """Return settings that are not the defaults, and data, by name, as plain data.

    ``loaders`` are of ``DATASETS.TRAIN`` and, if it is trained on, ``DATASETS.ARCHVAL``.
    """
    found: dict[str, object] = {
        key: without_tuples(value)
        for key, value in changed_settings(cfg).items()
        if key not in _IRRELEVANT and not key.startswith("SEARCH.")
    }
    for key, loader in zip(("TRAIN", "ARCHVAL"), loaders, strict=False):
        images = getattr(loader, "dataset", None)
        if isinstance(images, Sized):
            found[f"images of DATASETS.{key}"] = len(images)
        for name in cfg.DATASETS[key]:
            if file := MetadataCatalog.get(name).get("json_file"):
                found[f"{_FILE}{name}"] = remembered_sha256(file)[:16]
    return found


def changes_of_run(before: object, now: Mapping[str, object], folder: str) -> list[str]:
    """Return what differs from the run so far, a phrase each; nothing if it is not known.

    Raises ValueError if all its data are others: that is another training.
    """
    if not isinstance(before, Mapping):
        return []
    files = [{k: v for k, v in of.items() if k.startswith(_FILE)} for of in (before, now)]
    same_name, same_file = (set(a) & set(b) for a, b in (files, [f.values() for f in files]))
    if all(files) and not same_name and not same_file:
        names = [", ".join(key.removeprefix(_FILE) for key in of) for of in files]
        raise ValueError(
            f"OUTPUT_DIR {folder} holds a training on {names[0]}, not on {names[1]}: resume it "
            "with its own data, or choose another OUTPUT_DIR and start from its weights."
        )
    found = []
    for key in sorted({*before, *now}):
        then, new = (of.get(key, "the default") for of in (before, now))
        if then != new:
            is_file = key.startswith(_FILE)
            is_new = key in now and key not in before
            file = "now trained on" if is_new else "changed" if key in now else "left out"
            found.append(f"{key} {file}" if is_file else f"{key} {then}, now {new}")
    return found
