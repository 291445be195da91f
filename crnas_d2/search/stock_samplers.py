"""Optuna's own samplers, in a search that can be resumed."""

import inspect
from random import Random
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from crnas_d2.common.errors import did_you_mean


def build_sampler(name: str, seed: int) -> BaseSampler:
    """Build a sampler of ``optuna.samplers`` with its defaults; a seed below 0 differs per run."""
    key, classes = "SEARCH.OPTUNA.SAMPLER", inspect.getmembers(optuna.samplers, inspect.isclass)
    known = {n: c for n, c in classes if issubclass(c, BaseSampler) and not inspect.isabstract(c)}
    if name not in known:
        raise ValueError(
            f"{key} is '{name}'; optuna.samplers has {', '.join(sorted(known))}."
            f"{did_you_mean(name, known)}"
        )
    if name in ("BruteForceSampler", "GridSampler"):
        raise ValueError(
            f"{key} is '{name}', which lists all genotypes; use SEARCH.ALGORITHM 'exhaustive'."
        )
    kind: type[BaseSampler] = known[name]
    is_seeded = "seed" in inspect.signature(kind).parameters and seed >= 0
    try:
        return _seeded(kind, seed) if is_seeded else kind()
    except (TypeError, ImportError) as error:
        raise ValueError(
            f"{key} is '{name}', which cannot be built from its default arguments ({error}). Use "
            "e.g. 'TPESampler' or 'NSGAIISampler'."
        ) from error


def _seeded(kind: Any, seed: int) -> BaseSampler:
    """Build a sampler that begins anew with each trial, seeded by the trial's number.

    Otherwise a resumed search, or each worker, would draw the same numbers again. What a sampler
    has learned it reads from the study anyway.
    """

    class Seeded(kind):  # type: ignore[misc]
        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            kind.__init__(self, seed=Random(f"{seed}/{trial.number}").getrandbits(32))
            super().before_trial(study, trial)

        def __str__(self) -> str:
            return str(kind.__name__)

    return Seeded(seed=seed)
