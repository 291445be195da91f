"""Train or evaluate a supernet, a searched network, a baseline, or a classifier."""

import logging
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

from crnas_d2.checkpoint import StrictCheckpointer, describe_network, read_weights
from crnas_d2.common.errors import JobError, did_you_mean
from crnas_d2.common.files import check_writable
from crnas_d2.common.output import check_space, disk_errors_explained, evaluation_folder
from crnas_d2.config import import_plugins, spell
from crnas_d2.config.checks import find_spec
from crnas_d2.data import check_data, register_datasets
from crnas_d2.engine import Trainer, calibrated_on_train, without_sync
from crnas_d2.evaluation import metric_names
from crnas_d2.modeling import find_supernet
from crnas_d2.space import ChannelSpace, Genotype

from .checks import check_config
from .detects import check_trained_supernet
from .log import set_up, training_summary
from .twins import save_twins

logger = logging.getLogger(__name__)

# Files that a training, or a search, leaves in its OUTPUT_DIR. Not metrics.json: a training that
# ended before its first checkpoint has left nothing that could be lost.
TRACES = ("last_checkpoint", "model_final.pth", "search.db")


def has_checkpoint(folder: str | os.PathLike) -> bool:
    """Whether a training can be continued in a folder."""
    folder = Path(folder)
    return (folder / "last_checkpoint").exists() or any(folder.glob("model_[0-9]*.pth"))


def check_resumable(cfg) -> None:
    """Raise ValueError if ``OUTPUT_DIR`` holds no training to continue with ``--resume``."""
    if not has_checkpoint(cfg.OUTPUT_DIR):
        raise ValueError(
            f"--resume finds no checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR}: there is nothing to "
            "continue. Name the folder of the training, or start a new one without --resume."
        )


def check_training(cfg: CfgNode, *, resume: bool = False, eval_only: bool = False) -> None:
    """Check a config before :func:`run_training`, once, not on each rank.

    Raises:
        ValueError: naming the key, its value and what to do; also where ``OUTPUT_DIR`` holds
            another run that is not resumed.
    """
    check_writable(cfg.OUTPUT_DIR)
    if eval_only:
        check_config(cfg, ["TEST"])
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("--eval-only needs MODEL.WEIGHTS, the checkpoint to evaluate.")
        if not cfg.DATASETS.TEST:
            raise ValueError("--eval-only needs DATASETS.TEST, the datasets to evaluate on.")
        read_weights(cfg.MODEL.WEIGHTS)
        return
    spec = find_spec(cfg)
    is_supernet = spec is not None and spec.is_supernet
    # A search would refuse an archval that was trained on, but only days later.
    check_config(cfg, ["TRAIN", "TEST", "ARCHVAL"] if is_supernet else ["TRAIN", "TEST"])
    if not cfg.DATASETS.TRAIN:
        raise ValueError(
            "DATASETS.TRAIN is empty: name a config (--config-file) or the datasets to train on."
        )
    if spec is not None and spec.kind is not None:
        spec.kind.check_training(cfg)
    _check_expected_results(cfg)
    # Empty files are those of a training that failed before its first step.
    paths = {name: os.path.join(cfg.OUTPUT_DIR, name) for name in TRACES}
    found = [name for name, path in paths.items() if os.path.exists(path) and os.stat(path).st_size]
    if found and not resume:
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds another run already ({found[0]}): continue it "
            "with --resume, or choose another OUTPUT_DIR."
        )
    if cfg.MODEL.WEIGHTS and not (resume and os.path.exists(paths["last_checkpoint"])):
        read_weights(cfg.MODEL.WEIGHTS)


def _check_expected_results(cfg) -> None:
    if len(cfg.DATASETS.TEST) != 1:
        return
    known = metric_names(cfg, cfg.DATASETS.TEST[0])
    for task, metric, *_ in cfg.TEST.EXPECTED_RESULTS:
        if f"{task}/{metric}" not in known:
            raise ValueError(
                f"TEST.EXPECTED_RESULTS names {task}/{metric}; {cfg.DATASETS.TEST[0]} gives "
                f"{', '.join(known)}.{did_you_mean(f'{task}/{metric}', known)}"
            )


def run_training(
    cfg: CfgNode,
    *,
    resume: bool = False,
    eval_only: bool = False,
    on_found: Callable[[CfgNode, Genotype, ChannelSpace], None] | None = None,
) -> dict | None:
    """Train or evaluate the model of a config on this rank; write files to ``OUTPUT_DIR``.

    Args:
        cfg: that passes :func:`check_training`.
        resume: continue the training in ``OUTPUT_DIR``.
        eval_only: evaluate ``MODEL.WEIGHTS`` on ``DATASETS.TEST``. If ``OUTPUT_DIR`` holds another
            run, files are written to ``OUTPUT_DIR/evaluation-<n>``.
        on_found: called on the main process with the network that a channel search has found.

    Returns:
        with ``eval_only``, the results, which are empty off the main process; after a training,
        those of the last evaluation if ``TEST.EXPECTED_RESULTS`` is set, else ``None``.

    Raises:
        JobError: the weights do not fit, the model to evaluate is a supernet, or files cannot be
            written.
    """
    import_plugins(cfg.PLUGINS)  # a spawned rank has no plugins or datasets yet
    register_datasets(cfg)
    if eval_only:
        cfg = cfg.clone()
        cfg.defrost()
        # That of the first rank, which makes it.
        cfg.OUTPUT_DIR = comm.all_gather(evaluation_folder(cfg.OUTPUT_DIR))[0]
        cfg.freeze()
    with disk_errors_explained(cfg.OUTPUT_DIR):
        set_up(cfg, Namespace(resume=resume, eval_only=eval_only))
        return _evaluate(cfg) if eval_only else _train(cfg, resume, on_found)


def _train(cfg, resume: bool, on_found) -> dict | None:
    trainer = Trainer(cfg)
    logging.getLogger("detectron2").info("Model:\n%s", trainer.model)
    try:
        trainer.resume_or_load(resume=resume)
    except ValueError as error:  # weights that do not fit
        raise JobError(str(error)) from error
    lines = training_summary(cfg, trainer.cfg, trainer.train_images, trainer.start_iter)
    if comm.is_main_process() and find_supernet(trainer.model) is not None:
        lines += save_twins(cfg)
    logger.info("What runs:\n  %s", "\n  ".join(lines))
    if comm.is_main_process():
        check_space(cfg.OUTPUT_DIR, trainer.checkpoint_size())
    results = trainer.train()
    if comm.is_main_process():
        check_trained_supernet(trainer.cfg, trainer.plain_model)
    supernet = find_supernet(trainer.model)
    genotype = None if supernet is None else supernet.decode()
    if genotype is not None and comm.is_main_process() and on_found is not None:
        on_found(cfg, genotype, supernet.space)
    return results


def _evaluate(cfg) -> dict:
    cfg = without_sync(cfg)
    model = Trainer.build_model(cfg)
    supernet = find_supernet(model)
    if supernet is not None and supernet.decode() is None:
        raise JobError(f"A supernet has no score of its own: {spell('search')} scores its subnets.")
    checkpointer = StrictCheckpointer(model, network=describe_network(cfg))
    try:
        checkpointer.load(cfg.MODEL.WEIGHTS)
        takes_search = checkpointer.of_search and supernet is None
        if takes_search:
            check_data(cfg, ["TRAIN"])
    except ValueError as error:
        raise JobError(str(error)) from error
    if not takes_search:
        return Trainer.test(cfg, model)
    # The BN statistics of a search are those of its mixture.
    logger.info("Calibrating BN on images of DATASETS.TRAIN.")
    with calibrated_on_train(cfg, model):
        return Trainer.test(cfg, model)
