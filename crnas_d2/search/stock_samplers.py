"""Optuna's own samplers, in a search that can be resumed."""

import inspect
from random import Random
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from crnas_d2.common.errors import did_you_mean

_EXHAUSTIVE = ("BruteForceSampler", "GridSampler")


def build_sampler(name: str, seed: int) -> BaseSampler:
    """Build a sampler of Optuna from its default arguments.

    Args:
        name: in ``optuna.samplers``.
        seed: below 0: a different one in each run.

    Raises:
        ValueError: there is no such sampler, or it needs arguments or a package.
    """
    key, known = "SEARCH.OPTUNA.SAMPLER", dict(inspect.getmembers(optuna.samplers, _is_sampler))
    if name not in known:
        raise ValueError(
            f"{key} is '{name}'; optuna.samplers has {', '.join(sorted(known))}."
            f"{did_you_mean(name, known)}"
        )
    if name in _EXHAUSTIVE:
        raise ValueError(
            f"{key} is '{name}', which lists all genotypes; use SEARCH.ALGORITHM 'exhaustive' for "
            "that."
        )
    kind = known[name]
    is_seeded = "seed" in inspect.signature(kind).parameters and seed >= 0
    try:
        sampler: BaseSampler = _seeded(kind, seed) if is_seeded else kind()
    except (TypeError, ImportError) as error:
        raise ValueError(
            f"{key} is '{name}', which cannot be built from its default arguments ({error}). Use "
            "e.g. 'TPESampler' or 'NSGAIISampler'."
        ) from error
    return sampler


def _is_sampler(kind: object) -> bool:
    is_class = inspect.isclass(kind) and issubclass(kind, BaseSampler)
    return is_class and not inspect.isabstract(kind)


def _seeded(kind: Any, seed: int) -> BaseSampler:
    """Build a sampler that begins anew with each trial, seeded by the trial's number.

    Otherwise a resumed search would draw the same numbers again, and so would each of its workers.
    What a sampler has learned it reads from the study anyway.
    """

    class Seeded(kind):  # type: ignore[misc]
        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            kind.__init__(self, seed=Random(f"{seed}/{trial.number}").getrandbits(32))
            super().before_trial(study, trial)

        def __str__(self) -> str:
            return str(kind.__name__)

    return Seeded(seed=seed)
