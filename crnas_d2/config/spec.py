"""The specification of a backbone, parsed once from a config."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

from detectron2.config import CfgNode
from detectron2.utils import comm

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

Other backbones read neither ``MODEL.SUPERNET`` nor ``MODEL.GENOTYPE``, and a config that sets these
is refused.
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
        kind: of the search space; ``None`` for one network.
        space: the genotypes of a supernet; ``None`` for one network.
        sharing: which weights the options of a choice share.
        channels: the space of ``genotype.channels``, or the one that a channel supernet mixes.
        in_channels: of the images.
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

        Configs that describe the same network have one spec: each content is parsed once.

        Raises:
            ValueError: naming the key, its value and what was expected.
        """
        supernet = cfg.MODEL.SUPERNET
        family = FAMILY_REGISTRY.get(supernet.FAMILY)
        kind = SPACE_REGISTRY.get(supernet.SPACE) if supernet.SPACE != "none" else None
        return _parse(_Source(_content(cfg), family, kind, _channel_kind(), cfg))

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
        """Build a spec from plain arguments; check and complete them.

        Args:
            kind: of the search space; ``None``: one network.
            genotype: of the one network or, for a supernet, what all its networks have in common.
                Default: the family's baseline.
            is_fixed: build one network, which must be a genotype of ``kind``.
            channel_kind: the kind of space of ``genotype.channels``; default: that of NATS.

        Raises:
            ValueError: naming the config key, its value and what was expected.
        """
        given = genotype or Genotype()
        if kind is not None and not is_fixed:
            base = given if "depths" in kind.fields else _with_depths(family, given)
            space = kind.build_space(family, base)
            _check_base(kind, given)
            kind.check(family, sharing)
            channels = space if isinstance(space, ChannelSpace) else None
            return cls(family, space.base, kind, space, sharing, channels, in_channels)
        genotype, channels = _with_depths(family, given), None
        if kind is not None:
            # First, because no genotype helps if the family has no such space.
            space = kind.build_space(family, genotype)
            missing = [name.upper() for name in kind.fields if not getattr(given, name)]
            if missing:
                raise ValueError(
                    "MODEL.SUPERNET.PATH_SAMPLER is 'fixed', which asks for one network of the "
                    f"{kind.name} space, but MODEL.GENOTYPE.{missing[0]} is empty: add a "
                    "genotype.yaml to _BASE_, or set MODEL.SUPERNET.SPACE to 'none' for the "
                    "published network."
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


def _content(cfg: CfgNode) -> str:
    values = {key: value for key, value in cfg.items() if key not in _ELSEWHERE}
    values["MODEL"] = {
        key: value for key, value in cfg.MODEL.items() if key not in ("WEIGHTS", "DEVICE")
    }
    # The device decides on a synchronized norm, among several processes; see layers/norm.py.
    synchronized = comm.get_world_size() > 1
    return repr((values, synchronized and cfg.MODEL.DEVICE.startswith("cuda"), synchronized))


@lru_cache(maxsize=64)
def _parse(source: _Source) -> NetworkSpec:
    cfg, supernet = source.cfg, source.cfg.MODEL.SUPERNET
    found_for = cfg.MODEL.GENOTYPE.FAMILY
    if found_for not in ("", supernet.FAMILY):
        raise ValueError(
            f"MODEL.GENOTYPE was found for the family '{found_for}', but MODEL.SUPERNET.FAMILY "
            f"is '{supernet.FAMILY}'. Inherit from a base config of its family, or from "
            "another genotype."
        )
    kind = None
    if source.kind is not None:
        kind = source.kind(**source.kind.from_config(cfg))
        if supernet.PATH_SAMPLER not in (*kind.path_samplers, "fixed"):
            known = " or ".join(f"'{name}'" for name in kind.path_samplers)
            raise ValueError(
                f"MODEL.SUPERNET.PATH_SAMPLER is '{supernet.PATH_SAMPLER}', but the {kind.name} "
                f"space is trained with {known}. Set it to that, or to 'fixed' for the network of "
                "MODEL.GENOTYPE."
            )
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


def _check_base(kind: SpaceKind, genotype: Genotype) -> None:
    """Raise ValueError for fields that the supernet searches, or that it cannot have."""
    for key in genotype.to_config():
        if key.lower() in kind.fields:
            raise ValueError(
                f"MODEL.GENOTYPE.{key} names one network, but MODEL.SUPERNET.SPACE is "
                f"'{kind.name}', whose supernet has all of them. "
                "Set PATH_SAMPLER to 'fixed' to build that one, or set the key to []."
            )
        if key.lower() not in kind.base_fields:
            raise ValueError(
                f"MODEL.GENOTYPE.{key} is set, but MODEL.SUPERNET.SPACE is '{kind.name}', whose "
                "networks do not have the blocks or convolutions that it was found for. Set it to "
                "[], and search for it in the network that this search finds."
            )


def _with_depths(family: Family, genotype: Genotype) -> Genotype:
    """Return the genotype, checked, with the depths of the baseline if it has none."""
    depths = genotype.depths or family.baseline_depths()
    if len(depths) != len(family.stages):
        raise ValueError(
            f"MODEL.GENOTYPE.DEPTHS is {list(depths)}; the family '{family.name}' has "
            f"{len(family.stages)} stages ({', '.join(family.stages)})."
        )
    for stage, depth in zip(family.stages, depths, strict=True):
        family.check_depths("MODEL.GENOTYPE.DEPTHS", stage, (depth,))
    genotype = replace(genotype, depths=depths)
    ops, blocks = genotype.ops, sum(depths)
    if ops and len(ops) != blocks:
        raise ValueError(
            f"MODEL.GENOTYPE.OPS has {len(ops)} values, {list(ops)}; DEPTHS {list(depths)} has "
            f"{blocks} blocks, and each needs one."
        )
    for stage, indices in zip(family.stages, genotype.ops_of_stages(), strict=True):
        known = family.operations_of(stage)
        if not set(indices) <= set(known):
            names = ", ".join(f"{index} ({family.operations[index].name})" for index in known)
            raise ValueError(
                f"MODEL.GENOTYPE.OPS is {list(ops)}; {list(indices)} are those of {stage}; "
                f"expected {names}."
            )
    family.check(genotype)
    return genotype
