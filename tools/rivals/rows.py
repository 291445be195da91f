"""The rows of the benchmark: what else one would do with a trained detector, at equal MACs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from crnas_d2 import Genotype, load_config
from crnas_d2.common.errors import invalid
from crnas_d2.config import NetworkSpec
from crnas_d2.config.image_size import image_settings
from crnas_d2.cost import MACs
from crnas_d2.space import AdditiveCost

from . import rules
from .pruning import METHODS, prune_file, pruned_settings
from .steps import Step, write_work

Overrides = list[tuple[str, Any]]
UNLIMITED = ("baseline", "finetuned")  # rows of the detector itself
SEARCHED = {  # rows of what a search finds, and the folder of the search
    "found": "search",
    "found-sizes": "search-sizes",
    "found-finalists": "search-finalists",
    "imagenet": "search",
    "scratch": "search",
}


@dataclass(frozen=True)
class Fold:
    """A chain that ``crnas-d2 prepare`` has written, with one seed for all that is run.

    Attributes:
        folder: has baseline.yaml, search.yaml, finetuned.yaml and ``output``.
        share: of the MACs of the detector's body that rivals may have.
        opts: further overrides of trainings.
    """

    folder: Path
    share: float
    seed: int
    opts: Overrides

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise invalid("--share", self.share, "more than 0, and at most 1")
        files = [self.folder / f"{name}.yaml" for name in ("baseline", "search", "finetuned")]
        if missing := [str(file) for file in files if not file.is_file()]:
            raise ValueError(
                f"{', '.join(missing)} do not exist; expected a chain that `crnas-d2 prepare` has "
                "written, e.g. data/cells/fold1."
            )

    @cached_property
    def search(self) -> CfgNode:
        return load_config(str(self.folder / "search.yaml"), [])

    @property
    def output(self) -> Path:
        is_own = self.seed == self.search.SEED
        return self.folder / "output" / ("" if is_own else f"seed{self.seed}")

    def run_of(self, row: str) -> Path:
        """The folder of a row's training."""
        if row in UNLIMITED:
            return self.output / row
        return self.output / f"share{self.share:g}" / row

    def macs(self, size: tuple[int, int] | None = None) -> AdditiveCost:
        """Count the MACs of all allocations, for images of (height, width) pixels."""
        spec = NetworkSpec.from_config(self.search)
        return MACs().table(spec, size or tuple(self.search.SEARCH.COST_INPUT_SIZE))

    @property
    def most(self) -> float:
        """The MACs that a rival may have."""
        macs = self.macs()
        return self.share * macs(rules.full(macs.space))

    @property
    def weights(self) -> Path:
        return self.run_of("baseline") / "model_final.pth"

    @cached_property
    def smaller_size(self) -> int:
        """The largest shorter side of images with which the whole network may be kept, pixels."""
        whole = rules.full(self.macs().space)
        shorter, longer = sorted(self.search.SEARCH.COST_INPUT_SIZE)
        size = shorter, longer
        return rules.smaller_size(lambda size: self.macs(size)(whole), size, self.most)[0]

    def found(self, row: str = "found") -> Genotype:
        """The network of a row that is searched; the search runs first where it has not yet."""
        folder = self.run_of(SEARCHED[row])
        limits = [round(rules.NARROW * self.most), round(self.most)]
        settings = [("MODEL.WEIGHTS", self.weights), ("SEARCH.BUDGET.MACS", limits)]
        if row == "found-finalists":
            solver = load_config(str(self.folder / "finetuned.yaml"), []).SOLVER
            finalists = {"NUMBER": 6, "MAX_ITER": solver.MAX_ITER, "BASE_LR": solver.BASE_LR}
            settings += [(f"SEARCH.FINALISTS.{key}", value) for key, value in finalists.items()]
        if row in ("found-sizes", "found-finalists"):
            own = self.search.INPUT.MIN_SIZE_TEST
            settings.append(("SEARCH.IMAGE_SIZES", rules.image_sizes(own, self.smaller_size)))
        Step("search", self.folder / "search.yaml", folder, [*settings, *self._seed]).run()
        return Genotype.from_yaml(folder / "genotype.yaml")

    def train_detector(self) -> None:
        """Train the detector that all rivals start from."""
        if not self.weights.exists():
            config, folder = self.folder / "baseline.yaml", self.run_of("baseline")
            Step("train", config, folder, [*self._seed, *self.opts]).run()

    def check_trained(self) -> None:
        """Raise ValueError if the detector is not trained yet."""
        if not self.weights.exists():
            raise ValueError(f"{self.weights} does not exist: run the row baseline first.")

    def fine_tune(self, row: str, settings: Overrides) -> None:
        """Train a row's network as finetuned.yaml does, after these settings."""
        self.check_trained()
        settings = [("MODEL.WEIGHTS", self.weights), *self._seed, *settings, *self.opts]
        config = self.folder / "finetuned.yaml"
        Step("train", config, self.run_of(row), list(dict(settings).items())).run()

    @property
    def _seed(self) -> Overrides:
        return [("SEED", self.seed)]


def _allocation(row: str, choose: Callable[[Fold], Genotype], fold: Fold) -> None:
    fold.fine_tune(row, [("MODEL.GENOTYPE.DEPTHS", list(choose(fold).depths))])


def _finetuned(fold: Fold) -> None:
    fold.fine_tune("finetuned", [])


def _smaller_images(fold: Fold) -> None:
    settings = image_settings(fold.search, fold.smaller_size)
    fold.fine_tune("smaller-images", list(settings.items()))


def _found_sizes(row: str, fold: Fold) -> None:
    genotype = fold.found(row)
    found = [(f"MODEL.GENOTYPE.{key}", value) for key, value in genotype.to_config().items()]
    images = image_settings(fold.search, *genotype.image_size)
    fold.fine_tune(row, [*found, *images.items()])


def _without_detector(row: str, start: Overrides, fold: Fold) -> None:
    """Train the found network as long as the detector and its fine-tuning together."""
    baseline = load_config(str(fold.folder / "baseline.yaml"), [])
    finetuned = load_config(str(fold.folder / "finetuned.yaml"), [])
    solver = baseline.SOLVER
    if not start and not baseline.MODEL.WEIGHTS:
        why = f"{fold.folder}/baseline.yaml starts from random weights"
        raise ValueError(f"{why}, so the row {row} would be the row scratch.")
    fold.fine_tune(
        row,
        [
            ("MODEL.GENOTYPE.DEPTHS", list(fold.found().depths)),
            ("SOLVER.MAX_ITER", solver.MAX_ITER + finetuned.SOLVER.MAX_ITER),
            ("SOLVER.BASE_LR", solver.BASE_LR),
            ("SOLVER.WARMUP_ITERS", solver.WARMUP_ITERS),
            *(start or [("MODEL.WEIGHTS", baseline.MODEL.WEIGHTS)]),
        ],
    )


def _pruned(row: str, fold: Fold) -> None:
    """Train the detector after pruning its channels, all parts of it, since all have changed."""
    file = fold.run_of(row) / "pruned.pth"
    if not file.exists():
        fold.check_trained()
        settings = [("MODEL.WEIGHTS", fold.weights), ("MODEL.BACKBONE.FREEZE_AT", 0)]
        words = [str(word) for setting in settings for word in setting]
        cfg = load_config(str(fold.folder / "finetuned.yaml"), words)
        begin = time.process_time()
        prune_file(cfg, row, fold.most, file)
        write_work(file.parent, time.process_time() - begin)
    start = [("MODEL.WEIGHTS", file), ("MODEL.INHERIT", False), ("MODEL.BACKBONE.FREEZE_AT", 0)]
    fold.fine_tune(row, [*start, *pruned_settings(file, fold.search.MODEL.SUPERNET.FAMILY)])


_FROM_SCRATCH: Overrides = [
    ("MODEL.WEIGHTS", ""),
    ("MODEL.INHERIT", False),
    ("MODEL.BACKBONE.FREEZE_AT", 0),
]
ROWS: dict[str, Callable[[Fold], None]] = {
    "baseline": Fold.train_detector,
    "finetuned": _finetuned,
    "found": partial(_allocation, "found", Fold.found),
    "found-sizes": partial(_found_sizes, "found-sizes"),
    "found-finalists": partial(_found_sizes, "found-finalists"),
    "smaller-images": _smaller_images,
    "deep-end": partial(_allocation, "deep-end", lambda f: rules.deep_end(f.macs(), f.most)),
    "equal-share": partial(
        _allocation, "equal-share", lambda f: rules.equal_share(f.macs(), f.most)
    ),
    "one-each": partial(_allocation, "one-each", lambda f: rules.one_each(f.macs(), f.most)),
    "random": partial(_allocation, "random", lambda f: rules.drawn(f.macs(), f.most, f.seed)),
    "imagenet": partial(_without_detector, "imagenet", []),
    "scratch": partial(_without_detector, "scratch", _FROM_SCRATCH),
    **{row: partial(_pruned, row) for row in METHODS},
}
