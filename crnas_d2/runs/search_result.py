"""What a search found: candidates, costs, intervals and finalists, or the dilations of channels."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

from detectron2.config import CfgNode

from crnas_d2.checkpoint import read_file
from crnas_d2.common.files import write_file
from crnas_d2.common.secrets_in_urls import hide_secrets
from crnas_d2.config import NetworkSpec
from crnas_d2.config.image_size import image_sections, search_space
from crnas_d2.cost import build_budgets
from crnas_d2.engine.scores import SCORE_REGISTRY
from crnas_d2.evaluation import FitnessNoise, NoiseFiles, difference_interval
from crnas_d2.search import Candidate, Finalist
from crnas_d2.space import (
    AdditiveCost,
    ChannelSpace,
    Genotype,
    SearchSpace,
    SpaceKind,
    without_last_blocks,
)

from .metrics import TrainingMetrics
from .run import Origin, stage_widths


class Baseline(NamedTuple):
    """The network that a search is compared with, and what it is."""

    genotype: Genotype
    what: str
    measured: Candidate | None = None  # its score, if it was evaluated beside the candidates
    behind: tuple[float, float] | None = None  # 95 % interval of that less the best one's


@dataclass(frozen=True)
class SearchResult:
    """What a search of the subnets of a supernet found.

    There is at least one complete candidate with a fitness. If there are finalists, the first of
    them is the best network.
    """

    space: SearchSpace
    candidates: Sequence[Candidate]  # the best first
    costs: Mapping[str, AdditiveCost]  # that have a column, by name
    metric: str  # the name of the fitness
    scope: str  # what the costs count, e.g. backbone body, 192x192 pixels
    scored: str = "on archval, with the weights of the supernet"
    on_images: bool = True
    trained_metric: str = ""  # that of finalists, if it is another
    second_objective: str = ""  # the cost of the Pareto front; default: all that differ
    noise: FitnessNoise | None = None
    baseline: Baseline | None = None
    rule: Genotype | None = None  # what one would take of a trained detector without a search
    finalists: Sequence[Finalist] = ()  # the best first
    origin: Origin | None = None
    images: Mapping[str, Any] = field(default_factory=dict)  # settings of the best image size
    races: bool = False  # whether candidates that cannot win are stopped early
    elsewhere: Sequence[str] = ()  # folders of all its workers, also of those on other machines

    @classmethod
    def of(
        cls,
        cfg: CfgNode,
        spec: NetworkSpec,
        candidates: Sequence[Candidate],
        costs: Mapping[str, AdditiveCost],
        finalists: Sequence[Finalist] = (),
        elsewhere: Sequence[str] = (),
        detector: Candidate | None = None,
    ) -> "SearchResult":
        """Collect what a search has left in ``OUTPUT_DIR``, and in folders of other workers."""
        space = search_space(cfg, spec)
        score = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
        seen = {
            "archval": ", ".join(cfg.DATASETS.ARCHVAL),
            "weights": hide_secrets(cfg.MODEL.WEIGHTS),
        }
        more = {"algorithm": cfg.SEARCH.ALGORITHM, **(seen if score.uses_supernet else {})}
        seconds, work = sum(c.seconds for c in candidates), "evaluations, summed over workers"
        complete = {
            candidate.genotype: candidate.fitness
            for candidate in candidates
            if candidate.fitness is not None and space.is_complete(candidate.genotype)
        }
        height, width = cfg.SEARCH.COST_INPUT_SIZE
        pixels = f"{height}x{width} pixels"
        if cfg.SEARCH.IMAGE_SIZES:
            pixels = f"images of its image_size ({pixels} for {cfg.INPUT.MIN_SIZE_TEST})"
        budgets = build_budgets(cfg, costs) if cfg.MODEL.INHERIT else ()
        files = NoiseFiles(cfg.OUTPUT_DIR, elsewhere)
        best = finalists[0].candidate.genotype if finalists else next(iter(complete), Genotype())
        return cls(
            space,
            candidates,
            costs,
            score.metric(cfg),
            f"backbone body, {stage_widths(spec)} channels per stage, {pixels}",
            f"on {cfg.DATASETS.ARCHVAL[0]}, with supernet weights"
            if score.uses_supernet
            else "by formula, without weights and images",
            score.uses_supernet,
            cfg.SEARCH.METRIC,
            cfg.SEARCH.SECOND_OBJECTIVE,
            FitnessNoise.read(cfg.OUTPUT_DIR, complete, elsewhere),
            _measured(baseline_of(cfg, spec), detector, complete, files),
            without_last_blocks(space, budgets) if budgets else None,
            finalists,
            Origin([cfg.OUTPUT_DIR], [cfg.SEED], work, seconds, more),
            image_sections(cfg, best.image_size),
            cfg.SEARCH.RACING.ENABLED,
            elsewhere,
        )

    @cached_property
    def succeeded(self) -> list[Candidate]:
        """Those with a fitness, prefixes among them."""
        return [candidate for candidate in self.candidates if candidate.fitness is not None]

    @cached_property
    def complete(self) -> list[Candidate]:
        """Those with a fitness and all choices."""
        return [c for c in self.succeeded if self.space.is_complete(c.genotype)]

    @property
    def best(self) -> Candidate:
        return self.finalists[0].candidate if self.finalists else self.complete[0]

    @property
    def num_stopped(self) -> int:
        """How many candidates a race has stopped."""
        return sum(candidate.images is not None for candidate in self.candidates)

    def num_images(self) -> tuple[int, int] | None:
        """Return how many images were looked at, and how many without a race, if it is known."""
        if self.noise is None:
            return None
        whole = self.noise.num_images
        seen = [whole if c.images is None else c.images for c in self.candidates]
        return sum(seen), whole * len(seen)

    def compared_costs(self) -> list[AdditiveCost]:
        """Return the second objective or, without one, every cost in which candidates differ."""
        if self.second_objective in self.costs:
            return [self.costs[self.second_objective]]
        costs = self.costs.values()
        return [cost for cost in costs if len({cost(c.genotype) for c in self.complete}) > 1]

    def pareto_front(self, cost: Callable[[Genotype], float]) -> list[Candidate]:
        """Return the candidates that no other dominates, the cheapest first; of equals one."""
        front: list[Candidate] = []
        # The best first at equal cost: one on the front has a higher fitness than all before it.
        for candidate in sorted(self.complete, key=lambda c: (cost(c.genotype), -fitness_of(c))):
            if not front or fitness_of(candidate) > fitness_of(front[-1]):
                front.append(candidate)
        return front

    def write_genotype(self, path: str | Path, family: str) -> None:
        """Write the best genotype as a fragment of a config, with its scores as a comment."""
        best, finalists = self.best, self.finalists
        lines = [
            f"{best.genotype}, the best of {len(self.candidates)} candidates",
            f"{self.metric} {best.fitness} {self.scored}",
        ]
        if finalists:
            trained = f"{self.trained_metric} {finalists[0].fitness} after its own training"
            lines.append(f"{trained}, the best of {len(finalists)} finalists")
        best.genotype.to_yaml(path, family=family, comment="\n".join(lines), images=self.images)

    def write_candidates(self, path: str | Path) -> None:
        """Write one line per evaluated genotype, the best first, numbers in full precision.

        What is not known is empty: an interval, and of a prefix the costs and the choices that are
        still open. The column ``images``, if evaluations were stopped early, says after how many.
        """
        space, rows = self.space, []
        intervals = self.noise.intervals if self.noise is not None else {}
        fronts: dict[Genotype, list[str]] = {}
        for cost in self.compared_costs() if len(self.complete) == len(self.succeeded) else ():
            for candidate in self.pareto_front(cost):
                fronts.setdefault(candidate.genotype, []).append(cost.name.lower())
        metrics = dict.fromkeys(name for c in self.candidates for name in c.metrics)
        for candidate in self.candidates:
            genotype = candidate.genotype
            low, high = intervals.get(genotype, ("", ""))
            is_complete = space.is_complete(genotype)
            row: dict[str, object] = {
                **dict.fromkeys(space.names, ""),
                **space.values(genotype, partial=True),
                "fitness": "failed" if candidate.fitness is None else candidate.fitness,
                "fitness_low": low,
                "fitness_high": high,
                **{name: candidate.metrics.get(name, "") for name in metrics},
                **{n.lower(): c(genotype) if is_complete else "" for n, c in self.costs.items()},
            }
            if fronts:
                row["pareto"] = " ".join(fronts.get(genotype, ()))
            if self.num_stopped:
                row["images"] = "" if candidate.images is None else candidate.images
            rows.append({**row, "seconds": f"{candidate.seconds:.2f}"})
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_file(path, stream.getvalue())


def fitness_of(candidate: Candidate) -> float:
    """Return the fitness of a candidate that has one."""
    assert candidate.fitness is not None, candidate
    return candidate.fitness


def baseline_of(cfg: CfgNode, spec: NetworkSpec) -> Baseline | None:
    """Return the inherited network of ``MODEL.WEIGHTS``, else the published one, if it is known."""
    network: Mapping[str, Any] = {}
    what = "the published network of the family"
    try:
        if cfg.MODEL.INHERIT:
            network = read_file(cfg.MODEL.WEIGHTS).get("network", {})
            what = "the network of MODEL.WEIGHTS"
        depths = tuple(network.get("MODEL.GENOTYPE.DEPTHS", ())) or spec.family.baseline_depths()
    except (OSError, ValueError):  # no file, or settings of no published network
        return None
    ops = tuple(network.get("MODEL.GENOTYPE.OPS", ()))
    base, fields = cast(SearchSpace, spec.space).base, cast(SpaceKind, spec.kind).fields
    if "depths" not in fields:
        if depths != base.depths:
            return None
        depths = base.depths
    ops = (ops or (0,) * sum(depths)) if "ops" in fields else base.ops
    size = (cfg.INPUT.MIN_SIZE_TEST,) if cfg.SEARCH.IMAGE_SIZES else base.image_size
    return Baseline(Genotype(depths, ops, image_size=size), what)


def _measured(
    baseline: Baseline | None,
    detector: Candidate | None,
    fitness: Mapping[Genotype, float],
    files: NoiseFiles,
) -> Baseline | None:
    """Add the score of a detector that is no candidate; ``fitness``: of candidates, best first."""
    if baseline is None or detector is None or baseline.genotype != detector.genotype:
        return baseline
    if detector.genotype in fitness or not fitness:
        return baseline
    behind, (best, score) = None, next(iter(fitness.items()))
    own, other = files.read(detector.genotype, fitness_of(detector)), files.read(best, score)
    if own and other and own["resampled"].shape == other["resampled"].shape:
        scores = fitness_of(detector), own["resampled"], score, other["resampled"]
        behind = difference_interval(*scores)
    return baseline._replace(measured=detector, behind=behind)


@dataclass(frozen=True)
class ChannelSearchResult:
    """What a channel search found: the strongest dilation of each channel group.

    Metrics have the scalars of :meth:`crnas_d2.modeling.MixedSupernet.summary`.
    """

    space: ChannelSpace
    genotype: Genotype
    metrics: TrainingMetrics
    origin: Origin

    @classmethod
    def read(
        cls, folder: str, seed: int, space: ChannelSpace, genotype: Genotype
    ) -> "ChannelSearchResult":
        """Collect what a search has left in its folder."""
        metrics = TrainingMetrics.read(folder)
        origin = Origin([folder], [seed], "training", metrics.seconds)
        return cls(space, genotype, metrics, origin)

    def write_genotype(
        self, path: str | Path, family: str, images: Mapping[str, Any] | None = None
    ) -> None:
        """Write the genotype as a fragment of a config, see :meth:`Genotype.to_yaml`."""
        comment = (
            "The strongest dilation of each channel group (NATS section 3.3). CHANNELS has a list\n"
            f"for each convolution: {', '.join(self.space.names)}"
        )
        channel = self.space.to_config()
        settings: dict[str, Any] = {"comment": comment, "channel": channel, "images": images}
        self.genotype.to_yaml(path, family=family, **settings)
