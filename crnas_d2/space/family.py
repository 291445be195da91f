"""The interface of a backbone family: its operations, and the registry of families."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from yacs.config import CfgNode

from crnas_d2.common.registry import EqualBySettings, Registry

from .genotype import Genotype

FAMILY_REGISTRY = Registry("FAMILY", "MODEL.SUPERNET.FAMILY")
"""Families by the names of ``MODEL.SUPERNET.FAMILY``; each a subclass of :class:`Family`."""


@dataclass(frozen=True)
class Operation:
    """One operation of a block; the ``make_stage`` of its family calls one of the two functions.

    Attributes:
        name: for messages, tables and reports, e.g. ``dilation 2``.
        change: changes a finished block in place, whatever it was changed to before, and keeps the
            shapes of its parameters. If all operations do so, they can share one block's weights.
        make: builds the block, from the arguments with which its family calls it.
    """

    name: str
    change: Callable[[Any], None] | None = None
    make: Callable[..., Any] | None = None


@dataclass(frozen=True)
class SearchableConv:
    """A 3x3 convolution without bias whose channel groups may have their own dilations.

    ``attribute`` is of the block, e.g. ``conv2``, ``channels`` are those of the output, and
    ``conv_groups`` the groups of the convolution itself, as in ResNeXt.
    """

    attribute: str
    channels: int
    conv_groups: int = 1


@dataclass(frozen=True)
class PlainResNet:
    """A network of Detectron2's own ResNet classes, with the widths of ``MODEL.RESNETS``.

    Attributes:
        depths: blocks of res2 to res5.
        dilations: those other than 1, by the name of the convolution in the body.
        has_basic_blocks: BasicBlock instead of BottleneckBlock.
        is_known: whether Detectron2's builders make exactly this network.
        has_known_depths: whether they make one of these depths.
    """

    depths: tuple[int, ...]
    dilations: Mapping[str, int]
    has_basic_blocks: bool
    is_known: bool
    has_known_depths: bool


class Family(EqualBySettings, ABC):
    """A family of backbones: its stages, what may vary in them, and how its parts are built.

    A subclass is registered with ``@FAMILY_REGISTRY.register("name")``; ``MODEL.SUPERNET.FAMILY``
    then takes the name. An instance holds the settings that all its networks share (widths, norm,
    outputs), and builds any of these networks part by part. Instances with equal attributes are
    equal. Constructors take plain arguments; :meth:`from_config` reads them from a config.

    Keep the defaults below for what a family does not support: without ``stage_options`` a stage
    space needs ``MODEL.SUPERNET.STAGE_OPTIONS``, with a single operation there is no operation
    space, and without :meth:`searchable_conv` no channel space.

    Attributes:
        stages: from the highest resolution to the lowest.
        stage_options: the numbers of blocks that each stage may have.
        block_costs: cost of one block of each stage, for the cost ``BLOCKS``; empty: 1 each.
        operations: what a block may do, an index into them per block of a genotype; without
            ``OPS``, all blocks have the first.
        single_layers: stages that are a single layer: their depth is 1, their operation the first.
            :meth:`make_stem` and :meth:`make_body` build them.
        section: the section of ``MODEL`` with the family's keys, for messages.
        norm: of the body, a name that ``detectron2.layers.get_norm`` knows.
        freeze_at: how many parts of the body are frozen, as in ``MODEL.BACKBONE.FREEZE_AT``.
        published_convention: the :meth:`convention` of files that :meth:`published_names` knows.
    """

    name: str
    stages: tuple[str, ...]
    stage_options: tuple[tuple[int, ...], ...] = ()
    block_costs: tuple[float, ...] = ()
    operations: tuple[Operation, ...] = (Operation("plain"),)
    single_layers: frozenset[str] = frozenset()
    section: str = ""
    norm: str = "BN"
    freeze_at: int = 0
    published_convention: Mapping[str, object] = MappingProxyType({})

    @classmethod
    @abstractmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Return the arguments of the constructor.

        Configs that differ in SEARCH, SOLVER, DATASETS, DATALOADER, TEST or SEED alone describe one
        network, which is parsed once: read none of these. Raise ValueError, with the key and the
        fix, for a setting that the family does not support.
        """

    @abstractmethod
    def baseline_depths(self) -> tuple[int, ...]:
        """Return the number of blocks of each stage for a genotype without ``DEPTHS``.

        Raise ValueError if the settings match no published network.
        """

    @abstractmethod
    def make_stem(self, in_channels: int) -> Any:
        """Build the first layer or layers, a ``detectron2.layers.CNNBlockBase``."""

    @abstractmethod
    def make_stage(self, stage: str, operations: Sequence[Operation]) -> list[Any]:
        """Build new blocks of one stage, each a ``detectron2.layers.CNNBlockBase``.

        The stage is not a single layer. It gets one block per operation, the first of which
        changes stride and channels. The shapes of a block depend on its position only, not on the
        operations.
        """

    @abstractmethod
    def make_body(self, stem: Any, stages: Mapping[str, Sequence[Any]]) -> Any:
        """Build the body, a ``detectron2.modeling.Backbone``, and freeze its first parts.

        It gets the stem and, by name, the blocks of each stage that is not a single layer, and
        omits what no output needs.
        """

    def check(self, genotype: Genotype) -> None:
        """Raise ValueError for a genotype that these settings cannot build."""

    def searchable_conv(self, stage: str) -> SearchableConv | None:
        """Return the convolution of each block of ``stage`` that a channel search may vary (NATS).

        Decoding changes the order of its output channels. Another convolution of the block, or its
        norm, must absorb the new order, so the output must not be added to a shortcut.
        """
        return None

    def make_identity(self, block: Any) -> bool:
        """Make a new block the identity, in place; return False for one that is not residual."""
        return False

    def convention(self) -> dict[str, object]:
        """Return, by config key, the settings that no shape shows but that weights depend on."""
        return {}

    @classmethod
    def published_names(cls, names: Collection[str]) -> dict[str, str] | None:
        """Return Detectron2's names for the tensors of a published file; ``None`` for another's.

        ``names`` are those of all tensors in the file, the keys of what is returned.
        """
        return None

    @classmethod
    def converted_convention(
        cls, author: str, weights: Mapping[str, Any]
    ) -> Mapping[str, object] | None:
        """Return the :meth:`convention` of a file that Detectron2 has converted, or ``None``.

        ``author`` is ``__author__`` of the file; the weights have its names.
        """
        return None

    def plain_resnet(self, genotype: Genotype) -> PlainResNet | None:
        """Describe a network for a Detectron2 without this package, if its classes build it."""
        return None

    def operations_of(self, stage: str) -> tuple[int, ...]:
        """Return the indices of the operations that the blocks of ``stage`` may have."""
        return (0,) if stage in self.single_layers else tuple(range(len(self.operations)))

    def check_depths(self, key: str, stage: str, depths: Sequence[int]) -> None:
        """Raise ValueError, with the config key, unless a single layer has one block."""
        if stage in self.single_layers and tuple(depths) != (1,):
            blocks = f"{' or '.join(map(str, depths))} blocks, but it is a single layer"
            fix = f"The stages are {', '.join(self.stages)}; set '{stage}' to 1"
            raise ValueError(f"{key} gives the stage '{stage}' {blocks}. {fix}.")

    @property
    def norm_key(self) -> str:
        """The config key of :attr:`norm`, for messages."""
        return f"MODEL.{self.section}.NORM" if self.section else f"The norm of '{self.name}'"
