"""The log of a job: the terminal, ``log.txt``, and the lines on what really runs."""

import csv
import io
import logging
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from crnas_d2.common.files import write_file
from crnas_d2.common.secrets_in_urls import hide_secrets
from crnas_d2.data import archval_twins
from crnas_d2.search import hide_password

# Beginnings of messages of a hundred lines and more.
_LONG = ("Environment info:", "Running with full config:", "Model:")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def set_up(cfg: CfgNode, arguments: Namespace, *, terminal_level: int = logging.INFO) -> None:
    """Run Detectron2's ``default_setup``, with the long texts in ``log.txt`` only.

    The file has no colours, nor has an output that is no terminal. ``arguments``, of the command
    line, are logged; ``terminal_level`` is that of the messages that are shown.
    """
    # First, in the same words as default_setup(), so that it finds the handlers as they are here.
    for named in ({"name": "fvcore"}, {"name": "crnas_d2"}, {}):
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), **named)
    for logger in map(logging.getLogger, ("detectron2", "fvcore", "crnas_d2")):
        streams = [h for h in logger.handlers if isinstance(h, logging.StreamHandler)]
        shown = [handler for handler in streams if handler.stream in (sys.stdout, sys.__stdout__)]
        for handler in shown[:-1]:  # of an earlier job in this process: each line would come twice
            logger.removeHandler(handler)
        for handler in shown[-1:]:
            handler.setLevel(terminal_level)
            handler.addFilter(_is_short)
        for handler in streams:
            handler.addFilter(_hide_secrets)
            has_colours = handler in shown and handler.stream.isatty()
            formatter = handler.formatter
            if not has_colours and formatter is not None and not isinstance(formatter, _Plain):
                handler.setFormatter(_Plain(formatter))
    default_setup(hide_password(cfg), arguments)


@contextmanager
def early_records() -> Iterator[list[logging.LogRecord]]:
    """Collect what this package logs before there is a log, for who shows it later.

    If the context ends with an error, warnings are written to stderr, as without it.
    """
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, handler = logging.getLogger("crnas_d2"), Collector(logging.INFO)
    level = logger.level
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield records
    except BaseException:
        for record in records:
            if record.levelno >= logging.WARNING:
                print(record.getMessage(), file=sys.stderr)
        raise
    finally:
        logger.removeHandler(handler)
        if logger.level == logging.INFO:  # else the log has been set up
            logger.setLevel(level)


def _hide_secrets(record: logging.LogRecord) -> bool:
    """Change a record of a URL with a password, e.g. of weights; filter nothing."""
    if "://" in (message := record.getMessage()):
        record.msg, record.args = hide_secrets(message), ()
    return True


def _is_short(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_LONG)


class _Plain(logging.Formatter):
    """Formats as another formatter does, without colours."""

    def __init__(self, formatter: logging.Formatter):
        super().__init__()
        self.formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return _COLOURS.sub("", self.formatter.format(record))


def training_summary(cfg: CfgNode, scaled: CfgNode, images: Any, start: int = 0) -> list[str]:
    """Return lines about a training.

    Args:
        cfg: as the user wrote it; ``scaled`` is for this number of processes.
        images: of ``DATASETS.TRAIN``, which may have no length.
        start: the first iteration, above 0 in a resumed training.
    """
    solver, processes = scaled.SOLVER, comm.get_world_size()
    precision = f", mixed precision with {solver.AMP.PRECISION}" if solver.AMP.ENABLED else ""
    parts, total = solver.GRADIENT_ACCUMULATION, solver.MAX_ITER * solver.IMS_PER_BATCH
    per_process = f"{solver.IMS_PER_BATCH // processes} per process"
    per_process += f", in {parts} micro-batches" if parts > 1 else ""
    epochs = ""
    if isinstance(images, Sized):
        epochs = f", {total / len(images):.3g} epochs of {len(images):,} images"
    ending = f" to {solver.BASE_LR_END:.4g}"
    if solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        reached = [f"{step:,}" for step in solver.STEPS if step < solver.MAX_ITER]
        ending = f", times {solver.GAMMA:g} at {', '.join(reached) or 'no step'}"
    begin = (
        f"iteration {start:,}" if start else hide_secrets(scaled.MODEL.WEIGHTS) or "random weights"
    )
    lines = [
        f"processes: {processes} on {scaled.MODEL.DEVICE}{precision}",
        f"images per step: {solver.IMS_PER_BATCH} ({per_process})",
        f"iterations: {solver.MAX_ITER:,}{epochs}",
        f"learning rate: {solver.BASE_LR:.4g}, {solver.LR_SCHEDULER_NAME}{ending}",
        f"warm-up: {solver.WARMUP_ITERS:,} iterations",
        f"seed: {describe_seed(scaled)}",
        f"starts from: {begin}",
    ]
    before = cfg.SOLVER
    if scaled is not cfg and before.REFERENCE_WORLD_SIZE not in (0, processes):
        lines.append(
            f"scaled from SOLVER.REFERENCE_WORLD_SIZE {before.REFERENCE_WORLD_SIZE}, for which the "
            f"config says {before.IMS_PER_BATCH} images per step, {before.MAX_ITER:,} iterations, "
            f"learning rate {before.BASE_LR:.4g}, warm-up {before.WARMUP_ITERS:,}; set it to "
            f"{processes} to run these"
        )
    return lines


def describe_seed(cfg: CfgNode) -> str:
    return str(cfg.SEED) if cfg.SEED >= 0 else "none (SEED -1), so that no two runs are alike"


def save_twins(cfg: CfgNode) -> list[str]:
    """List the images of archval that are left out, if any, in a file; return lines for the log."""
    twins = archval_twins(cfg) if cfg.DATASETS.ARCHVAL else {}
    if not twins:
        return []
    path = Path(cfg.OUTPUT_DIR, "archval_twins.csv")
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(("image", "same_as", "in"))
    writer.writerows((file, *twin) for file, twin in sorted(twins.items()))
    write_file(path, stream.getvalue())
    images = sum(len(DatasetCatalog.get(name)) for name in cfg.DATASETS.ARCHVAL)
    keys = " and ".join(dict.fromkeys(key for _, key in twins.values()))
    count = f"{len(twins):,} of {images:,} images"
    return [f"left out of archval: {count}, which are also in {keys}: {path}"]
