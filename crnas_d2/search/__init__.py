"""Searches: an Optuna study, what is enqueued in it, and the workers that evaluate it."""

from .build import build_searcher
from .candidates import Candidate, enqueue, evaluated
from .exhaustive import ExhaustiveSearcher
from .greedy import GreedySearcher
from .searcher import Searcher
from .study import open_study, study_url
from .worker import run_worker

__all__ = [
    "Candidate",
    "ExhaustiveSearcher",
    "GreedySearcher",
    "Searcher",
    "build_searcher",
    "enqueue",
    "evaluated",
    "open_study",
    "run_worker",
    "study_url",
]
