"""The score of the detector that a search starts from, which no budget may admit as a candidate."""

import logging
import math

import optuna

from crnas_d2.engine.scores import Score
from crnas_d2.evaluation import NoiseFiles
from crnas_d2.search import Candidate, Stopped, keep_detector, kept_detector
from crnas_d2.space import Genotype

from .job import SearchJob

logger = logging.getLogger(__name__)


def score_detector(
    job: SearchJob, evaluate: Score, study: optuna.Study, genotype: Genotype
) -> Candidate | None:
    """Score the detector as candidates are, and keep that in the study; once per study.

    Return ``None`` if the supernet has no such path, or nothing finite comes out.
    """
    try:
        job.space.values(genotype)
    except ValueError:  # e.g. STAGE_OPTIONS without the depths of the detector
        return None
    if (kept := kept_detector(study)) is not None and kept.genotype == genotype:
        return kept
    metrics = evaluate(genotype)
    assert not isinstance(metrics, Stopped)
    fitness = metrics.get(job.metric, math.nan)
    if not math.isfinite(fitness):
        return None
    if (results := evaluate.image_results(job.metric)) is not None:
        try:
            NoiseFiles(job.output).write(genotype, fitness, results)
        except OSError as error:  # it has its fitness, if no interval
            logger.warning("No interval for %s: %s", genotype, error)
    keep_detector(study, detector := Candidate(genotype, fitness, metrics))
    return detector
