"""Searches: an Optuna study, what is enqueued in it, and the workers that evaluate it."""

from .candidates import Candidate, enqueue, evaluated
from .searchers import SEARCHERS
from .study import open_study, study_url
from .worker import run_worker

__all__ = [
    "SEARCHERS",
    "Candidate",
    "enqueue",
    "evaluated",
    "open_study",
    "run_worker",
    "study_url",
]
