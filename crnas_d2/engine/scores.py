"""What scores the candidates of a search: the trained supernet, or a formula."""

from torch import nn

from crnas_d2.config import NetworkSpec
from crnas_d2.config.fitness import ENTROPY, needs_supernet
from crnas_d2.cost import Entropy
from crnas_d2.evaluation import SubnetEvaluator
from crnas_d2.space import Genotype

from .subnets import build_subnet_evaluator, load_supernet


def with_fitness(cfg):
    """Return a config whose ``SEARCH.METRIC`` is what ``SEARCH.SCORE`` gives.

    Raises:
        ValueError: an unknown score, or one that the algorithm cannot use.
    """
    if cfg.SEARCH.SCORE not in ("supernet", ENTROPY):
        raise ValueError(
            f"SEARCH.SCORE is '{cfg.SEARCH.SCORE}'; expected 'supernet' or '{ENTROPY}'."
        )
    if needs_supernet(cfg):
        return cfg
    if cfg.SEARCH.ALGORITHM == "greedy":
        raise ValueError(
            "SEARCH.ALGORITHM is 'greedy', which scores parts of a network; SEARCH.SCORE 'entropy' "
            "scores whole ones: use 'exhaustive' or 'evolution'."
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEARCH.METRIC = ENTROPY
    cfg.freeze()
    return cfg


class EntropyScore:
    """The entropy of a network as its only metric, see :class:`crnas_d2.cost.Entropy`."""

    def __init__(self, cfg):
        spec, size = NetworkSpec.from_config(cfg), tuple(cfg.SEARCH.COST_INPUT_SIZE)
        self._entropy = Entropy().table(spec, size)

    def __call__(self, genotype: Genotype) -> dict[str, float]:
        return {ENTROPY: self._entropy(genotype)}

    def image_results(self, metric: str) -> None:
        """Of no image, because none is looked at."""


Score = SubnetEvaluator | EntropyScore


def build_score(cfg, model: nn.Module | None = None) -> Score:
    """Build what returns the metrics of a genotype.

    Args:
        model: the supernet with its weights, if it is there already.

    Raises:
        ValueError: the weights do not fit.
    """
    if needs_supernet(cfg):
        return build_subnet_evaluator(cfg, model or load_supernet(cfg))
    return EntropyScore(cfg)
