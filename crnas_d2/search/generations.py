"""How far an evolution is: its generations, and the attempts at the next candidate of one."""

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from optuna.trial import FrozenTrial, TrialState

from crnas_d2.space import Genotype

from .history import History

_MOST_INSERTED = 100  # candidates at a time; more are sorted with all others

Attempt = tuple[Genotype, bool]  # and whether it is feasible


class Attempts:
    """Attempts at the next candidate of a generation, which are made once.

    What lies before the first new one need not be looked at again: it is known or infeasible, and
    stays so, unless a candidate is lost.
    """

    def __init__(self, attempts: Iterator[Attempt]):
        self._coming, self._made = attempts, list[Attempt]()
        self._begin_anew(0)

    def _begin_anew(self, num_lost: int) -> None:
        self._place = self._in_vain = 0
        self._passed: set[Genotype] = set()
        self._num_lost = num_lost

    def first_new(self, history: History, patience: int) -> Genotype | None:
        """Return the first that is feasible and not known; ``None`` after too many in a row."""
        if self._num_lost != history.num_lost:
            self._begin_anew(history.num_lost)
        while self._in_vain < patience:
            if self._place == len(self._made):
                self._made.append(next(self._coming))
            genotype, is_feasible = self._made[self._place]
            is_known = history.is_known(genotype)
            if is_feasible and not is_known:
                return genotype
            # Attempts are seeded, so they begin with the candidates that there are, as progress.
            is_progress = is_known and genotype not in self._passed
            self._in_vain = 0 if is_progress else self._in_vain + 1
            self._passed.add(genotype)
            self._place += 1
        return None


class Progress:
    """The generations of an evolution, from the finished trials of its study.

    Attributes:
        sizes: number of candidates with a fitness, by generation.
        parents: of the present generation, by its number, if they are settled.
    """

    def __init__(self, history: History, key: str):
        self.history, self._key = history, key
        self.sizes: Counter[int] = Counter()
        self.parents: dict[int, tuple[Genotype, ...]] = {}
        self._num_read = 0
        # In order, so that every worker selects the same parents: ties by genotype and number.
        self._ranked: list[tuple[float, Genotype, int, FrozenTrial]] = []
        self._genotypes: dict[int, Genotype] = {}  # by the id of the trial
        self._attempts: dict[tuple[object, ...], Attempts] = {}

    def update(self) -> None:
        """Take in what has ended."""
        new = []
        for trial, genotype in self.history.finished[self._num_read :]:
            generation = trial.system_attrs.get(self._key)
            if generation is not None and trial.state == TrialState.COMPLETE:
                assert genotype is not None and trial.values is not None, trial.number
                self.sizes[generation] += 1
                new.append((-trial.values[0], genotype, trial.number, trial))
                self._genotypes[trial._trial_id] = genotype
        self._num_read = len(self.history.finished)
        if len(new) > _MOST_INSERTED:
            self._ranked = sorted([*self._ranked, *new])
        else:
            for entry in new:
                insort(self._ranked, entry)

    def generation(self, size: int) -> int:
        """Return the present generation; each has ``size`` candidates with a fitness."""
        last = max(self.sizes, default=0)
        return last if self.sizes[last] < size else last + 1

    def best(self, generation: int, number: int) -> list[FrozenTrial]:
        """Return the best candidates of all generations before one."""
        found: list[FrozenTrial] = []
        for *_, trial in self._ranked:
            if len(found) == number:
                break
            if trial.system_attrs[self._key] < generation:
                found.append(trial)
        return found

    def genotypes_of(self, ids: Sequence[int]) -> tuple[Genotype, ...]:
        """Return the genotypes of candidates with a fitness, in order."""
        if missing := [trial_id for trial_id in ids if trial_id not in self._genotypes]:
            self.history.read(missing)  # another worker has seen them end
            self.update()
        return tuple(sorted(self._genotypes[trial_id] for trial_id in ids))

    def attempts(
        self,
        generation: int,
        parents: tuple[Genotype, ...],
        mutates: bool,
        make: Callable[[int, Sequence[Genotype], bool], Iterator[Attempt]],
    ) -> Attempts:
        """Return the attempts of a generation, with or without mutations."""
        key = generation, parents, mutates
        if key not in self._attempts:
            self._attempts = {k: v for k, v in self._attempts.items() if k[:2] == key[:2]}
            self._attempts[key] = Attempts(make(*key))
        return self._attempts[key]
