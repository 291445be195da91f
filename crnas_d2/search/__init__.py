"""Searches: an Optuna study, what is enqueued in it, and the workers that evaluate it."""

from .candidates import Candidate, Candidates, Finalist, Stopped
from .evolution import EvolutionSampler
from .exhaustive import ExhaustiveSearcher
from .greedy import GreedySearcher
from .history import History, enqueue, evaluated
from .sampled import EvolutionSearcher, OptunaSearcher, RandomSearcher, SampledSearcher
from .sampling import sample_genotypes, sample_over_cost
from .searcher import SEARCHER_REGISTRY, Searcher, build_searcher
from .storage_url import StorageError, hide_password, public_arguments, study_url, without_password
from .study import StudySettings, add_folder, folders, keep_detector, kept_detector
from .worker import run_worker

__all__ = [
    "SEARCHER_REGISTRY",
    "Candidate",
    "Candidates",
    "EvolutionSampler",
    "EvolutionSearcher",
    "ExhaustiveSearcher",
    "Finalist",
    "GreedySearcher",
    "History",
    "OptunaSearcher",
    "RandomSearcher",
    "SampledSearcher",
    "Searcher",
    "Stopped",
    "StorageError",
    "StudySettings",
    "add_folder",
    "build_searcher",
    "enqueue",
    "evaluated",
    "folders",
    "hide_password",
    "keep_detector",
    "kept_detector",
    "public_arguments",
    "run_worker",
    "sample_genotypes",
    "sample_over_cost",
    "study_url",
    "without_password",
]
