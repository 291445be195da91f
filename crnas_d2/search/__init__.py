"""Searches: an Optuna study, what is enqueued in it, and the workers that evaluate it."""

from .build import build_searcher
from .candidates import Candidate, enqueue, evaluated
from .draw import draw_genotypes
from .evolution import EvolutionSampler
from .exhaustive import ExhaustiveSearcher
from .greedy import GreedySearcher
from .sampled import SampledSearcher
from .searcher import Searcher
from .study import open_study, study_url
from .worker import run_worker

__all__ = [
    "Candidate",
    "EvolutionSampler",
    "ExhaustiveSearcher",
    "GreedySearcher",
    "SampledSearcher",
    "Searcher",
    "build_searcher",
    "draw_genotypes",
    "enqueue",
    "evaluated",
    "open_study",
    "run_worker",
    "study_url",
]
