"""The genotype that a user names, e.g. for a sketch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from detectron2.config import CfgNode

from crnas_d2.common.plain_yaml import read_yaml
from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.config.entries import set_entries
from crnas_d2.space import FAMILY_REGISTRY, ChannelSpace, Family, Genotype, genotype_file


def _load(file: str) -> CfgNode:
    return load_config(file, ["MODEL.DEVICE", "cpu"], is_read_only=True)  # no warning about a GPU


@dataclass(frozen=True)
class NamedGenotype:
    """The genotype of one network; ``channels`` is the space of ``genotype.channels``, if any."""

    name: str
    genotype: Genotype
    family: type[Family]
    channels: ChannelSpace | None = None


def split_name(text: str) -> tuple[str, str]:
    """Split ``NAME=SOURCE``; the name is empty if there is none."""
    name, separator, source = text.partition("=")
    return (name, source) if separator and "/" not in name else ("", text)


def find_genotype(text: str) -> NamedGenotype:
    """Read a genotype: ``SOURCE``, or ``NAME=SOURCE`` to print another name.

    A source is a published network (``CR-NAS/CR-R50``), a ``genotype.yaml`` or another config, or a
    folder with one of a search, a training or an export. Raises ValueError if there is no such
    network, or it is a supernet.
    """
    name, source = split_name(text)
    path = Path(source)
    if path.is_dir():
        cfg, found = _config_of_folder(path), path.resolve().name
    elif path.suffix in (".yaml", ".yml"):
        is_fragment = path.stem == "genotype" and "://" not in source
        found = path.resolve().parent.name if is_fragment else path.stem
        cfg = _load(source)
    else:
        try:
            cfg, found = _load(genotype_file(source)), path.name
        except ValueError as error:
            others = "A path to a genotype.yaml, a config or the folder of a run is taken, too."
            raise ValueError(f"{error} {others}") from error
    name = name or found
    family = FAMILY_REGISTRY.get(cfg.MODEL.GENOTYPE.FAMILY or cfg.MODEL.SUPERNET.FAMILY)
    genotype = Genotype.from_config(cfg.MODEL.GENOTYPE)
    # A fragment says nothing about widths, which a family may check.
    is_complete = len(genotype.depths) == len(family.stages) and not genotype.channels
    is_fixed = cfg.MODEL.SUPERNET.SPACE == "none" or cfg.MODEL.SUPERNET.PATH_SAMPLER == "fixed"
    if is_complete and is_fixed and len(genotype.ops) in (0, sum(genotype.depths)):
        return NamedGenotype(name, genotype, family)
    spec = NetworkSpec.from_config(cfg)
    if spec.is_supernet:
        fix = "name one of them, e.g. the genotype.yaml that its search has written."
        raise ValueError(f"{source} is that of a supernet, which has many networks: {fix}")
    return NamedGenotype(name, spec.genotype, family, spec.channels)


def _config_of_folder(folder: Path) -> CfgNode:
    config, genotype = folder / "config.yaml", folder / "genotype.yaml"
    if not config.is_file() and not genotype.is_file():
        expected = "expected that of a search, a training or an export."
        what = "has neither a genotype.yaml nor a config.yaml"
        raise ValueError(f"The folder {folder} {what}; {expected}")
    if not config.is_file():
        return _load(str(genotype))
    cfg = _load(str(config))
    if genotype.is_file():  # what a search has found, in the network of its config
        cfg.MODEL.SUPERNET.SPACE = "none"
        set_entries(cfg, cast(dict[str, Any], read_yaml(genotype)))
    return cfg
