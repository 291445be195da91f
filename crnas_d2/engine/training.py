"""Train or evaluate a supernet, a searched network, a baseline, or a classifier."""

import logging
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from crnas_d2.checkpoint import (
    StrictCheckpointer,
    describe_network,
    newest_checkpoint,
    read_weights,
)
from crnas_d2.common.errors import JobError
from crnas_d2.common.output import check_space, disk_errors_explained, evaluation_folder
from crnas_d2.config import import_plugins, spell
from crnas_d2.data import (
    CLASSES,
    check_data,
    match_classes,
    padding_differs,
    register_datasets,
)
from crnas_d2.modeling import find_supernet

from .detects import check_trained_supernet
from .found_network import calibration, without_sync
from .log import save_twins, set_up, training_summary
from .run_record import RUN, changes_of_run
from .trainer import Trainer, checkpoint_size

logger = logging.getLogger(__name__)


def train(cfg: CfgNode, *, resume: bool = False) -> Trainer:
    """Train, or continue, the model of a config on this rank; return the trainer after it.

    The config has passed :func:`crnas_d2.engine.checks.check_training`; files are written to
    ``OUTPUT_DIR``.

    Raises:
        JobError: the weights do not fit, a resumed training has other classes or other data, or
            files cannot be written.
    """
    with _prepared(cfg, resume=resume):
        try:
            file = newest_checkpoint(cfg.OUTPUT_DIR) if resume else None
            start = file or (read_weights(cfg.MODEL.WEIGHTS) if cfg.MODEL.WEIGHTS else None)
        except ValueError as error:
            raise JobError(str(error)) from error
        if start is not None:
            names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.ARCHVAL, *cfg.DATASETS.TEST)
            known = [name for name in names if name in DatasetCatalog]
            needs_all = file is not None
            match_classes(known, start.content.get(CLASSES), start.path, needs_all=needs_all)
        trainer = Trainer(cfg)
        logging.getLogger("detectron2").info("Model:\n%s", trainer.model)
        try:
            if file is not None:
                before = file.content.get(RUN)
                if changes := changes_of_run(before, trainer.run, cfg.OUTPUT_DIR):
                    text = "This training goes on otherwise than it was run so far: %s."
                    logger.warning(text, "; ".join(changes))
            trainer.resume_or_load(resume=resume)
        except ValueError as error:  # weights that do not fit
            raise JobError(str(error)) from error
        images = getattr(trainer.data_loader, "dataset", None)
        lines = training_summary(cfg, trainer.cfg, images, trainer.start_iter)
        if comm.is_main_process() and find_supernet(trainer.model) is not None:
            lines += save_twins(cfg)
        logger.info("What runs:\n  %s", "\n  ".join(lines))
        if comm.is_main_process():
            check_space(cfg.OUTPUT_DIR, checkpoint_size(trainer.cfg, trainer.plain_model))
        trainer.train()
        if comm.is_main_process():
            check_trained_supernet(trainer.cfg, trainer.plain_model)
        return trainer


def evaluate(cfg: CfgNode) -> dict:
    """Evaluate ``MODEL.WEIGHTS`` on ``DATASETS.TEST`` on this rank.

    If ``OUTPUT_DIR`` holds another run, files are written to ``OUTPUT_DIR/evaluation-<n>``. The
    config has passed :func:`crnas_d2.engine.checks.check_evaluation`. Returns the results, which
    are empty off the main process.

    Raises:
        JobError: the weights or their classes do not fit, or the model is a supernet.
    """
    cfg = cfg.clone()
    cfg.defrost()
    # The first rank makes it.
    cfg.OUTPUT_DIR = comm.all_gather(evaluation_folder(cfg.OUTPUT_DIR))[0]
    with _prepared(cfg, eval_only=True):
        cfg = without_sync(cfg)
        model = Trainer.build_model(cfg)
        supernet = find_supernet(model)
        if supernet is not None and supernet.decode() is None:
            raise JobError(
                f"A supernet has no score of its own: {spell('search')} scores its subnets."
            )
        checkpointer = StrictCheckpointer(model, network=describe_network(cfg))
        try:
            content = checkpointer.load(cfg.MODEL.WEIGHTS)
            match_classes(cfg.DATASETS.TEST, content.get(CLASSES), cfg.MODEL.WEIGHTS)
            takes_search = checkpointer.of_search and supernet is None
            if takes_search:
                check_data(cfg, ["TRAIN"])
        except ValueError as error:
            raise JobError(str(error)) from error
        if padding_differs(cfg, cfg.DATASETS.TEST):
            logger.info(
                "Each image is padded by itself. A search pads those of a batch to the largest "
                "(SEARCH.IMS_PER_BATCH), so its AP of the same network differs a little."
            )
        if not takes_search:
            return Trainer.test(cfg, model)
        # The BN statistics of a search are those of its mixture.
        logger.info("Calibrating BN on images of DATASETS.TRAIN.")
        with calibration(cfg)(model):
            return Trainer.test(cfg, model)


@contextmanager
def _prepared(cfg: CfgNode, **flags: bool) -> Iterator[None]:
    """Prepare this process, e.g. a spawned rank, and explain errors of its disk."""
    import_plugins(cfg.PLUGINS)
    register_datasets(cfg)
    with disk_errors_explained(cfg.OUTPUT_DIR):
        set_up(cfg, Namespace(**flags))
        yield
