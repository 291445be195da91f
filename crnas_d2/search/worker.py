"""A worker: takes one candidate after another from the study, and evaluates it."""

import time
from collections.abc import Callable, Sequence

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from crnas_d2.common.errors import JobError
from crnas_d2.space import Genotype, SearchSpace

from .candidates import ENQUEUED, ERROR, enqueue, genotype_of
from .presence import Lookout, at_work
from .searcher import Searcher
from .steps import FIRST, Evaluation, Step, Steps
from .storage_url import StorageError


def run_worker(
    study: optuna.Study,
    searcher: Searcher,
    evaluate: Callable[[Genotype], Evaluation],
    metric: str,
    after_candidate: Callable[[], None] = lambda: None,
    second_objective: Callable[[Genotype], float] | None = None,
    *,
    stops_early: bool = True,
) -> None:
    """Evaluate what the searcher proposes, along with other workers, until the search is over.

    A candidate fails if its fitness is missing or not finite, or if its evaluation raises an
    exception for the second time; it is evaluated again after the first time. A JobError, which
    every candidate would raise, ends the search. ``after_candidate`` is called after each
    evaluation and while waiting for others; for the rest, see :class:`Steps`.

    Raises:
        ValueError, StorageError: no metric, no new proposal, failures only, or no storage.
    """
    steps = Steps(study, searcher, metric, second_objective, stops_early=stops_early)
    lookout, pause = Lookout(), pause_after(0)
    while True:
        trials = study.get_trials(deepcopy=False)
        # First, because a sampler would skip the candidate of a dead worker as a duplicate.
        if dead := lookout.find_dead(study, trials):
            _release(dead, study, searcher.space)
            continue
        step = steps.next(trials)
        if step is Step.END:
            return
        if step is Step.EVALUATE:
            start = time.monotonic()
            run_trial(steps, evaluate)
            pause = pause_after(time.monotonic() - start)
        else:
            time.sleep(pause)
        after_candidate()


def pause_after(seconds: float) -> float:
    """Return how long a worker pauses between looks at the study, by the length of an evaluation.

    Long compared with a look, which keeps the storage busy; short compared with an evaluation.
    """
    return min(max(0.02 * seconds, 0.1), 10.0)


def run_trial(steps: Steps, evaluate: Callable[[Genotype], Evaluation]) -> None:
    """Ask for a trial, evaluate it, and tell the result."""
    trial = steps.study.ask()
    with at_work(trial):
        try:
            result = steps.begin(trial)
            if isinstance(result, Genotype):
                genotype = result
                try:
                    evaluation = evaluate(genotype)
                except JobError:
                    raise
                except Exception as error:
                    result = steps.fail(trial, genotype, error)
                else:
                    result = steps.judge(trial, genotype, evaluation)
        except StorageError:
            raise  # nobody can be told; the trial is found by its dead worker
        except Exception:
            steps.end(trial, TrialState.FAIL)
            raise
    steps.end(trial, result)
    if steps.failed == FIRST:
        last = trial.user_attrs[ERROR].strip().splitlines()[-1]
        raise ValueError(
            f"The evaluations of {FIRST} candidates in a row failed, the last one with "
            f"'{last}' (log.txt has the traceback). Solve it, then continue with --resume."
        )


def _release(dead: Sequence[FrozenTrial], study: optuna.Study, space: SearchSpace) -> None:
    """Enqueue the candidates of killed workers again."""
    for trial in dead:
        genotype = genotype_of(trial, space)
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            continue  # another idle worker was faster
        if genotype is not None and ENQUEUED in trial.user_attrs:
            enqueue(study, space, [genotype])
