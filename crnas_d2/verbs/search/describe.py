"""What identifies a search: with the same description, scores can be compared."""

from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils.file_io import PathManager

from crnas_d2.common.digests import sha256
from crnas_d2.config import changed_settings, default_config
from crnas_d2.config.fitness import needs_supernet
from crnas_d2.engine.subnets import image_files
from crnas_d2.search import Searcher
from crnas_d2.space import AdditiveCost, Budget, SearchSpace

from .racing import describe_racing

# Sections and keys of a config that change what a candidate scores.
_SCORING = (
    *("MODEL", "INPUT", "TEST", "SEARCH.BN_CALIBRATION", "SEARCH.IMS_PER_BATCH", "SEED"),
    *("SEARCH.PRECISION", "SEARCH.CHANNELS_LAST"),
)
_IRRELEVANT = ("MODEL.DEVICE", "MODEL.WEIGHTS")  # the digest of the weights counts, not their path


def describe_search(
    cfg,
    space: SearchSpace,
    searcher: Searcher,
    budgets: Sequence[Budget],
    costs: Mapping[str, AdditiveCost],
) -> dict[str, object]:
    """Describe a search as plain JSON data.

    Settings are those of the algorithm and those that change a score, if they differ from the
    defaults, so that a setting that a later version adds does not prevent resuming.

    Args:
        costs: by name; at least those of budgets and of a second objective.
    """
    settings = searcher.from_config(cfg)
    usual = searcher.from_config(default_config(cfg.PLUGINS))
    second = cfg.SEARCH.SECOND_OBJECTIVE
    compared = {budget.cost.name for budget in budgets} | ({second} if second else set())
    return {
        "space": {choice.name: choice.options for choice in space.choices},
        "base": str(space.base),
        "algorithm": searcher.name,
        **{f"{searcher.name}: {k}": v for k, v in settings.items() if v != usual.get(k)},
        "second objective": second,
        **{budget.key: [budget.low, budget.high] for budget in budgets},
        # The same limits on other costs, e.g. on new latencies, admit other candidates.
        **{f"digest of the costs of {name}": costs[name].digest for name in sorted(compared)},
        "metric": cfg.SEARCH.METRIC,
        **describe_racing(cfg, searcher),
        **(_weights_and_images(cfg) if needs_supernet(cfg) else {}),
        **_scoring(cfg),
    }


def _weights_and_images(cfg: CfgNode) -> dict[str, object]:
    return {
        # By content: the path of a file does not change a score.
        "weights": sha256(PathManager.get_local_path(cfg.MODEL.WEIGHTS)),
        "archval": [_identify(name) for name in cfg.DATASETS.ARCHVAL],
        "archtrain": [_identify(name) for name in cfg.DATASETS.TRAIN],
        **{f"{use} images": sha256(*files) for use, files in image_files(cfg).items()},
    }


def _scoring(cfg: CfgNode) -> dict[str, object]:
    """Return the values by key that change a score and differ from the defaults."""
    sections = tuple(f"{part}." for part in _SCORING)
    return {
        key: value
        for key, value in changed_settings(cfg).items()
        if f"{key}.".startswith(sections) and key not in _IRRELEVANT
    }


def _identify(dataset_name: str) -> list:
    """Return the name of a dataset and, if it has a JSON file, the digest of that file."""
    json_file = MetadataCatalog.get(dataset_name).get("json_file")
    return [dataset_name, sha256(json_file) if json_file else None]
