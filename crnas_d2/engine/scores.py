"""What scores the candidates of a search: a trained supernet, or a formula."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from detectron2.config import CfgNode
from torch import nn

from crnas_d2.common.errors import invalid
from crnas_d2.common.registry import Registry
from crnas_d2.common.secrets_in_urls import hide_secrets
from crnas_d2.config import NetworkSpec, import_plugins
from crnas_d2.config.image_size import at_image_size
from crnas_d2.cost import Entropy
from crnas_d2.data import build_fixed_batches, fixed_images, padding_differs, register_datasets
from crnas_d2.evaluation import ImageResults, Race, SubnetEvaluator, build_evaluator, precision
from crnas_d2.evaluation.bn_calibration import batch_statistics
from crnas_d2.evaluation.subnet_losses import subnet_losses
from crnas_d2.modeling.anchors import anchors_of
from crnas_d2.search import Stopped
from crnas_d2.space import Genotype

from .found_network import calibration
from .subnets import load_supernet

SCORE_REGISTRY = Registry("SCORE", "SEARCH.SCORE")
"""Scores by the names of ``SEARCH.SCORE``; each a subclass of :class:`Score`."""


class Score(ABC):
    """Scores the candidates of a search; each of its workers builds one and keeps it.

    A subclass is registered with ``@SCORE_REGISTRY.register("name")``; ``SEARCH.SCORE`` then takes
    the name. It is checked with ``cls.check(cfg)`` and built with ``cls.from_config(cfg, model)``.

    Attributes:
        uses_supernet: whether it needs a trained supernet, ``MODEL.WEIGHTS``, and the images of
            ``DATASETS.ARCHVAL``. Such a score can race, and its search leaves ``model_best.pth``.
        scores_prefixes: whether a genotype may be partial, for searchers that propose prefixes.
    """

    name: str
    uses_supernet = scores_prefixes = False

    @classmethod
    def metric(cls, cfg: CfgNode) -> str:
        """Return the name of the fitness among the metrics; higher is better."""
        return cls.name

    @classmethod  # noqa: B027  (most have nothing to check)
    def check(cls, cfg: CfgNode) -> None:
        """Raise ValueError for settings with which it cannot score."""

    @classmethod
    def describe(cls, cfg: CfgNode) -> list[str]:
        """Return lines about it, which are shown when a search begins."""
        return [f"fitness: {cls.metric(cfg)}, without weights and images"]

    @classmethod
    @abstractmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module | None) -> "Score":
        """Build it, on the supernet with its weights if it ``uses_supernet``."""

    @abstractmethod
    def __call__(
        self, genotype: Genotype, race: Race | None = None
    ) -> Mapping[str, float] | Stopped:
        """Return the metrics of a genotype; a race, with ``SEARCH.RACING``, may stop it."""

    def image_results(self, metric: str) -> ImageResults | None:
        """Return what a metric of the last call needs of each image; ``None`` if it is unknown."""
        return None


@SCORE_REGISTRY.register("supernet")
class SupernetScore(SubnetEvaluator, Score):
    """The metrics of a subnet on archval, with the weights of the supernet."""

    uses_supernet = scores_prefixes = True
    with_annotations = False  # whether it needs the annotations of archval's images

    @classmethod
    def metric(cls, cfg: CfgNode) -> str:
        return str(cfg.SEARCH.METRIC)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("MODEL.WEIGHTS is empty: name the checkpoint of the trained supernet.")
        partial_bn = cfg.SEARCH.BN_CALIBRATION.PARTIAL
        if partial_bn not in ("batch", "calibration"):
            raise invalid("SEARCH.BN_CALIBRATION.PARTIAL", partial_bn, "'batch' or 'calibration'")
        precision.check_precision(cfg.SEARCH.PRECISION, cfg.MODEL.DEVICE)

    @classmethod
    def describe(cls, cfg: CfgNode) -> list[str]:
        annotated = cls.with_annotations
        archval = fixed_images(cfg, cfg.DATASETS.ARCHVAL, with_annotations=annotated)
        calibration, size = cfg.SEARCH.BN_CALIBRATION, cfg.SEARCH.IMS_PER_BATCH
        images = f"{calibration.NUM_IMAGES} images" if calibration.NUM_IMAGES else "none"
        if calibration.NUM_IMAGES and calibration.WEIGHT < 1:
            images += f", {calibration.WEIGHT:g} of the statistics"
        padding = (
            f"padding: to the largest of {size} images, so the AP of a network differs a little "
            "from that of --eval-only, which takes one at a time; SEARCH.IMS_PER_BATCH 1 gives the "
            "same"
        )
        padded = not annotated and size > 1 and padding_differs(cfg, cfg.DATASETS.ARCHVAL)
        return [
            f"fitness: {cls.metric(cfg)} on {len(archval):,} images of {cfg.DATASETS.ARCHVAL[0]}",
            *([padding] if padded else []),
            f"BN calibration: {images}",
            f"weights: {hide_secrets(cfg.MODEL.WEIGHTS)}",
        ]

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module | None) -> "SupernetScore":
        assert model is not None
        search, archval = cfg.SEARCH, cfg.DATASETS.ARCHVAL
        calibrate = calibration(cfg)
        if search.CHANNELS_LAST:
            precision.use_channels_last(model)
        return cls(
            model,
            build_fixed_batches(
                cfg,
                archval,
                with_annotations=cls.with_annotations,
                in_random_order=search.RACING.ENABLED,
            ),
            build_evaluator(cfg, archval[0], in_search=True),
            calibrate,
            batch_statistics if search.BN_CALIBRATION.PARTIAL == "batch" else calibrate,
            seed=cfg.SEED,
            precision=precision.build_precision(search.PRECISION, cfg.MODEL.DEVICE),
            batched_heads=search.BATCHED_HEADS,
        )


@SCORE_REGISTRY.register("loss")
class LossScore(SupernetScore):
    """The losses of a subnet on archval's images with objects, with the weights of the supernet."""

    scores_prefixes = False
    with_annotations = True

    @classmethod
    def metric(cls, cfg: CfgNode) -> str:
        return "negative_loss"

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        super().check(cfg)
        if cfg.SEARCH.RACING.ENABLED:
            but = f"SEARCH.SCORE '{cls.name}' says nothing of single images"
            raise invalid("SEARCH.RACING.ENABLED", True, but=but, fix="Set it to False")

    def __call__(self, genotype: Genotype, race: Race | None = None) -> dict[str, float]:
        self.supernet.set_path(genotype)
        with self.calibrate(self.model):
            losses = subnet_losses(self.model, self.batches, self.precision)
        return {"negative_loss": -losses["loss"], **losses}

    def image_results(self, metric: str) -> None:
        return None


@SCORE_REGISTRY.register("entropy")
class EntropyScore(Score):
    """The entropy of a network as its only metric, see :class:`crnas_d2.cost.Entropy`."""

    def __init__(self, spec: NetworkSpec, image_size: tuple[int, int]):
        self.entropy = Entropy().table(spec, image_size)

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module | None = None) -> "EntropyScore":
        return cls(NetworkSpec.from_config(cfg), tuple(cfg.SEARCH.COST_INPUT_SIZE))

    def __call__(self, genotype: Genotype, race: Race | None = None) -> dict[str, float]:
        return {self.name: self.entropy(genotype)}


class ScoreBySize(Score):
    """Scores each candidate at its own image size, with anchors of the same scale.

    The images of all sizes share ``SEARCH.IMAGE_CACHE``, by their area.

    Args:
        build: builds the score of one size from its config, when a candidate first needs it.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, build: Callable[[CfgNode], Score]):
        self._model, self._build = model, build
        self._configs, self._scores = {}, dict[int, Score]()
        areas = {size: size**2 for size in cfg.SEARCH.IMAGE_SIZES}
        for size, area in areas.items():
            self._configs[size] = at_image_size(cfg, size)
            self._configs[size].SEARCH.IMAGE_CACHE *= area / sum(areas.values())

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module | None) -> "ScoreBySize":
        assert model is not None
        score: type[Score] = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
        return cls(cfg, model, lambda own: score.from_config(own, model))

    def __call__(
        self, genotype: Genotype, race: Race | None = None
    ) -> Mapping[str, float] | Stopped:
        if not genotype.image_size:
            raise ValueError(f"{genotype} has no image size; expected one of SEARCH.IMAGE_SIZES.")
        [size] = genotype.image_size
        with anchors_of(self._model, self._configs[size]):
            if size not in self._scores:
                self._scores[size] = self._build(self._configs[size])
            self._last = self._scores[size]
            return self._last(genotype) if race is None else self._last(genotype, race)

    def image_results(self, metric: str) -> ImageResults | None:
        return self._last.image_results(metric)


def build_score(cfg: CfgNode, model: nn.Module | None = None) -> Score:
    """Build the score of ``SEARCH.SCORE`` in any process; load the supernet if it is missing."""
    import_plugins(cfg.PLUGINS)
    register_datasets(cfg)
    score: type[Score] = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
    if score.uses_supernet and model is None:
        model = load_supernet(cfg)
    if cfg.SEARCH.IMAGE_SIZES:
        return ScoreBySize.from_config(cfg, model)
    return score.from_config(cfg, model)
