"""See :func:`workers`."""

import dataclasses
import logging
import multiprocessing
import tempfile
import time
from pathlib import Path

from ._letters import search_of_letters
from ._sides import Benchmark, Sides

ITERATIONS = 200  # of the training before, so that there are detections to score
CANDIDATES = 6


def workers(device: str) -> Sides:
    """Seconds of a search by two workers, over those by one; one thread each.

    It is the search of letters: worker processes share its study in a file, and evaluate each of
    its candidates once. They are started, and have built their networks and read their images,
    before anything is timed. That the last candidates do not end at the same time is left out: two
    workers together are as fast as the sum of what each gets done per second until its own last
    candidate is told, where a candidate counts as many seconds as it took one worker alone.
    """
    logging.disable(logging.WARNING)
    from crnas_d2.verbs.search.job import SearchJob

    job = SearchJob.from_config(search_of_letters(device, ITERATIONS))
    # Of equal cost, as far as possible.
    genotypes = sorted(job.searcher.genotypes, key=job.costs["MACS"])[-CANDIDATES:]
    start = time.perf_counter()
    processes = [Worker(job, genotypes) for _ in range(2)]
    for process in processes:
        process.wait()
    print(f"Both workers were ready after {time.perf_counter() - start:.1f} s.")
    (alone,) = search(job, processes[:1])
    begins = [0.0, *(end for _, end in alone)]
    work = {genotype: end - begin for (genotype, end), begin in zip(alone, begins, strict=False)}

    def seconds(number: int) -> float:
        done = search(job, processes[:number])
        assert sorted(genotype for each in done for genotype, _ in each) == sorted(genotypes)
        speeds = [
            sum(work[genotype] for genotype, _ in each) / each[-1][1] for each in done if each
        ]
        return sum(work.values()) / sum(speeds)

    return lambda: seconds(2), lambda: seconds(1)


def search(job, processes: list["Worker"]) -> list[list[tuple]]:
    """Run a search; return the candidates of each worker, with the seconds until they were told."""
    folder = tempfile.mkdtemp(prefix="crnas_d2-workers-")
    study = dataclasses.replace(job.study, url=f"sqlite:///{folder}/search.db")
    job = dataclasses.replace(job, output=Path(folder), study=study)
    job.study.open(resume=False)
    for process in processes:
        process.pipe.send(job)
    for process in processes:
        process.wait()  # they have opened the study
    for process in processes:
        process.pipe.send("go")
    return [process.wait() for process in processes]


class Worker:
    """A process that takes part in one search after another."""

    def __init__(self, job, genotypes: list):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        # As a daemon, it ends with this process.
        self.process = spawn.Process(target=serve, args=(job, genotypes, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def wait(self):
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            raise RuntimeError(f"A worker ended with status {self.process.exitcode}.") from None


def serve(job, genotypes: list, pipe) -> None:
    """Be a worker: build what scores candidates, then take part in each search that is sent."""
    import optuna
    import torch

    from crnas_d2.verbs.search.workers import work

    logging.disable(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    score = Noted(job.build_score())
    score(genotypes[0])  # reads the images
    pipe.send("ready")
    while True:
        try:
            job = pipe.recv()
        except EOFError:  # the benchmark is over
            return
        study, searcher = job.study.open(resume=True), job.searcher
        searcher.genotypes, searcher.total = genotypes, len(genotypes)
        pipe.send("ready")
        pipe.recv()
        score.begin()
        work(job, score, study, score.note)
        pipe.send(score.told)


class Noted:
    """A score that remembers which candidates were told, and after how many seconds."""

    def __init__(self, score):
        self.score = score
        self.begin()

    def begin(self) -> None:
        self.start = time.perf_counter()
        self.scored, self.told = None, []

    def __call__(self, genotype):
        metrics = self.score(genotype)
        self.scored = genotype
        return metrics

    def image_results(self, metric: str):
        return self.score.image_results(metric)

    def note(self) -> None:
        """To be called when the result has been told, and while waiting."""
        if self.scored is not None:
            self.told.append((self.scored, time.perf_counter() - self.start))
            self.scored = None


BENCHMARK = Benchmark(
    workers,
    goal=1 / 1.9,
    keys=("two_workers_s", "one_worker_s"),
    repeats=3,
    warm_up=0,
)
