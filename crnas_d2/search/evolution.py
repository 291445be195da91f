"""Evolutionary search under budgets (DetNAS algorithm 2), as an Optuna sampler."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseGASampler
from optuna.trial import FrozenTrial

from crnas_d2.space import Genotype, SearchSpace

from .generations import Progress
from .history import History

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
        self.size = population_size
        self.space, self.is_feasible, self.seed = space, is_feasible, seed
        self.num_parents, self.mutation_probability = num_parents, mutation_probability
        self.num_mutations = population_size - round(population_size * crossover_share)
        self._progress: Progress | None = None

    def propose(self, history: History) -> tuple[Genotype, dict[str, object]]:
        """Return the next candidate, and the attribute of its trial that tells its generation.

        Raises:
            ValueError: no new feasible one is found.
        """
        generation = self._progress_of(history).generation(self.size)
        return self._sample(history, generation), {self._get_generation_key(): generation}

    def _sample(self, history: History, generation: int, asked: int | None = None) -> Genotype:
        """Return the next candidate of a generation, for a trial that may have been asked."""
        # The study tells the state of algorithm 2: its j, and how many candidates of it are born.
        progress, key = self._progress_of(history), self._get_generation_key()
        running = (t for t in history.running if t.number != asked)
        born = progress.sizes[generation]
        born += sum(trial.system_attrs.get(key) == generation for trial in running)
        parents = self._parents(history, generation)
        mutates = born < self.num_mutations
        attempts = progress.attempts(generation, parents, mutates, self._propose)
        genotype = attempts.first_new(history, _MOST_SAMPLES)
        if genotype is None:
            raise ValueError(
                f"{_MOST_SAMPLES:,} samples gave no new genotype that satisfies SEARCH.BUDGET; "
                f"{history.num_known} are evaluated. Evaluate fewer (SEARCH.EVOLUTION.POPULATION, "
                "GENERATIONS), or widen the budget."
            )
        return genotype

    # The interface of Optuna's samplers, for a study that asks by itself.

    def select_parent(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Return the best candidates of the generations before ``generation``."""
        trials = study.get_trials(deepcopy=False)
        best = self._progress_of(self._history(study)).best(generation, self.num_parents)
        return [trials[trial.number] for trial in best]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {c.name: CategoricalDistribution(c.options) for c in self.space.choices}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, int]:
        """Propose the next candidate; raise ValueError if no new feasible one is found."""
        generation = self.get_trial_generation(study, trial)
        genotype = self._sample(self._history(study), generation, trial.number)
        return self.space.values(genotype)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, _: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not a choice of the search space")

    def _parents(self, history: History, generation: int) -> tuple[Genotype, ...]:
        """Return the parents of a generation, in order; the first worker to need them selects."""
        # Line 12: the top candidates become parents. The first generation has none.
        if generation == 0:
            return ()
        progress, storage = self._progress_of(history), history.study._storage
        if (known := progress.parents.get(generation)) is not None:
            return known
        study_id, attribute = history.study._study_id, f"{type(self).__name__}:parents"
        written = storage.get_study_system_attrs(study_id)
        # Earlier versions wrote an attribute per generation.
        ids = written.get(f"{self._get_parent_cache_key_prefix()}{generation}")
        if written.get(attribute, {}).get("generation") == generation:
            ids = written[attribute]["ids"]
        if is_new := ids is None:
            ids = [t._trial_id for t in progress.best(generation, self.num_parents)]
            value: Any = {"generation": generation, "ids": ids}
            storage.set_study_system_attr(study_id, attribute, value)
        parents = progress.genotypes_of(ids)
        if not is_new:  # else another worker may have written, too: the last one counts
            progress.parents = {generation: parents}
        return parents

    def _propose(
        self, generation: int, parents: Sequence[Genotype], mutates: bool
    ) -> Iterator[tuple[Genotype, bool]]:
        """Yield attempts at a candidate, the first to try first; each with its feasibility."""
        # Lines 14 and 15: mutations first, then crossovers, also if no mutation is new.
        kinds = ["mutation", "crossover"] if mutates else ["crossover"]
        for kind in kinds if parents else ():
            for attempt in range(_MOST_CHILDREN):
                yield self._attempt(generation, kind, parents, attempt)
        # Line 1: the first generation is random; so are candidates if parents have no new child.
        for attempt in count():
            yield self._attempt(generation, "random", (), attempt)

    def _attempt(
        self, generation: int, kind: str, parents: Sequence[Genotype], attempt: int
    ) -> tuple[Genotype, bool]:
        random = Random(f"{self.seed}/{generation}/{kind}/{attempt}")
        vary = {"mutation": self._mutate, "crossover": self._cross}.get(kind)
        genotype = vary(parents, random) if vary else self.space.sample(random)
        return genotype, self.is_feasible(genotype)

    def _progress_of(self, history: History) -> Progress:
        if self._progress is None or self._progress.history is not history:
            self._progress = Progress(history, self._get_generation_key())
        self._progress.update()
        return self._progress

    def _history(self, study: optuna.Study) -> History:
        """Return what is known of a study that asks by itself."""
        if self._progress is not None and self._progress.history.study is study:
            history = self._progress.history
            history.read(history.open)
            return history
        return History(study, self.space)

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
