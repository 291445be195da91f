"""A worker: takes one candidate after another from the study, and evaluates it."""

import time
from collections.abc import Callable

import optuna
from optuna.trial import TrialState

from crnas_d2.common.errors import JobError
from crnas_d2.space import Genotype

from .candidates import ENQUEUED, ERROR, Candidates
from .database import Ending
from .history import History
from .presence import Lookout, heartbeats
from .searcher import Searcher
from .steps import FIRST, Evaluation, Step, Steps
from .storage_url import StorageError
from .trial_sets import end_trials


def run_worker(
    study: optuna.Study,
    searcher: Searcher,
    evaluate: Callable[[Genotype], Evaluation],
    metric: str,
    after_candidate: Callable[[Candidates], None] = lambda candidates: None,
    second_objective: Callable[[Genotype], float] | None = None,
    *,
    stops_early: bool = True,
) -> None:
    """Evaluate what the searcher proposes, along with other workers, until the search is over.

    A candidate fails if its fitness is missing or not finite, or if its evaluation raises an
    exception for the second time; it is evaluated again after the first time. A JobError, which
    every candidate would raise, ends the search. ``after_candidate`` is called with all
    candidates after each evaluation and while waiting for others; for the rest, see
    :class:`Steps`.

    Raises:
        ValueError, StorageError: no metric, no new proposal, failures only, or no storage.
    """
    steps = Steps(study, searcher, metric, second_objective, stops_early=stops_early)
    history, lookout, pause = steps.history, Lookout(), pause_after(0)
    with heartbeats(study._storage, history.mine):
        while True:
            # First, because a sampler would skip the candidate of a dead worker as a duplicate.
            if _release_dead(lookout, history):
                continue
            step = steps.next()
            if step is Step.END:
                return
            if step is Step.EVALUATE:
                start = time.monotonic()
                run_trial(steps, evaluate)
                pause = pause_after(time.monotonic() - start)
            else:
                time.sleep(pause)
            history.update()
            after_candidate(history.candidates)


def pause_after(seconds: float) -> float:
    """Return how long a worker pauses between looks at the study, by the length of an evaluation.

    Long compared with a look, which keeps the storage busy; short compared with an evaluation.
    """
    return min(max(0.02 * seconds, 0.1), 10.0)


def run_trial(steps: Steps, evaluate: Callable[[Genotype], Evaluation]) -> None:
    """Begin a candidate, evaluate it, and tell the result."""
    if (begun := steps.begin()) is None:
        return
    try:
        try:
            evaluation = evaluate(begun.genotype)
        except JobError:
            raise
        except Exception as error:
            result = steps.fail(begun, error)
        else:
            result = steps.judge(begun, evaluation)
    except StorageError:
        raise  # nobody can be told; the trial is found by its dead worker
    except Exception:
        steps.end(begun, TrialState.FAIL)
        raise
    steps.end(begun, result)
    if steps.failed == FIRST:
        last = begun.attributes[ERROR].strip().splitlines()[-1]
        raise ValueError(
            f"The evaluations of {FIRST} candidates in a row failed, the last one with "
            f"'{last}' (log.txt has the traceback). Solve it, then continue with --resume."
        )


def _release_dead(lookout: Lookout, history: History) -> bool:
    """Enqueue the candidates of killed workers again; return whether there were any."""
    study = history.study
    if not (dead := lookout.find_dead(study, history.running)):
        return False
    history.read([trial._trial_id for trial in dead])  # one may have beaten, or ended, meanwhile
    dead = lookout.find_dead(study, history.running)
    genotypes = [history.genotype(trial) for trial in dead]
    ids = [trial._trial_id for trial in dead]
    endings = [Ending(trial_id, TrialState.FAIL, None, {}) for trial_id in ids]
    is_ended = end_trials(study._storage, endings)  # False: another idle worker was faster
    history.read(ids)
    again = zip(dead, genotypes, is_ended, strict=True)
    history.enqueue(g for t, g, e in again if e and g is not None and ENQUEUED in t.user_attrs)
    return bool(dead)
