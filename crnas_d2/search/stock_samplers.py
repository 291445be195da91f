"""Optuna's own samplers, in a search that can be resumed."""

import inspect
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

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
    known = {
        other: kind
        for other, kind in vars(optuna.samplers).items()
        if inspect.isclass(kind) and issubclass(kind, BaseSampler) and not inspect.isabstract(kind)
    }
    if name not in known:
        raise ValueError(
            f"SEARCH.OPTUNA.SAMPLER is '{name}'; optuna.samplers has {', '.join(sorted(known))}."
            f"{did_you_mean(name, known)}"
        )
    if name in _EXHAUSTIVE:
        raise ValueError(
            f"SEARCH.OPTUNA.SAMPLER is '{name}', which lists all genotypes; use SEARCH.ALGORITHM "
            "'exhaustive' for that."
        )
    kind = known[name]
    is_seeded = "seed" in inspect.signature(kind).parameters and seed >= 0
    try:
        return SeededSampler(kind, seed) if is_seeded else kind()
    except (TypeError, ImportError) as error:
        raise ValueError(
            f"SEARCH.OPTUNA.SAMPLER is '{name}', which cannot be built from its default arguments "
            f"({error}). Use e.g. 'TPESampler' or 'NSGAIISampler'."
        ) from error


class SeededSampler(BaseSampler):
    """A sampler of Optuna that is built anew for each trial, seeded by the trial's number.

    Otherwise a resumed search would draw the same numbers again, and so would each of its workers.
    What a sampler has learned it reads from the study anyway.

    Args:
        kind: the class of the sampler.
    """

    def __init__(self, kind: Callable[..., BaseSampler], seed: int):
        self.kind = kind
        self.seed = seed
        self.sampler = kind(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.sampler = self.kind(seed=Random(f"{self.seed}/{trial.number}").getrandbits(32))
        self.sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.sampler.after_trial(study, trial, state, values)

    def __str__(self) -> str:
        return self.kind.__name__
