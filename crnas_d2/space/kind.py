"""The interface of a kind of search space, and the registry of kinds."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from yacs.config import CfgNode

from crnas_d2.common.errors import invalid
from crnas_d2.common.registry import EqualBySettings, Registry

from .channel_space import ChannelSpace
from .family import Family
from .genotype import Genotype
from .search_space import SearchSpace

SPACE_REGISTRY = Registry("SPACE", "MODEL.SUPERNET.SPACE", besides=("none",))
"""Kinds by the names of ``MODEL.SUPERNET.SPACE``; each a subclass of :class:`SpaceKind`."""


class SpaceKind(EqualBySettings, ABC):
    """A kind of search space: what varies in the networks of a family, and how it is searched.

    A subclass is registered with ``@SPACE_REGISTRY.register("name")``; ``MODEL.SUPERNET.SPACE``
    then takes the name. An instance holds the settings of the space; two with equal
    attributes are equal. Derive from :class:`crnas_d2.modeling.SinglePathKind` if one subnet runs
    at a time and a search scores them after the training; the kind ``channel`` is another one.

    Attributes:
        fields: the fields of a :class:`Genotype` on which it decides.
        base_fields: the fields that ``MODEL.GENOTYPE`` may set for all networks of the space.
        path_samplers: the names in ``PATH_SAMPLER_REGISTRY`` that train its supernet.
        sharings: values of ``MODEL.SUPERNET.SHARING``; the first is the default.
        is_searched_in_training: whether a training of its supernet also finds the network; else a
            search scores its subnets afterwards.
        trains_on_archval: whether that training reads ``DATASETS.ARCHVAL``, which scores nothing
            then.
    """

    name: str
    fields: tuple[str, ...]
    base_fields: tuple[str, ...] = ()
    path_samplers: tuple[str, ...]
    sharings: tuple[str, ...] = ("none",)
    is_searched_in_training: bool = False
    trains_on_archval: bool = False

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Return the arguments of the constructor; by default none."""
        return {}

    @abstractmethod
    def build_space(self, family: Family, genotype: Genotype) -> SearchSpace | ChannelSpace:
        """Build the space of a family; raise ValueError if it has none with these settings.

        All its networks have the genotype in common, with ``depths`` unless this kind decides on
        them.
        """

    def check(self, family: Family, sharing: str) -> None:
        """Raise ValueError for a family and a sharing that its supernet cannot be built with."""
        if sharing not in self.sharings:
            expected = f"one of {self.sharings} in the {self.name} space"
            raise invalid("MODEL.SUPERNET.SHARING", sharing, expected)

    def check_config(self, cfg: CfgNode, space: Any) -> None:
        """Raise ValueError for a config in which its supernet fails or misleads."""

    def check_training(self, cfg: CfgNode) -> None:
        """Raise ValueError for a config with which its supernet cannot be trained."""

    @abstractmethod
    def build_stages(
        self, family: Family, space: Any, sharing: str
    ) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """Build the blocks of its supernet, by the name of each stage that is not a single layer.

        Return with them the parts that :meth:`build_supernet` takes.
        """

    @abstractmethod
    def build_supernet(self, body: Any, space: Any, parts: Mapping[str, Any]) -> Any:
        """Build the :class:`crnas_d2.modeling.Supernet` of a body, with the parts of its stages.

        Both are of :meth:`build_stages`; the body lacks the stages that no output needs.
        """
