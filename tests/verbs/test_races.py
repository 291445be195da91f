"""Racing searches: resumed, shared by workers, with parents; what they leave, and what cannot."""

import csv
import multiprocessing
import os
import signal
import time

import numpy as np
import optuna
import pytest
import toy
from detectron2.data import MetadataCatalog

from crnas_d2 import run_search
from crnas_d2 import search as searches
from crnas_d2.common.errors import JobError
from crnas_d2.engine.estimate import Speed, estimate_search
from crnas_d2.evaluation import ImageHits, NoiseFiles, Race, SubnetEvaluator
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import StageKind
from crnas_d2.search import EvolutionSearcher, ExhaustiveSearcher, evaluated, run_worker
from crnas_d2.space import Genotype
from crnas_d2.verbs.search.workers import rival_finder

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = StageKind([(1, 2, 3)] * 3 + [(1, 2)]).build_space(ResNetFamily(), Genotype())
NUM_IMAGES, PARTS = 600, (60, 150, 300)
HARD = np.random.default_rng(0).random(NUM_IMAGES)


def skill(genotype):
    return 0.1 + 0.8 * sum(d * w for d, w in zip(genotype.depths, (9, 5, 3, 1), strict=True)) / 53


def hits(genotype):
    """Images that are hard for one network are hard for all, and each has some luck of its own."""
    luck = np.random.default_rng(list(genotype.depths)).normal(0, 0.1, NUM_IMAGES)
    return ImageHits(HARD + luck < skill(genotype))


def score(genotype):
    return 100 * float(hits(genotype).hits.mean())


class Evaluation:
    """Evaluates candidates part by part; keeps those begun, and the number of images seen."""

    def __init__(self, study, folder, num_kept=1, races=True, confidence=0.999):
        self.files = NoiseFiles(folder)
        self.begun, self.images = [], 0
        find = rival_finder(study, SPACE, num_kept, self.files.read_results)
        self.race = Race("top1", PARTS if races else (), confidence, find)

    def __call__(self, genotype):
        self.begun.append(genotype)
        results, seen = hits(genotype), 0
        for size in self.race.pauses:
            self.images, seen = self.images + size - seen, size
            images = np.arange(size)
            if stopped := self.race.judge(results.subset(images), images, size / NUM_IMAGES):
                return stopped
        self.images += NUM_IMAGES - seen
        self.files.write(genotype, score(genotype), results)
        return {"top1": score(genotype)}


def in_memory():
    return optuna.create_study(direction="maximize")


def open_at(folder):
    url, description = f"sqlite:///{folder}/search.db", {"metric": "top1"}
    return searches.StudySettings(url, "search", description).open(resume=True)


def search(folder, searcher=None, study=None, **settings):
    study = study or in_memory()
    evaluate = Evaluation(study, folder, **settings)
    run_worker(study, searcher or ExhaustiveSearcher(SPACE, order_seed=1), evaluate, "top1")
    return evaluated(study, SPACE), evaluate


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """A race by one worker, from its beginning to its end."""
    return search(tmp_path_factory.mktemp("raced"))


def test_the_winner_is_that_of_all_images_at_a_part_of_the_work(raced):
    candidates, evaluate = raced
    best = max(SPACE, key=score)
    assert (candidates[0].genotype, candidates[0].fitness) == (best, score(best))
    assert len(candidates) == len(evaluate.begun) == 54
    stopped = [c for c in candidates if c.images is not None]
    assert 20 < len(stopped) < 54 and evaluate.images < 54 * NUM_IMAGES / 3
    assert {c.images for c in stopped} <= set(PARTS) and len({c.images for c in stopped}) > 1
    assert evaluate.images == sum(c.images or NUM_IMAGES for c in candidates)
    for candidate in candidates:
        if candidate.images is None:
            assert candidate.fitness == score(candidate.genotype)
            assert candidate.metrics == {"top1": candidate.fitness}
        else:
            assert candidate.fitness < candidates[0].fitness and not candidate.metrics
            assert candidate.fitness == pytest.approx(score(candidate.genotype), abs=15)


def result(candidate):
    return candidate.genotype, candidate.fitness, candidate.images


def test_resumed_in_the_middle_it_evaluates_nothing_again(raced, tmp_path, monkeypatch):
    evaluate = Evaluation.__call__

    def interrupted(self, genotype):
        if len(self.begun) == 25:
            raise KeyboardInterrupt
        return evaluate(self, genotype)

    study = in_memory()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Evaluation, "__call__", interrupted)
        search(tmp_path, study=study)
    before = set(map(result, evaluated(study, SPACE)))
    assert len(before) == 25 and {images for *_, images in before} > {None}
    candidates, resumed = search(tmp_path, study=study)
    assert len(resumed.begun) == 54 - 25
    assert before < set(map(result, candidates)) and len(candidates) == 54
    assert result(candidates[0]) == result(raced[0][0])
    # Only the interrupted one, which comes last now, may race against another rival.
    assert len(set(map(result, candidates)) ^ set(map(result, raced[0]))) <= 2


def first_of_all():
    searcher = ExhaustiveSearcher(SPACE, order_seed=1)
    searcher.genotypes = searcher.genotypes[:10]
    return searcher


def work(folder, name, hangs_in):
    """A worker in a process of its own; each candidate that it begins is a line."""
    study = open_at(folder)
    evaluate = Evaluation(study, folder)

    def logged(genotype):
        with (folder / name).open("a") as log:
            log.write(f"{genotype}\n")
        if len(evaluate.begun) + 1 == hangs_in:
            time.sleep(600)
        return evaluate(genotype)

    run_worker(study, first_of_all(), logged, "top1")


def begun_by(folder, name):
    return (folder / name).read_text().splitlines() if (folder / name).exists() else []


def start(folder, name, number, hangs_in=0):
    """A worker that has begun so many candidates; as a daemon, it ends with this process."""
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=work, args=(folder, name, hangs_in), daemon=True)
    process.start()
    deadline = time.time() + 600  # a busy machine
    while len(begun_by(folder, name)) < number:
        assert time.time() < deadline, "timed out"
        time.sleep(0.05)
    return process


def test_two_workers_race_and_one_is_killed(tmp_path):
    open_at(tmp_path)
    killed = start(tmp_path, "killed", 4, hangs_in=4)
    other = start(tmp_path, "other", 2)
    os.kill(killed.pid, signal.SIGKILL)
    for process in (killed, other):
        process.join(timeout=600)
    assert other.exitcode == 0
    # The other one has raced against what the killed one had scored, and took over its candidate.
    begun = begun_by(tmp_path, "killed") + begun_by(tmp_path, "other")
    assert len(begun) == 11 and begun.count(begun[3]) == 2
    candidates = evaluated(open_at(tmp_path), SPACE)
    assert candidates[0].genotype == max(first_of_all().genotypes, key=score)
    assert len(candidates) == 10 and any(c.images is not None for c in candidates)


def test_a_machine_without_the_files_races_against_what_it_has(tmp_path):
    study = in_memory()
    here, elsewhere = Evaluation(study, tmp_path / "a"), Evaluation(study, tmp_path / "b")
    ranked = sorted(SPACE, key=score, reverse=True)
    trials = iter([ranked[0], ranked[-1], ranked[25], ranked[-2]])

    def judge(evaluate):
        genotype = next(trials)
        result = evaluate(genotype)
        trial = study.ask()
        trial.set_user_attr("enqueued", SPACE.values(genotype))
        is_stopped = isinstance(result, searches.Stopped)
        if is_stopped:
            trial.set_user_attr("images", result.num_images)
        study.tell(trial, result.fitness if is_stopped else result["top1"])
        return result if is_stopped else result["top1"]

    judge(here)
    assert isinstance(judge(here), searches.Stopped)
    # Nothing that it can read is worse than the best, or at all there: it goes on to the end.
    assert judge(elsewhere) == score(ranked[25])
    assert isinstance(judge(elsewhere), searches.Stopped)


def test_parents_are_scored_on_all_images_and_so_is_the_evolution(tmp_path):
    searcher = EvolutionSearcher(SPACE, population=8, generations=4, parents=3, seed=2)
    assert searcher.num_decisive == 3
    studies, begun = {True: in_memory(), False: in_memory()}, {}
    for races, study in studies.items():
        folder = tmp_path / f"{races}"
        candidates, evaluate = search(folder, searcher, study, num_kept=3, races=races)
        begun[races] = evaluate.begun
        assert (evaluate.images < 32 * NUM_IMAGES) is races
        assert all(c.images is None for c in candidates[:3])
    # The same parents have the same children.
    assert begun[True] == begun[False]
    for generation in (1, 2, 3):
        parents = searcher.sampler.select_parent(studies[True], generation)
        assert len(parents) == 3 and not any("images" in p.user_attrs for p in parents)


RACE = {
    "SEARCH.RACING.ENABLED": True,
    "SEARCH.RACING.SHARES": [0.25, 0.5],
    "SEARCH.RACING.CONFIDENCE": 0.5,  # whoever is behind is stopped
    "SEARCH.IMS_PER_BATCH": 1,
}


@pytest.fixture
def configured(trained, tmp_path, monkeypatch):
    """Returns the config of a race of the toy supernet, whose archval has but eight images."""
    monkeypatch.setattr("crnas_d2.evaluation.racing._FEWEST", 1)

    def configured(*overrides):
        cfg = trained.clone()
        folder = {"OUTPUT_DIR": str(tmp_path / "search")}
        cfg.merge_from_list(toy.as_list(RACE, folder, *overrides))
        cfg.freeze()
        return cfg

    return configured


def test_what_a_race_leaves(configured, tmp_path, capsys, monkeypatch):
    best = run_search(configured())
    assert best.images is None
    text = capsys.readouterr()
    assert "racing: after 2, 4 images, a candidate stops if" in text.out
    assert "stopped early" in text.err
    with open(tmp_path / "search" / "candidates.csv") as stream:
        rows = list(csv.DictReader(stream))
    stopped = [row for row in rows if row["images"]]
    assert 0 < len(stopped) < len(rows) == 6
    assert {row["images"] for row in stopped} <= {"2", "4"}
    for row in rows:
        assert bool(row["fitness_low"]) is bool(row["bbox/AP50"]) is not bool(row["images"])
    report = (tmp_path / "search" / "report.html").read_text()
    images = sum(int(row["images"] or 8) for row in rows)
    assert f"{len(stopped)} of 6 candidates stopped early, {images} instead of 48" in report
    assert "stopped early by racing" in report and "images)</td>" in report

    # A finished race has nothing left to do; another search is not mixed with it.
    monkeypatch.setattr(SubnetEvaluator, "__call__", None)
    assert run_search(configured(), resume=True).genotype == best.genotype
    for key, value in (("RACING.ENABLED", False), ("RACING.CONFIDENCE", 0.9)):
        with pytest.raises(JobError, match=r"is another search: SEARCH\.RACING was .* and is "):
            run_search(configured({f"SEARCH.{key}": value}), resume=True)
    with pytest.raises(JobError, match=r"is another search: SEARCH\.RACING was .* and is "):
        run_search(configured({"SEARCH.FINALISTS.NUMBER": 2}), resume=True)


def test_the_estimate_of_a_race_is_the_most_that_it_takes(configured):
    estimate = estimate_search(configured(), Speed(None, None, 0, 0, 0, 0), 8)
    assert str(estimate.work) == "6 candidates on at most 8 images"


def test_finalists_are_scored_on_all_images(configured, monkeypatch):
    finished = []
    train = "crnas_d2.verbs.search.finalists.train_finalists"
    monkeypatch.setattr(train, lambda *args: finished.extend(args[-1]))
    run_search(configured({"SEARCH.FINALISTS.NUMBER": 4}))
    assert len(finished) == 6 and all(c.images is None for c in finished[:4])


GREEDY = {"ALGORITHM": "greedy", "BUDGET.BLOCKS": []}
REFUSED = [  # settings of SEARCH, and a part of the message
    (GREEDY, r"SEARCH\.ALGORITHM 'greedy' .*use 'exhaustive' or 'evolution', or set it to False"),
    ({"SCORE": "entropy"}, r"SEARCH\.SCORE 'entropy' looks at no images"),
    (
        {"ALGORITHM": "optuna", "SECOND_OBJECTIVE": "MACS"},
        r"SEARCH\.SECOND_OBJECTIVE 'MACS' needs the fitness of all",
    ),
    ({"RACING.SHARES": [0.5, 0.25]}, r"SHARES is \[0\.5, 0\.25\]; .*increasing"),
    ({"RACING.SHARES": [0.5, 1.0]}, r"SHARES is \[0\.5, 1\.0\]; expected shares"),
    ({"RACING.SHARES": []}, r"SHARES is \[\]; expected .*one or more"),
    ({"RACING.CONFIDENCE": 1.0}, r"CONFIDENCE is 1\.0; expected a number of at least"),
    ({"RACING.SHARES": [0.01]}, r"none of its parts has"),
]


@pytest.mark.parametrize(("settings", "words"), REFUSED)
def test_a_search_that_cannot_race_does_not_begin(configured, tmp_path, settings, words):
    settings = {"EVOLUTION.POPULATION": 2, "EVOLUTION.GENERATIONS": 1, **settings}
    with pytest.raises(JobError, match=words):
        run_search(configured({f"SEARCH.{key}": value for key, value in settings.items()}))
    assert not (tmp_path / "search").exists()


def test_results_without_images_cannot_race(configured, monkeypatch):
    monkeypatch.setitem(MetadataCatalog.get("toy_archval").__dict__, "evaluator_type", "pascal_voc")
    with pytest.raises(JobError, match=r"'pascal_voc', says nothing of single images"):
        run_search(configured())
