"""The search of a trained supernet, from its config to genotype.yaml."""

import logging
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import cast

import optuna
from detectron2.config import CfgNode

from crnas_d2.common.errors import JobError
from crnas_d2.common.files import whole_file
from crnas_d2.common.garbage import garbage_among_the_new, without_garbage_collection
from crnas_d2.common.output import prepare_output
from crnas_d2.engine.detects import base_network, check_detects
from crnas_d2.engine.log import early_records, save_twins, set_up
from crnas_d2.engine.subnets import load_supernet, save_subnet
from crnas_d2.search import Candidate, StorageError, add_folder, evaluated, folders
from crnas_d2.search.candidates import none_is_scored
from crnas_d2.space import SearchSpace

from .job import SearchJob
from .workers import evaluate_all

logger = logging.getLogger(__name__)


def run_search(cfg: CfgNode, *, resume: bool = False, num_workers: int = 1) -> Candidate:
    """Score the subnets of a trained supernet; write results to ``OUTPUT_DIR``; return the best.

    The fitness of a best finalist is that of its own training.

    They are ``genotype.yaml``, ``candidates.csv``, ``report.html`` and ``model_best.pth``: the
    weights of the best network in the supernet, from which it can be fine-tuned, or those of the
    best finalist (none if ``SEARCH.SCORE`` needs no supernet). The study, ``search.db``, is the
    only state, so that a stopped search can be resumed.

    Args:
        cfg: of the supernet's training, with its checkpoint in ``MODEL.WEIGHTS``.
        resume: continue the study in ``OUTPUT_DIR``.
        num_workers: processes that evaluate candidates on this machine.

    Raises:
        JobError: settings, weights or the study do not fit; a folder or the storage cannot be
            written; no candidate has a fitness; or candidates are missing because a worker died.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _explained(cfg.OUTPUT_DIR):
        with without_garbage_collection(), _refused(), early_records() as early:
            job = SearchJob.from_config(cfg, num_workers)
            model = load_supernet(cfg) if job.score.uses_supernet else None
            prepare_output(cfg.OUTPUT_DIR)
            job.study.check(resume=resume)
            # The terminal has the progress bar, which also shows warnings; all else is in log.txt.
            arguments = Namespace(resume=resume, num_workers=num_workers)
            set_up(cfg, arguments, terminal_level=logging.CRITICAL)
        before = [record.getMessage() for record in early]
        twins = save_twins(cfg) if model is not None else []
        for line in ("What runs:", *job.summary, *before, *twins):
            if "\n" not in line:  # else it is a list of tensors
                print(line)
            logger.info(line)
        # Before there is a study, because what fails here must not leave one behind.
        evaluate = job.build_score(model)
        if model is not None and job.inherits and not resume:
            base = base_network(cast(SearchSpace, job.spec.space))  # at the size of INPUT
            if warning := check_detects(cfg, model, base):
                print(warning, file=sys.stderr)  # the log is not shown on the terminal
        with _refused():
            study = job.study.open(resume=resume)
            add_folder(study, job.output)
            with garbage_among_the_new():
                evaluate_all(job, evaluate, study)
        candidates = evaluated(study, job.space)
        _check_finished(job, candidates)

        # Only now: a search starts without what draws and trains.
        from crnas_d2.report import write_search
        from crnas_d2.runs.search_result import SearchResult, baseline_of

        from .finalists import train_finalists
        from .whole_detector import score_detector

        save = None if model is None else partial(save_subnet, cfg, model)
        detector = None
        own = baseline_of(cfg, job.spec) if job.inherits and model is not None else None
        if own is not None and own.genotype not in [each.genotype for each in candidates]:
            detector = score_detector(job, evaluate, study, own.genotype)
        finalists = train_finalists(job, cfg, save, candidates)
        found = candidates, job.costs, finalists, folders(study), detector
        result = SearchResult.of(cfg, job.spec, *found)
        result.write_genotype(job.output / "genotype.yaml", job.spec.family.name)
        result.write_candidates(job.output / "candidates.csv")
        write_search(result, job.output / "report.html")
        weights = job.output / "model_best.pth"
        if finalists:
            with whole_file(weights) as stream, open(finalists[0].weights, "rb") as best:
                shutil.copyfileobj(best, stream)
        elif save is not None:
            save(result.best.genotype, weights)
        # What its weights in model_best.pth score.
        return replace(result.best, fitness=finalists[0].fitness) if finalists else result.best


@contextmanager
def _refused() -> Iterator[None]:
    """Turn what a check says into a JobError."""
    try:
        yield
    except ValueError as error:
        raise JobError(str(error)) from error


@contextmanager
def _explained(folder: str) -> Iterator[None]:
    """Turn what the disk or the storage of the study refuses into a JobError."""
    noisy = logging.raiseExceptions
    logging.raiseExceptions = False  # a log that cannot be written is not worth a traceback a line
    try:
        yield
    except StorageError as error:
        raise JobError(str(error)) from error
    except OSError as error:
        raise JobError(
            f"{error.filename or folder} cannot be read or written: {error.strerror or error}. "
            "Solve it, then continue with --resume: no candidate is evaluated again."
        ) from error
    finally:
        logging.raiseExceptions = noisy


def _check_finished(job: SearchJob, candidates: Sequence[Candidate]) -> None:
    # What the searcher still asks for has no result, although all workers have ended.
    asks = job.searcher.may_ask(candidates, num_running=0)
    if missing := len(list(job.searcher.propose(candidates))) or asks:
        raise JobError(
            f"{int(missing)} or more candidates have no result, because a worker died (see the "
            "messages above and log.txt*). Continue with --resume."
        )
    if candidates[0].fitness is None:
        raise JobError(str(none_is_scored("No candidate", candidates)))
