"""Evolution and random search in their study: generations, budget, failures, resuming."""

import contextlib
import math
from random import Random

import optuna
import pytest
from study_worker import begin, in_memory
from study_worker import search as run

from crnas_d2.common.errors import JobError
from crnas_d2.search import EvolutionSampler, OptunaSearcher, SampledSearcher, evaluated
from crnas_d2.space import AdditiveCost, Budget, Choice, SearchSpace

SPACE = SearchSpace(
    "operation", tuple(Choice(f"block{i}.op", (0, 1, 2, 3), field="ops") for i in range(12))
)
_RANDOM = Random(7)
GAINS = [[_RANDOM.random() for _ in range(4)] for _ in range(12)]
BEST = sum(map(max, GAINS))


def fitness(genotype):
    """Each block contributes what its operation is worth, whatever the others do."""
    return sum(gains[op] for gains, op in zip(GAINS, genotype.ops, strict=False))


# So small that a sampler soon proposes something again.
SMALL = SearchSpace("operation", SPACE.choices[:3])

# Each operation costs its number.
OPS = {name: {op: op for op in range(4)} for name in SPACE.names}
COST = AdditiveCost("OPS", "ops", SPACE, OPS)


def cost(genotype):
    return sum(genotype.ops)


def sampler(population_size=20, is_feasible=lambda genotype: True, **arguments):
    arguments = {"num_parents": 5, "seed": 1, **arguments}
    return EvolutionSampler(SPACE, is_feasible, population_size=population_size, **arguments)


def evaluate(genotype):
    return {"bbox/AP": fitness(genotype)}


def search(study, total, evolution, evaluate=evaluate):
    searcher = SampledSearcher(SPACE, (), population=total, generations=1)
    searcher.sampler, searcher.is_feasible = evolution, evolution.is_feasible
    return run(searcher, study, evaluate)


def generations(study, evolution):
    """The genotypes of each generation."""
    found = []
    while population := evolution.get_population(study, len(found)):
        found.append([SPACE.genotype(trial.params) for trial in population])
    return found


@pytest.mark.slow
def test_evolution_finds_the_optimum_of_a_separable_fitness_far_faster_than_random():
    for seed in range(2):
        evolved = search(in_memory(), 300, sampler(30, num_parents=10, seed=seed))
        sampled = search(in_memory(), 300, sampler(300, seed=seed))
        assert len(set(evolved)) == len(evolved) == len(set(sampled)) == 300
        best_sampled = max(map(fitness, sampled))
        assert max(map(fitness, evolved[:150])) > best_sampled
        assert max(map(fitness, evolved)) > BEST - 0.35 * (BEST - best_sampled)


def test_a_seed_gives_the_same_search_and_another_seed_another():
    first, again = (search(in_memory(), 60, sampler()) for _ in range(2))
    assert first == again
    assert first != search(in_memory(), 60, sampler(seed=2))


def test_generations_have_the_size_of_the_population_and_descend_from_the_best_of_all_before():
    study, evolution = in_memory(), sampler(20, mutation_probability=0.1)
    search(study, 65, evolution)
    first, second, third, rest = generations(study, evolution)
    assert [len(first), len(second), len(third), len(rest)] == [20, 20, 20, 5]
    for earlier, generation in ((first, second), (first + second, third)):
        parents = sorted(earlier, key=fitness, reverse=True)[:5]
        mutants, crossed = generation[:10], generation[10:]
        for child in crossed:  # each block is that of one parent
            for block, op in enumerate(child.ops):
                assert op in {parent.ops[block] for parent in parents}

        changes = [
            min(sum(a != b for a, b in zip(m.ops, p.ops, strict=True)) for p in parents)
            for m in mutants
        ]
        # 12 blocks, each sampled anew with probability 0.1.
        assert min(changes) >= 1 and sum(changes) / len(mutants) < 3


def test_without_crossovers_all_children_are_mutations():
    study, evolution = in_memory(), sampler(20, crossover_share=0.0, mutation_probability=0.02)
    search(study, 40, evolution)
    first, second = generations(study, evolution)
    parents = sorted(first, key=fitness, reverse=True)[:5]
    for child in second:
        changes = [sum(a != b for a, b in zip(child.ops, p.ops, strict=True)) for p in parents]
        assert min(changes) <= 3


def test_everything_evaluated_satisfies_the_budget():
    seen = search(in_memory(), 100, sampler(is_feasible=lambda g: 10 <= cost(g) <= 12))
    assert len(set(seen)) == 100
    assert all(10 <= cost(genotype) <= 12 for genotype in seen)


def test_a_budget_that_gives_nothing_new_ends_the_search(monkeypatch):
    monkeypatch.setattr("crnas_d2.search.evolution._MOST_SAMPLES", 5_000)
    words = r"5,000 samples gave no new genotype that satisfies SEARCH\.BUDGET; "
    with pytest.raises(ValueError, match=f"{words}0 are evaluated"):
        search(in_memory(), 10, sampler(is_feasible=lambda genotype: False))
    searcher = SampledSearcher(SMALL, (), population=64, generations=1)
    searcher.sampler = EvolutionSampler(
        SMALL, lambda genotype: genotype.ops[0] < 2, population_size=20, num_parents=5, seed=1
    )
    with pytest.raises(ValueError, match=f"{words}32 are evaluated"):  # all that there are
        run(searcher, in_memory(), evaluate)


def test_a_failed_candidate_is_replaced_and_is_no_parent():
    def evaluate(genotype):
        return {"bbox/AP": fitness(genotype) if genotype.ops[0] else math.nan}

    study, evolution = in_memory(), sampler(20)
    seen = search(study, 60, evolution, evaluate)
    failed = [genotype for genotype in seen if genotype.ops[0] == 0]
    assert failed and len(seen) == 60 + len(failed) == len(set(seen))
    assert [len(generation) for generation in generations(study, evolution)] == [20, 20, 20]
    for generation in range(1, 3):
        parents = evolution.get_parent_population(study, generation)
        assert all(trial.params["block0.op"] != 0 for trial in parents)
    assert sum(c.fitness is None for c in evaluated(study, SPACE)) == len(failed)


def test_an_archval_with_nothing_to_score_ends_the_search():
    words = r"None of the first 5 candidates.*bbox/AP is nan.*nothing that it could score"
    with pytest.raises(ValueError, match=words):
        search(in_memory(), 60, sampler(), lambda genotype: {"bbox/AP": math.nan})


def test_a_supernet_that_detects_nothing_is_reported_once(caplog):
    search(in_memory(), 20, sampler(), lambda genotype: {"bbox/AP": 0.0})
    [warning] = [text for text in caplog.messages if "compares nothing" in text]
    assert "bbox/AP of the first 5 candidates is 0" in warning


def test_an_error_that_all_candidates_would_raise_ends_the_search_with_the_first():
    def evaluate(genotype):
        raise JobError("no variance")

    study = in_memory()
    with pytest.raises(JobError, match="no variance"):
        search(study, 60, sampler(), evaluate)
    assert len(study.trials) == 1 and not evaluated(study, SPACE)  # so that it is tried again


@pytest.mark.parametrize("stopped_in", [5, 27], ids=["first generation", "second generation"])
def test_stopped_in_mid_generation_and_resumed_equals_uninterrupted(tmp_path, stopped_in):
    expected = search(in_memory(), 45, sampler(20))

    class Killed(BaseException):
        """Nothing in between may catch it, as nothing catches a kill."""

    calls = []

    def evaluate(genotype):
        calls.append(genotype)
        if len(calls) == stopped_in:
            raise Killed
        return {"bbox/AP": fitness(genotype)}

    study = begin(tmp_path)
    with pytest.raises(Killed):
        search(study, 45, sampler(20), evaluate)
    rest = search(begin(tmp_path, resume=True), 45, sampler(20))
    assert calls[:-1] + rest == expected
    assert rest[0] == calls[-1]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")
def test_several_samplers_on_one_study_propose_nothing_twice(tmp_path):
    """As two workers do: each asks with trials of the other still running."""
    study = begin(tmp_path)
    study.sampler = sampler(6)
    running, seen = [], []
    for _ in range(20):
        trial = study.ask()
        values = {c.name: trial.suggest_categorical(c.name, c.options) for c in SPACE.choices}
        seen.append(SPACE.genotype(values))
        running.append((trial, fitness(seen[-1])))
        if len(running) == 3:
            study.tell(*running.pop(0))
    assert len(set(seen)) == 20


# Those that docs/SEARCHES.md lists.
SAMPLERS = ["TPESampler", "RandomSampler", "NSGAIISampler", "NSGAIIISampler", "QMCSampler"]
SAMPLERS.append(pytest.param("GPSampler", marks=pytest.mark.slow))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_stock_sampler_leads_a_search(name):
    budgets = [Budget(COST, 0, 18)]
    searcher = OptunaSearcher(SPACE, budgets, population=6, generations=5, sampler=name, seed=3)
    assert str(searcher.sampler) == name
    study = in_memory()
    seen = run(searcher, study, evaluate)
    assert len(set(seen)) == len(seen) == 30
    assert all(cost(genotype) <= 18 for genotype in seen)


@pytest.mark.parametrize("name", ["TPESampler", "RandomSampler", "NSGAIISampler"])
def test_a_stock_sampler_goes_on_where_it_was_stopped(tmp_path, name):
    def search(study, stop_after=100):
        def evaluate(genotype):
            seen.append(genotype)
            if len(seen) == stop_after:
                raise KeyboardInterrupt
            return {"bbox/AP": fitness(genotype)}

        size = {"population": 5, "generations": 3}
        seen, searcher = [], OptunaSearcher(SMALL, **size, sampler=name, seed=3)
        with contextlib.suppress(KeyboardInterrupt):
            run(searcher, study, evaluate)
        return seen

    expected = search(in_memory())
    before = search(begin(tmp_path), stop_after=8)
    assert before == expected[:8]
    after = search(begin(tmp_path, resume=True))
    # Nothing is drawn again: only what was interrupted may be evaluated again.
    assert not {*before[:-1]} & {*after}
    assert len(after) == 8 and len(set(after)) == 8


def test_a_sampler_learns_the_result_of_what_it_proposes_again():
    study = in_memory()
    searcher = OptunaSearcher(SMALL, population=10, generations=4, sampler="TPESampler", seed=3)
    run(searcher, study, evaluate)
    again = [trial for trial in study.trials if "same_as" in trial.user_attrs]
    assert again and len(evaluated(study, SMALL)) == 40
    for trial in again:
        first = study.trials[trial.user_attrs["same_as"]]
        assert trial.params == first.params and trial.values == first.values


def test_a_sampler_that_proposes_one_candidate_again_and_again_does_not_end_the_search():
    searcher = OptunaSearcher(SPACE, population=5, generations=4, sampler="TPESampler", seed=3)

    class Stubborn(optuna.samplers.RandomSampler):
        def sample_independent(self, study, trial, name, distribution):
            return distribution.choices[0]

    searcher.sampler = Stubborn()
    study = in_memory()
    run(searcher, study, evaluate)
    assert len(evaluated(study, SPACE)) == 20


def test_a_stock_sampler_that_finds_nothing_more_ends_the_search(monkeypatch):
    monkeypatch.setattr("crnas_d2.search.steps._MOST_PASSED_OVER", 25)
    arguments = {"population": 5, "generations": 1, "sampler": "RandomSampler", "seed": 0}
    searcher = OptunaSearcher(SPACE, [Budget(COST, 37, 40)], **arguments)  # 36 is the most
    with pytest.raises(ValueError, match=r"25 proposals of RandomSampler in a row"):
        run(searcher, in_memory(), lambda genotype: {"bbox/AP": 1.0})


def test_two_objectives_keep_fitness_and_cost():
    study = optuna.create_study(directions=["maximize", "minimize"])
    arguments = {"population": 6, "generations": 5, "sampler": "NSGAIISampler", "seed": 1}
    searcher = OptunaSearcher(SPACE, **arguments)
    run(searcher, study, evaluate, second_objective=COST)
    candidates = evaluated(study, SPACE)
    assert [c.fitness for c in candidates] == sorted((c.fitness for c in candidates), reverse=True)
    for trial in study.best_trials:
        genotype = SPACE.genotype(trial.params)
        assert trial.values == [fitness(genotype), cost(genotype)]
