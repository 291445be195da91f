"""From a config to the search algorithm it names."""

import inspect
from collections.abc import Sequence

import optuna
from optuna.samplers import BaseSampler

from crnas_d2.space import Budget, Genotype, build_search_space

from .evolution import EvolutionSampler
from .exhaustive import ExhaustiveSearcher
from .greedy import GreedySearcher
from .sampled import SampledSearcher
from .searcher import Searcher

__all__ = ["build_searcher"]

ALGORITHMS = ("exhaustive", "greedy", "evolution", "random", "optuna")
SECOND_OBJECTIVES = ("", "macs", "parameters")


def build_searcher(cfg, budgets: Sequence[Budget]) -> Searcher:
    """The search of ``SEARCH.ALGORITHM`` over the space of ``MODEL.SUPERNET``.

    Args:
        budgets: what a candidate may cost.

    Raises:
        ValueError: an unknown algorithm, or settings with which there is nothing to search.
    """
    algorithm = cfg.SEARCH.ALGORITHM
    space = build_search_space(cfg)
    _check_second_objective(cfg)
    if algorithm == "exhaustive":
        return ExhaustiveSearcher(space, budgets)
    if algorithm == "greedy":
        if budgets:
            raise ValueError(
                f"{budgets[0].limits} is a limit that a greedy search cannot keep: it draws what "
                "it has not yet decided. Set it to []."
            )
        return GreedySearcher(space, cfg.SEARCH.GREEDY.TOP_K)
    if algorithm not in ALGORITHMS:
        raise ValueError(f"SEARCH.ALGORITHM is '{algorithm}'; expected one of {ALGORITHMS}.")

    def admits(genotype: Genotype) -> bool:
        return space.admits(genotype, budgets)

    _check_evolution(cfg)
    evolution = cfg.SEARCH.EVOLUTION
    total = evolution.POPULATION * evolution.GENERATIONS
    if space.size <= 100_000 and total > (eligible := len(space.eligible(budgets))):
        raise ValueError(
            f"SEARCH.EVOLUTION asks for {total} candidates, POPULATION {evolution.POPULATION} x "
            f"GENERATIONS {evolution.GENERATIONS}, but only {eligible} genotypes are eligible. "
            "Evaluate fewer, or all of them with SEARCH.ALGORITHM 'exhaustive'."
        )
    if algorithm == "optuna":
        sampler = _stock_sampler(cfg.SEARCH.OPTUNA.SAMPLER, cfg.SEED)
    else:
        sampler = EvolutionSampler(
            space,
            admits,
            # The first generation is drawn at random, so random search has no other.
            population_size=total if algorithm == "random" else evolution.POPULATION,
            num_parents=evolution.PARENTS,
            mutation_probability=evolution.MUTATION_PROBABILITY,
            crossover_share=evolution.CROSSOVER_SHARE,
            seed=cfg.SEED,
        )
    return SampledSearcher(sampler, total, admits)


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
    # Detectron2's SEED -1 means: another one in each run.
    seeded = {"seed": seed} if "seed" in arguments and seed >= 0 else {}
    try:
        return known[name](**seeded)
    except TypeError as error:
        raise ValueError(
            f"SEARCH.OPTUNA.SAMPLER is '{name}', which cannot be made without arguments of its "
            f"own ({error}). Use e.g. 'TPESampler' or 'NSGAIISampler'."
        ) from error


def _check_evolution(cfg) -> None:
    evolution = cfg.SEARCH.EVOLUTION
    for key, value, expected, is_right in (
        ("POPULATION", evolution.POPULATION, "at least 2", evolution.POPULATION >= 2),
        ("GENERATIONS", evolution.GENERATIONS, "at least 1", evolution.GENERATIONS >= 1),
        ("PARENTS", evolution.PARENTS, "at least 1", evolution.PARENTS >= 1),
        (
            "MUTATION_PROBABILITY",
            evolution.MUTATION_PROBABILITY,
            "above 0 and at most 1",
            0 < evolution.MUTATION_PROBABILITY <= 1,
        ),
        (
            "CROSSOVER_SHARE",
            evolution.CROSSOVER_SHARE,
            "from 0 to 1",
            0 <= evolution.CROSSOVER_SHARE <= 1,
        ),
    ):
        if not is_right:
            raise ValueError(f"SEARCH.EVOLUTION.{key} is {value}; expected {expected}.")


def _check_second_objective(cfg) -> None:
    second, algorithm = cfg.SEARCH.SECOND_OBJECTIVE, cfg.SEARCH.ALGORITHM
    if second not in SECOND_OBJECTIVES:
        raise ValueError(
            f"SEARCH.SECOND_OBJECTIVE is '{second}'; expected one of {SECOND_OBJECTIVES}."
        )
    if second and algorithm != "optuna":
        raise ValueError(
            f"SEARCH.SECOND_OBJECTIVE is '{second}', but SEARCH.ALGORITHM '{algorithm}' has one "
            "objective. Use 'optuna' with SEARCH.OPTUNA.SAMPLER 'NSGAIISampler', or empty it."
        )
