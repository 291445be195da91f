"""Searches driven by an Optuna sampler: evolution, random search, any stock sampler."""

import inspect
from collections.abc import Collection, Sequence

import optuna
from optuna.samplers import BaseSampler

from crnas_d2.space import Budget, Genotype, SearchSpace, feasible_genotypes

from .candidates import Candidate
from .evolution import EvolutionSampler
from .searcher import SEARCHER_REGISTRY, Searcher

__all__ = ["EvolutionSearcher", "OptunaSearcher", "RandomSearcher", "SampledSearcher"]

_MOST_FAILURES = 20  # from the start; then the supernet counts as untrained
_MOST_COUNTED = 100_000  # genotypes; feasible ones of a larger space are not counted beforehand


class SampledSearcher(Searcher):
    """Asks an Optuna sampler for one candidate at a time.

    A subclass sets :attr:`sampler`, which may propose duplicates and infeasible genotypes; these
    are skipped.

    Args:
        population, generations: the search ends after ``population * generations`` candidates with
            a fitness.

    Raises:
        ValueError: numbers out of range, or more candidates than feasible genotypes.
    """

    def __init__(
        self, space: SearchSpace, budgets: Sequence[Budget], *, population: int, generations: int
    ):
        super().__init__(space, budgets)
        _check("POPULATION", population, "at least 2", population >= 2)
        _check("GENERATIONS", generations, "at least 1", generations >= 1)
        self.total = population * generations
        if space.size > _MOST_COUNTED:
            return
        if self.total > (feasible := len(feasible_genotypes(space, budgets))):
            raise ValueError(
                f"SEARCH.EVOLUTION asks for {self.total} candidates, POPULATION {population} x "
                f"GENERATIONS {generations}, but only {feasible} genotypes are feasible. "
                "Evaluate fewer, or all of them with SEARCH.ALGORITHM 'exhaustive'."
            )

    @classmethod
    def from_config(cls, cfg) -> dict:
        evolution = cfg.SEARCH.EVOLUTION
        return {"population": evolution.POPULATION, "generations": evolution.GENERATIONS}

    def propose(self, candidates: Collection[Candidate]) -> list[Genotype]:
        return []

    def may_ask(self, candidates: Collection[Candidate], num_running: int) -> bool:
        """Whether the candidates with a fitness and the running ones are fewer than ``total``.

        Raises:
            ValueError: the first candidates all failed.
        """
        scored = sum(candidate.fitness is not None for candidate in candidates)
        if not scored and len(candidates) >= _MOST_FAILURES:
            raise ValueError(
                f"None of the first {len(candidates)} candidates has a finite fitness: the "
                "supernet detects nothing yet, or archval has nothing to score. Train it longer."
            )
        return scored + num_running < self.total


@SEARCHER_REGISTRY.register("evolution")
class EvolutionSearcher(SampledSearcher):
    """DetNAS algorithm 2, see :class:`EvolutionSampler`.

    Args:
        parents, mutation_probability, crossover_share, seed: see :class:`EvolutionSampler`.
    """

    def __init__(
        self,
        space: SearchSpace,
        budgets: Sequence[Budget] = (),
        *,
        population: int = 50,
        generations: int = 20,
        parents: int = 10,
        mutation_probability: float = 0.1,
        crossover_share: float = 0.5,
        seed: int = 0,
    ):
        _check("PARENTS", parents, "at least 1", parents >= 1)
        probability = mutation_probability
        _check("MUTATION_PROBABILITY", probability, "above 0 and at most 1", 0 < probability <= 1)
        _check("CROSSOVER_SHARE", crossover_share, "from 0 to 1", 0 <= crossover_share <= 1)
        super().__init__(space, budgets, population=population, generations=generations)
        self.sampler = EvolutionSampler(
            space,
            self.is_feasible,
            population_size=population,
            num_parents=parents,
            mutation_probability=mutation_probability,
            crossover_share=crossover_share,
            seed=seed,
        )

    @classmethod
    def from_config(cls, cfg) -> dict:
        evolution = cfg.SEARCH.EVOLUTION
        return {
            **super().from_config(cfg),
            "parents": evolution.PARENTS,
            "mutation_probability": evolution.MUTATION_PROBABILITY,
            "crossover_share": evolution.CROSSOVER_SHARE,
            "seed": cfg.SEED,
        }


@SEARCHER_REGISTRY.register("random")
class RandomSearcher(SampledSearcher):
    """Feasible genotypes, each choice sampled uniformly: the baseline of every search.

    Args:
        seed: of the samples.
    """

    def __init__(
        self,
        space: SearchSpace,
        budgets: Sequence[Budget] = (),
        *,
        population: int = 50,
        generations: int = 20,
        seed: int = 0,
    ):
        super().__init__(space, budgets, population=population, generations=generations)
        # The first generation of evolution is random, so random search is a single generation.
        self.sampler = EvolutionSampler(
            space, self.is_feasible, population_size=self.total, seed=seed
        )

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {**super().from_config(cfg), "seed": cfg.SEED}


@SEARCHER_REGISTRY.register("optuna")
class OptunaSearcher(SampledSearcher):
    """Any sampler of Optuna, with its default arguments.

    Args:
        sampler: its name in ``optuna.samplers``.
        seed: if the sampler takes one; below 0: a different one in each run, as in Detectron2.
    """

    has_second_objective = True

    def __init__(
        self,
        space: SearchSpace,
        budgets: Sequence[Budget] = (),
        *,
        population: int = 50,
        generations: int = 20,
        sampler: str = "TPESampler",
        seed: int = 0,
    ):
        super().__init__(space, budgets, population=population, generations=generations)
        self.sampler = _stock_sampler(sampler, seed)

    @classmethod
    def from_config(cls, cfg) -> dict:
        sampler = {"sampler": cfg.SEARCH.OPTUNA.SAMPLER, "seed": cfg.SEED}
        return {**super().from_config(cfg), **sampler}


def _stock_sampler(name: str, seed: int) -> BaseSampler:
    known = {
        other: kind
        for other, kind in vars(optuna.samplers).items()
        if inspect.isclass(kind) and issubclass(kind, BaseSampler) and not inspect.isabstract(kind)
    }
    if name not in known:
        raise ValueError(
            f"SEARCH.OPTUNA.SAMPLER is '{name}'; optuna.samplers has {', '.join(sorted(known))}."
        )
    arguments = inspect.signature(known[name]).parameters
    seeded = {"seed": seed} if "seed" in arguments and seed >= 0 else {}
    try:
        return known[name](**seeded)
    except TypeError as error:
        raise ValueError(
            f"SEARCH.OPTUNA.SAMPLER is '{name}', which cannot be built from its default arguments "
            f"({error}). Use e.g. 'TPESampler' or 'NSGAIISampler'."
        ) from error


def _check(key: str, value: float, expected: str, is_right: bool) -> None:
    if not is_right:
        raise ValueError(f"SEARCH.EVOLUTION.{key} is {value}; expected {expected}.")
