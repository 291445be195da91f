"""archval, without the images that are also in the training or the test set.

A score is meaningless on an image that trained or selects the network. Large datasets have a few
such twins: 797 images of ImageNet's val are reported to be in its train, too.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, get_detection_dataset_dicts

from crnas_d2.common.errors import JobError
from crnas_d2.config import spell
from crnas_d2.data.images.equal_files import find_twins

from .registration import Entry

logger = logging.getLogger(__name__)

# Share of archval that may be left out. With more, the sets are the same by mistake.
_MOST = 0.15

Twins = dict[str, tuple[str, str]]
_known: dict[tuple[Any, ...], Twins] = {}  # listing a million files takes long


def check_archval(cfg: CfgNode) -> None:
    """Find the images that archval shares with archtrain or the test set, and log how many.

    From then on, :func:`read_images` leaves them out.

    Raises:
        ValueError: they are too many.
    """
    archval = cfg.DATASETS.ARCHVAL
    if not archval:
        return
    twins: Twins = {}
    for key, names in _others(cfg).items():
        shared = check_disjoint("DATASETS.ARCHVAL", archval, key, names)
        twins |= {file: (other, key) for file, other in shared.items() if file not in twins}
        if shared:
            file, other = next(iter(shared.items()))
            logger.warning(
                "%d of %d images of DATASETS.ARCHVAL %s are also in %s, e.g. %s = %s: left out.",
                *(len(shared), len(_files(archval)), list(archval), key, file, other),
            )
    _known[_identify(cfg)] = twins


def check_disjoint(
    key: str, names: Sequence[str], other_key: str, others: Sequence[str]
) -> dict[str, str]:
    """Return the files of some datasets, each with one of the same content in the others.

    Raises:
        ValueError: they are more than 15 % of the images; with their number and one pair of files.
    """
    files = _files(names)
    shared = find_twins(files, _files(others))
    if len(shared) > _MOST * len(files):
        mine, theirs = next(iter(shared.items()))
        pair = mine if mine == theirs else f"{mine} = {theirs}"
        raise ValueError(
            f"{key} {list(names)} and {other_key} {list(others)} share {len(shared)} images, e.g. "
            f"{pair}: {len(shared) / len(files):.0%} of the former, too many to leave out. A score "
            "is meaningless on images that were used to train or to select the network: separate "
            f"them, e.g. with {spell('prepare-archval')}."
        )
    return shared


def archval_twins(cfg: CfgNode) -> Twins:
    """Return the images of archval that are left out, each with its twin and the key of that."""
    identity = _identify(cfg)
    if identity not in _known:
        files = _files(cfg.DATASETS.ARCHVAL)
        twins: Twins = {}
        for key, names in _others(cfg).items():
            # A final round tests on archval itself.
            others = [name for name in names if name not in cfg.DATASETS.ARCHVAL]
            try:
                shared = find_twins(files, _files(others))
            except FileNotFoundError as error:  # an evaluation alone does not need them
                logger.warning("archval is not compared with %s: no %s.", key, error.filename)
                continue
            if len(shared) <= _MOST * len(files):  # else check_archval() refuses them
                twins = {file: (other, key) for file, other in shared.items()} | twins
        _known[identity] = twins
    return _known[identity]


@contextmanager
def no_objects_explained(names: Sequence[str]) -> Iterator[None]:
    """Turn Detectron2's assertion about datasets without objects into a JobError."""
    try:
        yield
    except AssertionError as error:
        if "No valid data found" not in str(error):
            raise
        raise JobError(
            f"No image of {', '.join(names)} has an object that is no crowd region: annotate "
            "objects, or set DATALOADER.FILTER_EMPTY_ANNOTATIONS to False."
        ) from error


def read_images(cfg: CfgNode, names: Sequence[str], *, filter_empty: bool) -> list[Entry]:
    """Return Detectron2's dicts of the images of datasets; of archval, without its twins.

    With ``filter_empty``, images without objects are skipped, as in training.
    """
    with no_objects_explained(names):
        images: list[Entry] = get_detection_dataset_dicts(list(names), filter_empty=filter_empty)
    if not set(names) & set(cfg.DATASETS.ARCHVAL):
        return images
    twins = archval_twins(cfg)
    return [image for image in images if image["file_name"] not in twins]


def kept_ids(cfg: CfgNode, name: str) -> list[Any] | None:
    """Return the ids of the images of a dataset that are not left out; ``None`` for all."""
    if name not in cfg.DATASETS.ARCHVAL or not archval_twins(cfg):
        return None
    return [image.get("image_id") for image in read_images(cfg, [name], filter_empty=False)]


def _others(cfg: CfgNode) -> dict[str, Sequence[str]]:
    datasets = cfg.DATASETS
    return {"DATASETS.TRAIN (archtrain)": datasets.TRAIN, "DATASETS.TEST": datasets.TEST}


def _identify(cfg: CfgNode) -> tuple[Any, ...]:
    datasets = (cfg.DATASETS.ARCHVAL, cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
    # With the functions that read them, because another dataset may be registered under a name.
    return tuple(tuple((name, DatasetCatalog[name]) for name in names) for names in datasets)


def _files(names: Sequence[str]) -> list[str]:
    return [image["file_name"] for name in names for image in DatasetCatalog.get(name)]
