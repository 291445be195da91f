"""What identifies a search: with the same description, scores can be compared."""

from collections.abc import Mapping

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from crnas_d2.checkpoint.files import fetch_weights
from crnas_d2.common.digests import sha256
from crnas_d2.config import changed_settings, default_config
from crnas_d2.engine.scores import Score
from crnas_d2.engine.subnets import image_files
from crnas_d2.search import Searcher
from crnas_d2.space import AdditiveCost

from .racing import RaceSettings

# Sections and keys of a config that change what a candidate scores.
_SCORING = (
    *("MODEL.", "INPUT.", "TEST.", "SEARCH.BN_CALIBRATION.", "SEARCH.IMS_PER_BATCH.", "SEED."),
    *("SEARCH.PRECISION.", "SEARCH.CHANNELS_LAST."),
)
_IRRELEVANT = ("MODEL.DEVICE", "MODEL.WEIGHTS")  # the digest of the weights counts, not their path


def describe_search(
    cfg: CfgNode,
    searcher: Searcher,
    costs: Mapping[str, AdditiveCost],
    score: type[Score],
    racing: RaceSettings | None,
) -> dict[str, object]:
    """Describe a search as plain JSON data.

    Settings are those of the algorithm and those that change a score, if they differ from the
    defaults, so that a setting that a later version adds does not prevent resuming.
    """
    settings = searcher.from_config(cfg)
    usual = searcher.from_config(default_config(cfg.PLUGINS))
    second = cfg.SEARCH.SECOND_OBJECTIVE
    compared = {budget.cost.name for budget in searcher.budgets} | ({second} if second else set())
    return {
        "space": {choice.name: choice.options for choice in searcher.space.choices},
        "base": str(searcher.space.base),
        "algorithm": searcher.name,
        **{f"{searcher.name}: {k}": v for k, v in settings.items() if v != usual.get(k)},
        "second objective": second,
        **{budget.key: [budget.low, budget.high] for budget in searcher.budgets},
        # The same limits on other costs, e.g. on new latencies, admit other candidates.
        **{f"digest of the costs of {name}": costs[name].digest for name in sorted(compared)},
        "metric": score.metric(cfg),
        **({"SEARCH.RACING": racing.describe()} if racing else {}),
        **(_weights_and_images(cfg) if score.uses_supernet else {}),
        **{
            key: value
            for key, value in changed_settings(cfg).items()
            if f"{key}.".startswith(_SCORING) and key not in _IRRELEVANT
        },
    }


def _weights_and_images(cfg: CfgNode) -> dict[str, object]:
    """Identify files by their content: the path of a file does not change a score."""
    return {
        "weights": sha256(fetch_weights(cfg.MODEL.WEIGHTS)),
        "archval": [_identify(name) for name in cfg.DATASETS.ARCHVAL],
        "archtrain": [_identify(name) for name in cfg.DATASETS.TRAIN],
        **{f"{use} images": sha256(*files) for use, files in image_files(cfg).items()},
    }


def _identify(dataset: str) -> list[str | None]:
    """Return the name of a dataset and the digest of its JSON file, if it has one."""
    json_file = MetadataCatalog.get(dataset).get("json_file")
    return [dataset, sha256(json_file) if json_file else None]
