"""Checks of what a training or a search asks: searchers, path samplers and scores."""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import optuna
from detectron2.config import CfgNode
from optuna.trial import FrozenTrial, TrialState
from torch import nn

from crnas_d2.config import NetworkSpec
from crnas_d2.engine.path_samplers import PathSampler
from crnas_d2.engine.scores import Score
from crnas_d2.search import Candidates, Searcher, evaluated, run_worker
from crnas_d2.space import AdditiveCost, Budget, Choice, Genotype, SearchSpace

from .demand import demand

_BREAKS = (1, 3, 8)  # trials after which a search is stopped and resumed


def check_searcher(searcher: type[Searcher], **settings: Any) -> None:
    """Check a searcher on a small space: what it proposes, when it ends, and that it resumes.

    The settings are further arguments of its constructor. Of the 72 genotypes of the space, 44 are
    feasible; a searcher of prefixes has no budget.
    """
    sizes = {"res2": (1, 2), "res3": (1, 2, 3), "res4": (2, 3, 4, 5), "res5": (1, 2, 3)}
    choices = (Choice(f"{s}.depth", n, field="depths", stage=s) for s, n in sizes.items())
    space = SearchSpace("stage", tuple(choices))
    depths = {choice.name: {depth: depth for depth in choice.options} for choice in space.choices}
    blocks = AdditiveCost("BLOCKS", "blocks", space, depths)
    budgets = [] if searcher.proposes_prefixes else [Budget(blocks, 0, 9)]

    def search(trials: Sequence[FrozenTrial] = (), fails: bool = False) -> optuna.Study:
        return _search(searcher(space, budgets, **settings), trials, fails)

    name, whole, built = searcher.__name__, search(), searcher(space, budgets, **settings)
    found, order = {candidate.genotype for candidate in evaluated(whole, space)}, _order(whole)
    demand(
        built.total in (None, len(found)),
        f"{name}.total is {built.total}, but the search evaluated {len(found)} candidates.",
    )
    demand(
        built.genotypes is None or set(built.genotypes) == found,
        f"{name}.genotypes must be those that it evaluates.",
    )
    demand(_order(search()) == order, f"{name} must propose the same with the same seed.")
    for number in _BREAKS:
        again = _order(search(whole.get_trials()[:number]))
        demand(
            again == order,
            f"{name} must keep no state: resumed after {number} trials it evaluates {again}; "
            f"without a break it evaluates {order}.",
        )
    search(fails=True)


def _search(searcher: Searcher, trials: Sequence[FrozenTrial], fails: bool) -> optuna.Study:
    """Run a search whose fitness is random, or missing for some genotypes."""
    name, space = type(searcher).__name__, searcher.space
    study = optuna.create_study(direction="maximize", sampler=searcher.sampler)
    study.add_trials(trials)

    def evaluate(genotype: Genotype) -> dict[str, float]:
        fitness = Random(str(genotype)).random()
        return {} if fails and fitness < 1 / 5 else {"fitness": fitness}

    def check_proposals(candidates: Candidates) -> None:
        demand(len(candidates) <= 2 * space.size, f"{name} does not end: propose() must.")
        known = candidates.by_genotype.keys()
        proposed = list(searcher.propose(candidates))
        demand(
            len(set(proposed)) == len(proposed) and not known & set(proposed),
            f"{name} must not propose a genotype twice, or one that is evaluated: {proposed}.",
        )
        for genotype in (*proposed, *known):
            space.validate(genotype, partial=searcher.proposes_prefixes)
            demand(
                not space.is_complete(genotype) or searcher.is_feasible(genotype),
                f"{name} must propose feasible genotypes only; {genotype} is not.",
            )

    run_worker(study, searcher, evaluate, "fitness", check_proposals)
    return study


def _order(study: optuna.Study) -> list[dict[str, Any]]:
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return [trial.params for trial in trials]


def check_path_sampler(path_sampler: type[PathSampler]) -> None:
    """Check that the path of an iteration depends on the seed and the iteration alone.

    So all ranks, and a resumed training, sample the same. Samplers without paths pass.
    """
    name = path_sampler.__name__
    if path_sampler.__call__ is PathSampler.__call__:
        return
    sizes = (2, 3, 4)
    choices = (Choice(f"res2.{i}.op", tuple(range(n)), field="ops") for i, n in enumerate(sizes))
    space = SearchSpace("operation", tuple(choices))
    first, second = path_sampler(space, seed=1), path_sampler(space, seed=1)
    paths = [first(iteration) for iteration in range(24)]
    for path in paths:
        space.validate(path)
    backwards = [second(iteration) for iteration in reversed(range(24))]
    demand(
        paths == backwards[::-1],
        f"The paths of {name} must depend on the seed and the iteration alone; in another order "
        "of iterations, they are others.",
    )
    for choice, taken in zip(space.choices, zip(*(p.ops for p in paths), strict=True), strict=True):
        missing = set(choice.options) - set(taken)
        demand(not missing, f"{name} never takes {missing} of {choice.name} in 24 iterations.")


def check_score(score: type[Score], cfg: CfgNode, model: nn.Module | None = None) -> None:
    """Check that a score of a search gives its metric, a finite number, the same each time.

    ``model`` is the supernet with its weights, if the score uses it.
    """
    score.check(cfg)
    name, metric, built = score.__name__, score.metric(cfg), score.from_config(cfg, model)
    space = NetworkSpec.from_config(cfg).space
    assert isinstance(space, SearchSpace)
    for seed in range(2):
        genotype = space.sample(Random(seed))
        metrics, again = built(genotype), built(genotype)
        demand(
            isinstance(metrics, Mapping) and math.isfinite(metrics.get(metric, math.nan)),
            f"{name} must return a finite {metric}, its metric(); it returned {metrics}.",
        )
        demand(metrics == again, f"{name} must score a genotype alike; got {metrics}, {again}.")
    demand(all(score.describe(cfg)), f"{name}.describe() must return lines.")
