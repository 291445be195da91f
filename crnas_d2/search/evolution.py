"""Evolutionary search under budgets (DetNAS algorithm 2), as an Optuna sampler."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from random import Random
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseGASampler
from optuna.trial import FrozenTrial, TrialState

from crnas_d2.space import Genotype, SearchSpace

from .candidates import decided_genotype, genotype_of, is_taken_care_of

_MOST_SAMPLES = 200_000  # in a row without a new feasible one; then the space is exhausted
_MOST_CHILDREN = 1_000  # attempts per kind: similar parents may have no new feasible child


class EvolutionSampler(BaseGASampler):
    """Proposes the candidates of one generation after the other.

    The first generation is sampled from the feasible genotypes, each choice uniformly. In each
    later one, mutations of one parent come first, then crossovers of two. Parents are the best of
    all earlier generations: algorithm 2 (line 12) takes those of the last generation, in which
    they could not survive here, because no genotype is evaluated twice. Candidates that failed are
    replaced. Proposals depend on the seed and on the results in the study alone, so that a stopped
    search with one worker resumes as if it had not been stopped.

    Args:
        population_size: candidates per generation.
        mutation_probability: that a mutation resamples a choice.
        crossover_share: fraction of crossovers in a generation.
    """

    def __init__(
        self,
        space: SearchSpace,
        is_feasible: Callable[[Genotype], bool],
        *,
        population_size: int = 50,
        num_parents: int = 10,
        mutation_probability: float = 0.1,
        crossover_share: float = 0.5,
        seed: int = 0,
    ):
        super().__init__(population_size)
        self.space, self.is_feasible, self.seed = space, is_feasible, seed
        self.num_parents, self.mutation_probability = num_parents, mutation_probability
        self.num_mutations = population_size - round(population_size * crossover_share)
        # Attempts of the present generation, by kind and parents, with whether each is feasible:
        # every proposal goes through all of them again.
        self._attempts: dict[tuple[Any, ...], list[tuple[Genotype, bool]]] = {}

    def select_parent(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Return the best candidates of the generations before ``generation``."""
        before = [t for earlier in range(generation) for t in self.get_population(study, earlier)]
        # Ties in the order of the genotypes, so that every worker selects the same parents.
        before.sort(key=lambda t: (-cast(float, t.value), decided_genotype(t, self.space)))
        return before[: self.num_parents]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {c.name: CategoricalDistribution(c.options) for c in self.space.choices}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, int]:
        """Propose the next candidate; raise ValueError if no new feasible one is found."""
        # The study tells the state of algorithm 2: its j, and how many candidates of it are born.
        generation = self.get_trial_generation(study, trial)
        trials = study.get_trials(deepcopy=False)
        others = [t for t in trials if t.number != trial.number and is_taken_care_of(t)]
        known = {genotype_of(other, self.space) for other in others}
        born = sum(self._is_of(study, other, generation) for other in others)
        passed, in_vain = set(), 0
        for genotype, is_feasible in self._proposals(study, generation, born):
            if genotype not in known and is_feasible:
                return self.space.values(genotype)
            # Attempts are seeded, so each call first repeats the earlier candidates, as progress.
            in_vain = 0 if genotype in known and genotype not in passed else in_vain + 1
            passed.add(genotype)
            if in_vain == _MOST_SAMPLES:
                break
        raise ValueError(
            f"{_MOST_SAMPLES:,} samples gave no new genotype that satisfies SEARCH.BUDGET; "
            f"{len(known)} are evaluated. Evaluate fewer (SEARCH.EVOLUTION.POPULATION, "
            "GENERATIONS), or widen the budget."
        )

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, _: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not a choice of the search space")

    def _is_of(self, study: optuna.Study, trial: FrozenTrial, generation: int) -> bool:
        if trial.state not in (TrialState.COMPLETE, TrialState.RUNNING):
            return False
        try:
            return self.get_trial_generation(study, trial) == generation
        except optuna.exceptions.UpdateFinishedTrialError:
            return False  # it ended meanwhile, and was not proposed by this sampler

    def _proposals(
        self, study: optuna.Study, generation: int, born: int
    ) -> Iterator[tuple[Genotype, bool]]:
        """Yield proposals for the next candidate, the first to try first; each with feasibility."""
        # Line 12: the top candidates become parents. The first generation has none.
        trials = self.get_parent_population(study, generation)
        parents = sorted(decided_genotype(trial, self.space) for trial in trials)
        # Lines 14 and 15: mutations first, then crossovers, also if no mutation is new.
        kinds = ["mutation", "crossover"] if born < self.num_mutations else ["crossover"]
        for kind in kinds if parents else ():
            for attempt in range(_MOST_CHILDREN):
                yield self._attempt(generation, kind, parents, attempt)
        # Line 1: the first generation is random; so are candidates if parents have no new child.
        for attempt in count():
            yield self._attempt(generation, "random", (), attempt)

    def _attempt(
        self, generation: int, kind: str, parents: Sequence[Genotype], attempt: int
    ) -> tuple[Genotype, bool]:
        """Return an attempt, which seed and parents determine, and whether it is feasible."""
        key = generation, kind, tuple(parents)
        if key not in self._attempts:
            self._attempts = {k: v for k, v in self._attempts.items() if k[0] == generation}
        attempts = self._attempts.setdefault(key, [])
        if attempt == len(attempts):
            random = Random(f"{self.seed}/{generation}/{kind}/{attempt}")
            vary = {"mutation": self._mutate, "crossover": self._cross}.get(kind)
            genotype = vary(parents, random) if vary else self.space.sample(random)
            attempts.append((genotype, self.is_feasible(genotype)))
        return attempts[attempt]

    def _mutate(self, parents: Sequence[Genotype], random: Random) -> Genotype:
        """Return a parent with some of its choices resampled."""
        values = self.space.values(random.choice(parents))
        for choice in self.space.choices:
            is_new = choice.name not in values  # inactive in the parent, may become active
            if random.random() < self.mutation_probability or is_new:
                values[choice.name] = random.choice(choice.options)
        return self.space.genotype(self.space.active(values))

    def _cross(self, parents: Sequence[Genotype], random: Random) -> Genotype:
        """Return a child that takes each choice from one of two parents."""
        mother, father = (self.space.values(random.choice(parents)) for _ in range(2))
        values: dict[str, int] = {}
        for choice in self.space.choices:
            # One that is inactive in a parent comes from the other; in both, it stays inactive.
            inherited = [p[choice.name] for p in (mother, father) if choice.name in p]
            if choice.is_active(values) and inherited:
                values[choice.name] = random.choice(inherited)
        return self.space.genotype(values)
