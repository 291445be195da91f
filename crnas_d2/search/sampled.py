"""Searches driven by an Optuna sampler: evolution, random search, any stock sampler."""

import inspect
from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any

import optuna
from detectron2.config import CfgNode
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from crnas_d2.common.errors import invalid
from crnas_d2.space import Budget, Genotype, SearchSpace, feasible_genotypes

from .candidates import Candidate, Candidates
from .evolution import EvolutionSampler
from .history import History
from .sampling import feasible_samples
from .searcher import SEARCHER_REGISTRY, Searcher

_MOST_COUNTED = 100_000  # genotypes


class SampledSearcher(Searcher):
    """Asks an Optuna sampler for one candidate at a time.

    A subclass sets :attr:`sampler`; duplicates and infeasible genotypes that it proposes are
    skipped. The search ends after ``population * generations`` candidates with a fitness; more than
    there are feasible genotypes are refused.
    """

    total: int

    def __init__(
        self,
        space: SearchSpace,
        budgets: Sequence[Budget] = (),
        *,
        population: int = 50,
        generations: int = 20,
    ):
        super().__init__(space, budgets)
        _check("POPULATION", population, "at least 2", population >= 2)
        _check("GENERATIONS", generations, "at least 1", generations >= 1)
        self.population, self.total = population, population * generations
        # Those of a larger space are not counted beforehand.
        feasible = feasible_genotypes(space, budgets) if space.size <= _MOST_COUNTED else None
        if feasible is not None and self.total > len(feasible):
            raise ValueError(
                f"SEARCH.EVOLUTION asks for {self.total} candidates, POPULATION {population} x "
                f"GENERATIONS {generations}, but only {len(feasible)} genotypes are feasible. "
                "Evaluate fewer, or all of them with SEARCH.ALGORITHM 'exhaustive'."
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        size = cfg.SEARCH.EVOLUTION
        return {"population": size.POPULATION, "generations": size.GENERATIONS, "seed": cfg.SEED}

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        return []

    def may_ask(self, candidates: Collection[Candidate], num_running: int) -> bool:
        """Whether the candidates with a fitness and the running ones are fewer than ``total``."""
        return Candidates.of(candidates).num_scored + num_running < self.total

    def sample(self, history: History) -> tuple[Genotype, Mapping[str, object]] | None:
        sampler = self.sampler
        return sampler.propose(history) if isinstance(sampler, EvolutionSampler) else None


@SEARCHER_REGISTRY.register("evolution")
class EvolutionSearcher(SampledSearcher):
    """DetNAS algorithm 2, see :class:`EvolutionSampler`; ``size``: see :class:`SampledSearcher`."""

    def __init__(
        self,
        space: SearchSpace,
        budgets: Sequence[Budget] = (),
        *,
        parents: int = 10,
        mutation_probability: float = 0.1,
        crossover_share: float = 0.5,
        seed: int = 0,
        **size: int,
    ):
        _check("PARENTS", parents, "at least 1", parents >= 1)
        probability = mutation_probability
        _check("MUTATION_PROBABILITY", probability, "above 0 and at most 1", 0 < probability <= 1)
        _check("CROSSOVER_SHARE", crossover_share, "from 0 to 1", 0 <= crossover_share <= 1)
        super().__init__(space, budgets, **size)
        self.sampler = EvolutionSampler(
            space,
            self.is_feasible,
            population_size=self.population,
            num_parents=parents,
            mutation_probability=mutation_probability,
            crossover_share=crossover_share,
            seed=seed,
        )
        self.num_decisive = parents

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        keys = "parents", "mutation_probability", "crossover_share"
        return super().from_config(cfg) | {k: cfg.SEARCH.EVOLUTION[k.upper()] for k in keys}


@SEARCHER_REGISTRY.register("random")
class RandomSearcher(SampledSearcher):
    """Feasible genotypes, each choice sampled uniformly: the baseline of every search."""

    num_decisive = 1

    def __init__(
        self, space: SearchSpace, budgets: Sequence[Budget] = (), *, seed: int = 0, **size: int
    ):
        super().__init__(space, budgets, **size)
        # The first generation of evolution is random, so random search is a single generation.
        total, is_feasible = self.total, self.is_feasible
        self.sampler = EvolutionSampler(space, is_feasible, population_size=total, seed=seed)


@SEARCHER_REGISTRY.register("optuna")
class OptunaSearcher(SampledSearcher):
    """Any sampler of Optuna, with its default arguments.

    If it proposes a genotype again, it is told the result that the study has of it. For every
    trial it is seeded anew, if it takes a seed; below 0, each run has a different one.
    """

    has_second_objective = True
    answers_duplicates = True
    num_decisive = 1  # the sampler learns from estimates, too

    def __init__(
        self,
        space: SearchSpace,
        budgets: Sequence[Budget] = (),
        *,
        sampler: str = "TPESampler",
        seed: int = 0,
        **size: int,
    ):
        super().__init__(space, budgets, **size)
        self.sampler, self.seed = build_sampler(sampler, seed), seed

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {**super().from_config(cfg), "sampler": cfg.SEARCH.OPTUNA.SAMPLER}

    def explore(self, known: Collection[Genotype], number: int) -> Genotype:
        """Return a random feasible genotype, seeded by the number of the trial."""
        random = Random(f"{self.seed}/explore/{number}")
        [found] = feasible_samples(self.space, self.budgets, 1, random, known=known)
        return found


def build_sampler(name: str, seed: int) -> BaseSampler:
    """Build a sampler of ``optuna.samplers`` with its defaults; a seed below 0 differs per run."""
    key, classes = "SEARCH.OPTUNA.SAMPLER", inspect.getmembers(optuna.samplers, inspect.isclass)
    known = {n: c for n, c in classes if issubclass(c, BaseSampler) and not inspect.isabstract(c)}
    if name not in known:
        raise invalid(key, name, f"one of optuna.samplers: {', '.join(sorted(known))}", known=known)
    if name in ("BruteForceSampler", "GridSampler"):
        exhaustive = "Use SEARCH.ALGORITHM 'exhaustive'"
        raise invalid(key, name, but="it lists all genotypes", fix=exhaustive)
    kind: Any = known[name]

    class Seeded(kind):  # type: ignore[misc]
        """Begins anew with each trial, seeded by its number.

        Otherwise a resumed search, or each worker, would draw the same numbers again. What a
        sampler has learned it reads from the study anyway.
        """

        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            kind.__init__(self, seed=Random(f"{seed}/{trial.number}").getrandbits(32))
            super().before_trial(study, trial)

        def __str__(self) -> str:
            return name

    is_seeded = "seed" in inspect.signature(kind).parameters and seed >= 0
    try:
        sampler: BaseSampler = Seeded(seed=seed) if is_seeded else kind()
    except (TypeError, ImportError) as error:
        raise ValueError(
            f"{key} is '{name}', which cannot be built from its default arguments ({error}). Use "
            "e.g. 'TPESampler' or 'NSGAIISampler'."
        ) from error
    return sampler


def _check(key: str, value: float, expected: str, is_right: bool) -> None:
    if not is_right:
        raise invalid(f"SEARCH.EVOLUTION.{key}", value, expected)
