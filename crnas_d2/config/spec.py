"""The specification of a backbone, parsed once from a config."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

from detectron2.config import CfgNode
from detectron2.utils import comm

from crnas_d2.common.errors import invalid
from crnas_d2.space import (
    FAMILY_REGISTRY,
    SPACE_REGISTRY,
    ChannelSpace,
    Family,
    Genotype,
    SearchSpace,
    SpaceKind,
)

SPEC_BUILDERS: set[Callable[..., Any]] = set()
"""Builders in Detectron2's BACKBONE_REGISTRY that build ``NetworkSpec.from_config(cfg)``.

With any other, a config that sets ``MODEL.SUPERNET`` or ``MODEL.GENOTYPE`` is refused.
"""

Builder = TypeVar("Builder", bound=Callable[..., Any])


def builds_spec(builder: Builder) -> Builder:
    """Add a builder to :data:`SPEC_BUILDERS`; a decorator."""
    SPEC_BUILDERS.add(builder)
    return builder


@dataclass(frozen=True)
class NetworkSpec:
    """A backbone body: one network, or the supernet of a search space.

    Use :meth:`from_config` or, with plain arguments, :meth:`build`; both check their arguments.

    Attributes:
        family: the settings that all networks share, and the builder of their parts.
        genotype: of the one network; for a supernet, what all its networks have in common.
        kind, space: of a supernet; ``None`` for one network.
        sharing: which weights the options of a choice share.
        channels: the space of ``genotype.channels``, or the one that a channel supernet mixes.
    """

    family: Family
    genotype: Genotype
    kind: SpaceKind | None = None
    space: SearchSpace | ChannelSpace | None = None
    sharing: str = "none"
    channels: ChannelSpace | None = None
    in_channels: int = 3

    @property
    def is_supernet(self) -> bool:
        return self.space is not None

    @property
    def has_paths(self) -> bool:
        """Whether it is a supernet whose subnets run one at a time, and are searched afterwards."""
        return self.kind is not None and not self.kind.is_searched_in_training

    @property
    def is_searched_in_training(self) -> bool:
        """Whether it is a supernet that is searched while it is trained."""
        return self.kind is not None and self.kind.is_searched_in_training

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "NetworkSpec":
        """Read ``MODEL.SUPERNET``, ``MODEL.GENOTYPE`` and the section of the family.

        Configs that describe the same network have one spec: each content is parsed once. Raise
        ValueError with the key, its value and what was expected.
        """
        if "SUPERNET" not in cfg.MODEL:
            fix = "call crnas_d2.add_crnas_config(cfg) after get_cfg()"
            raise ValueError(f"The config has no MODEL.SUPERNET: {fix}.")
        supernet = cfg.MODEL.SUPERNET
        family = FAMILY_REGISTRY.get(supernet.FAMILY)
        kind = SPACE_REGISTRY.get(supernet.SPACE) if supernet.SPACE != "none" else None
        values = {key: value for key, value in cfg.items() if key not in _ELSEWHERE}
        values["MODEL"] = {k: v for k, v in cfg.MODEL.items() if k not in ("WEIGHTS", "DEVICE")}
        # The device decides on a synchronized norm, among several processes; see layers/norm.py.
        synchronized = comm.get_world_size() > 1
        on_gpu = synchronized and cfg.MODEL.DEVICE.startswith("cuda")
        content = repr((values, on_gpu, synchronized))
        return _parse(_Source(content, family, kind, _channel_kind(), cfg))

    @classmethod
    def build(
        cls,
        family: Family,
        *,
        kind: SpaceKind | None = None,
        genotype: Genotype | None = None,
        sharing: str = "none",
        is_fixed: bool = False,
        channel_kind: SpaceKind | None = None,
        in_channels: int = 3,
    ) -> "NetworkSpec":
        """Build a spec from plain arguments; raise ValueError with the config key of a wrong one.

        Args:
            kind: of the search space; ``None``: one network.
            genotype: of the one network or, for a supernet, what all its networks have in common.
                Default: the family's baseline.
            is_fixed: build one network, which must be a genotype of ``kind``.
            channel_kind: the kind of space of ``genotype.channels``; default: that of NATS.
        """
        given = genotype or Genotype()
        if kind is not None and not is_fixed:
            base = given if "depths" in kind.fields else _with_depths(family, given)
            space = kind.build_space(family, base)
            space = replace(space, base=replace(space.base, image_size=given.image_size))
            is_in = f"MODEL.SUPERNET.SPACE is '{kind.name}'"
            for key in replace(given, image_size=()).to_config():  # which describes no blocks
                if key.lower() in kind.fields:
                    raise ValueError(
                        f"MODEL.GENOTYPE.{key} names one network, but {is_in}, whose supernet has "
                        "all. Set PATH_SAMPLER to 'fixed' to build that one, or the key to []."
                    )
                if key.lower() not in kind.base_fields:
                    raise ValueError(
                        f"MODEL.GENOTYPE.{key} is set, but {is_in}, whose networks lack the blocks "
                        "or convolutions that it was found for. Set it to [], and search for it in "
                        "the network that this search finds."
                    )
            kind.check(family, sharing)
            channels = space if isinstance(space, ChannelSpace) else None
            return cls(family, space.base, kind, space, sharing, channels, in_channels)
        genotype, channels = _with_depths(family, given), None
        if kind is not None:
            # First, because no genotype helps if the family has no such space.
            space = kind.build_space(family, genotype)
            missing = [name.upper() for name in kind.fields if not getattr(given, name)]
            if missing:
                fix = "add a genotype.yaml to _BASE_"
                if known := ", ".join(given.to_config()):
                    fix = (
                        f"a genotype.yaml with {known} alone, which sets PATH_SAMPLER, comes in "
                        "_BASE_ before the config of a supernet, not after it. To build a network, "
                        "add the genotype.yaml of its search"
                    )
                raise ValueError(
                    "MODEL.SUPERNET.PATH_SAMPLER is 'fixed', which asks for one network of the "
                    f"{kind.name} space, but MODEL.GENOTYPE.{missing[0]} is empty: {fix}, or set "
                    "MODEL.SUPERNET.SPACE to 'none' for the published network."
                )
            if isinstance(space, SearchSpace):
                space.validate(genotype)
        if genotype.channels:
            mixed = (channel_kind or _channel_kind()()).build_space(family, genotype)
            assert isinstance(mixed, ChannelSpace)
            mixed.validate(genotype)
            channels = mixed
        return cls(family, genotype, channels=channels, in_channels=in_channels)


# What describes no network: a search or a training changes these while it runs.
_ELSEWHERE = {"SEARCH", "SOLVER", "DATASETS", "DATALOADER", "TEST", "OUTPUT_DIR", "SEED"}


@dataclass(frozen=True)
class _Source:
    """Where a spec comes from: equal if the contents and the registered classes are."""

    content: str
    family: type[Family]
    kind: type[SpaceKind] | None
    channel_kind: type[SpaceKind]
    cfg: CfgNode = field(compare=False, repr=False)


@lru_cache(maxsize=64)
def _parse(source: _Source) -> NetworkSpec:
    cfg, supernet = source.cfg, source.cfg.MODEL.SUPERNET
    found_for = cfg.MODEL.GENOTYPE.FAMILY
    if found_for not in ("", supernet.FAMILY):
        raise ValueError(
            f"MODEL.GENOTYPE was found for the family '{found_for}', but MODEL.SUPERNET.FAMILY is "
            f"'{supernet.FAMILY}'. Inherit from a base config of its family or another genotype."
        )
    kind = None
    if source.kind is not None:
        kind = source.kind(**source.kind.from_config(cfg))
        if supernet.PATH_SAMPLER not in (*kind.path_samplers, "fixed"):
            known = " or ".join(f"'{name}'" for name in kind.path_samplers)
            but = f"the {kind.name} space is trained with {known}"
            fix = "Set it to that, or to 'fixed' for the network of MODEL.GENOTYPE"
            raise invalid("MODEL.SUPERNET.PATH_SAMPLER", supernet.PATH_SAMPLER, but=but, fix=fix)
    return NetworkSpec.build(
        source.family(**source.family.from_config(cfg)),
        kind=kind,
        genotype=Genotype.from_config(cfg.MODEL.GENOTYPE),
        sharing=supernet.SHARING,
        is_fixed=supernet.PATH_SAMPLER == "fixed",
        channel_kind=source.channel_kind(**source.channel_kind.from_config(cfg)),
        in_channels=len(cfg.MODEL.PIXEL_MEAN),
    )


def _channel_kind() -> type[SpaceKind]:
    """Return the kind of space that decides on the channels of a genotype."""
    return next(kind for _, kind in SPACE_REGISTRY if "channels" in kind.fields)


def _with_depths(family: Family, genotype: Genotype) -> Genotype:
    """Return the genotype, checked, with the depths of the baseline if it has none."""
    depths = genotype.depths or family.baseline_depths()
    if len(depths) != len(family.stages):
        stages = f"{len(family.stages)} stages ({', '.join(family.stages)})"
        but = f"the family '{family.name}' has {stages}"
        raise invalid("MODEL.GENOTYPE.DEPTHS", list(depths), but=but)
    for stage, depth in zip(family.stages, depths, strict=True):
        family.check_depths("MODEL.GENOTYPE.DEPTHS", stage, (depth,))
    genotype = replace(genotype, depths=depths)
    ops, blocks = genotype.ops, sum(depths)
    if ops and len(ops) != blocks:
        given = f"MODEL.GENOTYPE.OPS has {len(ops)} values, {list(ops)}"
        wanted = f"DEPTHS {list(depths)} has {blocks} blocks, and each needs one"
        raise ValueError(f"{given}; {wanted}.")
    for stage, indices in zip(family.stages, genotype.ops_of_stages(), strict=True):
        known = family.operations_of(stage)
        if not set(indices) <= set(known):
            names = ", ".join(f"{index} ({family.operations[index].name})" for index in known)
            but = f"{list(indices)} are those of {stage}"
            raise invalid("MODEL.GENOTYPE.OPS", list(ops), names, but=but)
    family.check(genotype)
    return genotype
