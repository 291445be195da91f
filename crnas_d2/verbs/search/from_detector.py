"""``search --from``: the search of a trained detector, from the settings of its training."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from crnas_d2.common.errors import invalid
from crnas_d2.common.plain_yaml import dump_yaml, without_tuples
from crnas_d2.config import NetworkSpec, load_config, spell
from crnas_d2.config.entries import leaves, nested, set_overrides
from crnas_d2.config.image_size import search_space
from crnas_d2.cost import body_cost, build_cost
from crnas_d2.cost.counting import meta_body
from crnas_d2.data import register_datasets
from crnas_d2.space import Budget, feasible_fraction

from .trained_detector import OF_A_SEARCH, load_detector, thaw

_MOST = 300  # allocations that are all scored; of more, evolution scores 200
_WIDTH = 0.15  # of the range of MACs, as a share of the detector's
_PARTS = ("ARCHVAL", "TRAIN", "TEST")
_PATHS = ("MODEL.WEIGHTS", "OUTPUT_DIR")  # for which there are flags
_FROZEN = """
Its first stages or BN statistics were frozen. Those of the found network differ, so they are
trained; on one process, SyncBN is plain BN."""


def write_configs(args: argparse.Namespace) -> str:
    """Write search.yaml, finetuned.yaml and found.yaml; return the path of the first.

    Raise ValueError, with the fix, for a detector that cannot be searched. Weights that do not fit
    are refused before data is read.
    """
    share = 0.65 if args.budget is None else args.budget
    if not 0 < share <= 1:
        raise invalid("--budget", share, "a share above 0, at most 1")
    parts = {key: _split(getattr(args, key.lower()), args.opts) for key in _PARTS}
    cfg, file, folder = load_detector(args)
    given = dict(zip(args.opts[::2], args.opts[1::2], strict=True))
    output = os.path.abspath(args.output or given.get("OUTPUT_DIR") or f"{folder}/search")
    given = {key: value for key, value in given.items() if key not in _PATHS}
    usual = dict(leaves(load_config(file, ["PLUGINS", str(list(cfg.PLUGINS))])))
    spec = NetworkSpec.from_config(cfg)
    frozen = thaw(cfg)
    print(f"The detector of {file}: {spec.genotype}.")
    if frozen:
        print(frozen)
    set_data(cfg, parts, args.detector)
    if cfg.INPUT.MIN_SIZE_TEST:  # 0: images are not resized
        cfg.SEARCH.COST_INPUT_SIZE = [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST]

    search, tuned = cfg.clone(), cfg.clone()
    _set_space(search, spec)
    set_overrides(search, sum(given.items(), ()))
    if "SEARCH.BUDGET.MACS" not in given:
        _set_limits(search, spec, share)
        set_overrides(search, sum(given.items(), ()))  # which win
    search.OUTPUT_DIR, tuned.OUTPUT_DIR = output, f"{output}/finetuned"
    tuned.DATASETS.ARCHVAL, tuned.MODEL.SUPERNET.SPACE = (), "none"
    tuned.SEARCH.COST_INPUT_SIZE = search.SEARCH.COST_INPUT_SIZE
    solver = tuned.SOLVER
    solver.BASE_LR, solver.MAX_ITER = solver.BASE_LR / 2, -(-solver.MAX_ITER // 2)
    solver.STEPS, solver.WARMUP_ITERS = [n // 2 for n in solver.STEPS], solver.WARMUP_ITERS // 2
    trains = {key: value for key, value in given.items() if not key.startswith(OF_A_SEARCH)}
    set_overrides(tuned, sum(trains.items(), ()))

    again = "The detector, trained further, with half of its iterations and learning rate."
    found = {"MODEL.WEIGHTS": f"{output}/model_best.pth", "OUTPUT_DIR": f"{output}/found"}
    found_in = "As finetuned.yaml, with the network and the weights that the search found."
    texts = {
        "search": _text(f"The search of {file}.", file, _changed(search, usual)),
        "finetuned": _text(again + _FROZEN * bool(frozen), file, _changed(tuned, usual)),
        "found": _text(found_in, ["finetuned.yaml", "genotype.yaml"], found),
    }
    os.makedirs(output, exist_ok=True)
    for name, text in texts.items():
        path = Path(output, f"{name}.yaml")
        if not (path.exists() and path.with_name("search.db").exists()):  # may have been edited
            path.write_text(text, encoding="utf-8")
    return f"{output}/search.yaml"


def next_steps(output: str) -> list[str]:
    """Return the commands that follow the search of a detector; none after another search."""
    configs = {name: os.path.join(output, f"{name}.yaml") for name in ("finetuned", "found")}
    if not all(map(os.path.isfile, configs.values())):
        return []
    runs = [f"{name}={os.path.join(output, name)}" for name in configs]
    page = os.path.join(output, "comparison.html")
    lines = ["Next, train the detector and the found network further, and compare them:"]
    lines += [f"  {spell('train', '--config-file', config)}" for config in configs.values()]
    if len(load_config(configs["finetuned"], []).DATASETS.TEST) != 1:
        return [*lines, "  (A comparison needs DATASETS.TEST in finetuned.yaml, one dataset.)"]
    return [*lines, f"  {spell('compare', *runs, '--search', output, '--output', page)}"]


def _split(words: list[str], overrides: list[str]) -> list[str]:
    """Return the words of one dataset; those after them, from the same flag, are overrides."""
    number = 2 if words and words[0].endswith(".json") else 1
    overrides[:0] = words[number:]
    return words[:number]


def set_data(cfg: CfgNode, parts: Mapping[str, Sequence[str]], run: str) -> None:
    """Set the datasets of a search; raise ValueError for those that are not known here."""
    datasets = cfg.DATASETS
    for key, words in parts.items():
        if len(words) == 2:
            name = f"{Path(words[0]).stem}_{key.lower()}"
            datasets.COCO_FORMAT = [*datasets.COCO_FORMAT, [name, *map(os.path.abspath, words)]]
            words = [name]
        if words:
            datasets[key] = tuple(words)
    register_datasets(cfg)
    seen = set(datasets.ARCHVAL) & set(datasets.TRAIN)
    if seen or not datasets.ARCHVAL:
        what = f"{', '.join(seen)} is DATASETS.TRAIN of {run}" if seen else "is missing"
        raise ValueError(
            f"--archval {what}: a search scores candidates on labelled images that the detector "
            "was not trained on. Add --archval NAME or --archval FILE.json IMAGES. If it was "
            f"trained on all that you have, divide them with {spell('prepare')} (archtrain, "
            "archval, test), and train it on archtrain."
        )
    for key in ("TRAIN", "ARCHVAL"):
        if unknown := [name for name in datasets[key] if name not in DatasetCatalog]:
            raise ValueError(
                f"DATASETS.{key} is {', '.join(unknown)}, which is not registered here. Name its "
                f"files, --{key.lower()} FILE.json IMAGES, or the module of yours that registers "
                "it, PLUGINS '[\"my_datasets\"]'."
            )
    if not datasets.TRAIN:
        raise ValueError(f"{run} names no DATASETS.TRAIN: add --train FILE.json IMAGES.")
    if unknown := [name for name in datasets.TEST if name not in DatasetCatalog]:
        names = ", ".join(unknown)
        print(f"DATASETS.TEST {names} is not registered here, and left out: --test names it.")
        datasets.TEST = tuple(name for name in datasets.TEST if name in DatasetCatalog)


def _set_space(cfg: CfgNode, spec: NetworkSpec) -> None:
    """Make the config of a detector that of the search of its first blocks."""
    cfg.MODEL.INHERIT, cfg.MODEL.GENOTYPE.DEPTHS = True, []
    supernet = cfg.MODEL.SUPERNET
    supernet.SPACE, supernet.SHARING, supernet.PATH_SAMPLER = "stage", "prefix", "uniform"
    built = dict(meta_body(spec).named_children())  # stages that no output needs are not
    depths = zip(spec.family.stages, spec.genotype.depths, strict=True)
    supernet.STAGE_OPTIONS = [list(range(1 if s in built else n, n + 1)) for s, n in depths]
    cfg.TEST.PRECISE_BN.ENABLED = False
    archval, test = set(cfg.DATASETS.ARCHVAL), cfg.DATASETS.TEST
    cfg.DATASETS.TEST = tuple(name for name in test if name not in archval)
    if test != cfg.DATASETS.TEST:
        print("archval is in DATASETS.TEST: the found network will look better there than it is.")


def _set_limits(cfg: CfgNode, spec: NetworkSpec, share: float) -> None:
    """Limit the MACs to a share of the detector's, and the candidates to what can be scored."""
    supernet, size = NetworkSpec.from_config(cfg), tuple(cfg.SEARCH.COST_INPUT_SIZE)
    if not supernet.has_paths:
        return  # it is refused as no space of a search
    space = search_space(cfg, supernet)
    macs, whole = build_cost(cfg, supernet, "MACS"), body_cost(spec, size).macs
    for low in (max(share - _WIDTH, 0), 0):
        budget = Budget(macs, round(low * whole), round(share * whole))
        number = feasible_fraction(space, [budget]).value * space.size
        if number:
            break
    else:
        least = f"at least {macs.range[0] / whole:.2f}, which the smallest network has"
        raise invalid("--budget", share, least)
    cfg.SEARCH.BUDGET.MACS = [budget.low, budget.high]
    if number > _MOST:
        cfg.SEARCH.ALGORITHM, evolution = "evolution", cfg.SEARCH.EVOLUTION
        evolution.POPULATION, evolution.GENERATIONS = 20, 10


def _changed(cfg: CfgNode, usual: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that differ from those of a file; modules are named in any case."""
    plain = {key: without_tuples(value) for key, value in leaves(cfg)}
    found = {k: v for k, v in plain.items() if k not in usual or v != without_tuples(usual[k])}
    return {**({"PLUGINS": list(cfg.PLUGINS)} if cfg.PLUGINS else {}), **found}


def _text(comment: str, bases: str | list[str], settings: Mapping[str, object]) -> str:
    content = {"_BASE_": bases, **nested(settings)}
    return "".join(f"# {line}\n" for line in comment.splitlines()) + dump_yaml(content)
