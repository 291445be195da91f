#!/usr/bin/env python
"""Would a race have found the same network? Replays a finished search as races.

The search must have scored all its candidates on all images; its OUTPUT_DIR holds what became of
each image. Each replay draws as many images with replacement and another order of the candidates,
and searches them twice: on all images, and with SEARCH.RACING. It prints the share of images that
the race looks at, how it ranks the candidates, and how often it finds the same network. Overrides
say what is replayed, e.g. SEARCH.RACING.CONFIDENCE 0.999, or SEARCH.ALGORITHM evolution with the
keys of SEARCH.EVOLUTION.
"""

import argparse
import csv
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import optuna
from tqdm import tqdm

from crnas_d2 import Genotype, load_config
from crnas_d2.common.errors import one_line_errors
from crnas_d2.config import NetworkSpec
from crnas_d2.config.image_size import search_space
from crnas_d2.config.values import check_values
from crnas_d2.evaluation import ImageResults, NoiseFiles, Race, pauses
from crnas_d2.evaluation.rank_correlation import rank_correlation
from crnas_d2.search import (
    Candidate,
    EvolutionSearcher,
    ExhaustiveSearcher,
    Searcher,
    Stopped,
    evaluated,
    run_worker,
)
from crnas_d2.space import SearchSpace
from crnas_d2.verbs.search.job import num_kept
from crnas_d2.verbs.search.workers import rival_finder

_SCORE = "score"  # the metric


@dataclass(frozen=True)
class Replay:
    """One resampled search.

    Attributes:
        share: of the images that the race looks at.
        with_calibration: the same with the images of the BN calibration, which each candidate sees.
        tau: Kendall's, of the fitness in the race and on all images.
        behind: by how much what the race finds is worse; 0 for the same network.
    """

    share: float
    with_calibration: float
    tau: float
    behind: float


class Listed(ExhaustiveSearcher):
    """An exhaustive search of given genotypes, in a random order."""

    def __init__(self, space: SearchSpace, known: list[Genotype], seed: int):
        Searcher.__init__(self, space)
        self.genotypes = Random(seed).sample(known, len(known))
        self.total = len(known)


class Evolved(EvolutionSearcher):
    """An evolution within given genotypes."""

    def __init__(self, space: SearchSpace, known: list[Genotype], **settings):
        self.known = frozenset(known)
        super().__init__(space, **settings)

    def is_feasible(self, genotype: Genotype) -> bool:
        return genotype in self.known


def read_candidates(folder: Path, space: SearchSpace) -> dict[Genotype, ImageResults]:
    """Return what became of the images of each candidate.

    Raises:
        ValueError: the folder holds no finished search, a race, or no results of some candidates.
    """
    table = folder / "candidates.csv"
    if not table.is_file():
        raise ValueError(f"{folder} holds no finished search: there is no candidates.csv.")
    with table.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fitness"] != "failed"]
    if any(row.get("images") for row in rows):
        raise ValueError(f"{folder} holds a race; replay a search that scored all images.")
    files, found = NoiseFiles(folder), {}
    for row in rows:
        genotype = space.genotype({n: int(row[n]) for n in space.names if row[n]})
        found[genotype] = files.read_results(genotype, float(row["fitness"]))
    missing = sum(results is None for results in found.values())
    if missing or len(found) < 2:
        raise ValueError(
            f"{folder} has image results of {len(found) - missing} of {len(found)} candidates; "
            "expected all, and two or more: search again with this version."
        )
    return found


def make_searcher(cfg, space: SearchSpace, known: list[Genotype], seed: int) -> Searcher:
    if cfg.SEARCH.ALGORITHM == "exhaustive":
        return Listed(space, known, seed)
    if cfg.SEARCH.ALGORITHM != "evolution":
        raise ValueError(
            f"SEARCH.ALGORITHM is '{cfg.SEARCH.ALGORITHM}'; expected 'exhaustive' or 'evolution'."
        )
    settings = {**EvolutionSearcher.from_config(cfg), "seed": seed}
    if (total := settings["population"] * settings["generations"]) > len(known):
        raise ValueError(
            f"SEARCH.EVOLUTION asks for {total} candidates, of which the search has {len(known)}: "
            "lower POPULATION or GENERATIONS."
        )
    return Evolved(space, known, **settings)


@dataclass(frozen=True)
class Replayer:
    """Replays a search on resampled images; a number is the seed of each replay.

    Attributes:
        images: those drawn for each replay, ``(replays, images)``.
        scores: of each candidate on them, ``(replays,)``.
    """

    cfg: object
    space: SearchSpace
    found: dict[Genotype, ImageResults]
    images: np.ndarray
    scores: dict[Genotype, np.ndarray]

    @classmethod
    def make(cls, cfg, space: SearchSpace, found: dict[Genotype, ImageResults], number: int):
        num_images = next(iter(found.values())).num_images
        images = np.random.default_rng(0).integers(num_images, size=(number, num_images))
        counts = np.array([np.bincount(row, minlength=num_images) for row in images])
        progress = tqdm(found.items(), desc="scores of resampled images", unit="net")
        scores = {genotype: results.scores(counts) for genotype, results in progress}
        return cls(cfg, space, found, images, scores)

    def __call__(self, number: int) -> Replay:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        scores = {genotype: float(each[number]) for genotype, each in self.scores.items()}
        raced = self._search(number, partial(self._race, number, scores))
        if self.cfg.SEARCH.ALGORITHM == "exhaustive":
            best = max(scores.values())
        else:
            best = self._search(number, lambda *_: lambda g: {_SCORE: scores[g]})[0].fitness
        num_images = self.images.shape[1]
        seen = sum(num_images if c.images is None else c.images for c in raced)
        calibration = len(raced) * self.cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES
        whole = len(raced) * num_images
        return Replay(
            seen / whole,
            (seen + calibration) / (whole + calibration),
            rank_correlation([c.fitness for c in raced], [scores[c.genotype] for c in raced]).tau,
            best - scores[raced[0].genotype],
        )

    def _search(self, number: int, make_evaluate: Callable) -> list[Candidate]:
        study = optuna.create_study(direction="maximize")
        searcher = make_searcher(self.cfg, self.space, list(self.found), number)
        evaluate = make_evaluate(study, searcher)
        run_worker(study, searcher, evaluate, _SCORE, stops_early=False)
        return evaluated(study, self.space)

    def _race(
        self, number: int, scores: dict, study: optuna.Study, searcher: Searcher
    ) -> Callable[[Genotype], dict[str, float] | Stopped]:
        size, settings = self.cfg.SEARCH.IMS_PER_BATCH, self.cfg.SEARCH.RACING
        images = self.images[number]
        stops = pauses(-(-len(images) // size), settings.SHARES, size)

        def read(genotype: Genotype, _fitness: float) -> ImageResults:
            return self.found[genotype].subset(images)

        find = rival_finder(study, self.space, num_kept(self.cfg, searcher), read)
        race = Race(_SCORE, stops, settings.CONFIDENCE, find)

        def evaluate(genotype: Genotype) -> dict[str, float] | Stopped:
            for stop in stops:
                seen = np.arange(stop * size)
                part = self.found[genotype].subset(images[seen])
                if stopped := race.judge(part, seen, len(seen) / len(images)):
                    return stopped
            return {_SCORE: scores[genotype]}

        return evaluate


def describe(replays: list[Replay]) -> str:
    shares, full = np.array([r.share for r in replays]), [r.with_calibration for r in replays]
    taus = [r.tau for r in replays]
    behind = [r.behind for r in replays if r.behind > 0]
    lines = [
        f"images: {shares.mean():.1%} of all ({shares.min():.1%} to {shares.max():.1%}), "
        f"{1 / shares.mean():.1f} times fewer; {np.mean(full):.1%} with the BN calibration",
        f"Kendall's tau with the scores on all images: {np.mean(taus):.3f} (at least "
        f"{min(taus):.3f})",
        f"the same network: {len(replays) - len(behind)} of {len(replays)} searches",
    ]
    if behind:
        lines[-1] += f"; elsewhere {np.mean(behind):.2f} worse (at most {max(behind):.2f})"
    return "\n".join(lines)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("search", type=Path, metavar="DIR", help="OUTPUT_DIR of a search")
    parser.add_argument("--number", type=int, default=100, metavar="N", help="replays")
    parser.add_argument("--num-workers", type=int, default=1, help="processes")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    return parser.parse_intermixed_args()


def main():
    args = parse_arguments()
    for name, value in (("--number", args.number), ("--num-workers", args.num_workers)):
        if value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1.")
    config = args.search / "config.yaml"
    if not config.is_file():
        raise ValueError(f"{args.search} holds no search: there is no config.yaml.")
    cfg = load_config(str(config), args.opts)
    check_values(cfg)
    space = search_space(cfg, NetworkSpec.from_config(cfg))
    found = read_candidates(args.search, space)
    searcher = make_searcher(cfg, space, list(found), 0)
    kept = num_kept(cfg, searcher)
    print(
        f"{args.number} races of {cfg.SEARCH.ALGORITHM}, "
        f"{searcher.total} candidates, {kept} of them on all images at least, "
        f"confidence {cfg.SEARCH.RACING.CONFIDENCE:g}, parts {list(cfg.SEARCH.RACING.SHARES)}:"
    )
    replayer = Replayer.make(cfg, space, found, args.number)
    replays = []
    with multiprocessing.Pool(args.num_workers, _keep, (replayer,)) as pool:
        results = pool.imap(_replay, range(args.number))
        for result in (bar := tqdm(results, total=args.number, desc="replays")):
            replays.append(result)
            same = sum(replay.behind == 0 for replay in replays)
            share = sum(replay.share for replay in replays) / len(replays)
            bar.set_postfix_str(f"{same} found the same, {share:.1%} of the images")
    print(describe(replays))


def _keep(replayer: Replayer) -> None:
    """Keep in a process what it needs, which would be copied for each replay otherwise."""
    global _replayer
    _replayer = replayer


def _replay(number: int) -> Replay:
    return _replayer(number)


if __name__ == "__main__":
    with one_line_errors(__file__):
        main()
