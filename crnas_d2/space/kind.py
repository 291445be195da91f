"""The interface of a kind of search space, and the registry of kinds."""

from abc import ABC, abstractmethod
from typing import Any

from yacs.config import CfgNode

from crnas_d2.common.registry import EqualBySettings, Registry

from .channel_space import ChannelSpace
from .family import Family
from .genotype import Genotype
from .search_space import SearchSpace

SPACE_REGISTRY = Registry("SPACE", "MODEL.SUPERNET.SPACE", besides=("none",))
"""Kinds by the names of ``MODEL.SUPERNET.SPACE``; each a subclass of :class:`SpaceKind`."""


class SpaceKind(EqualBySettings, ABC):
    """A kind of search space: what varies in the networks of a family.

    A subclass is registered with ``@SPACE_REGISTRY.register("name")``; ``MODEL.SUPERNET.SPACE``
    then takes the name. An instance holds the settings of the space; two with equal
    attributes are equal. The space itself is a
    :class:`SearchSpace`, whose supernet runs one path at a time, so ``path_samplers`` are
    ``uniform`` and ``fair``; or, for the kind ``channel``, a :class:`ChannelSpace`, whose supernet
    mixes all dilations.

    Attributes:
        name: under which it is registered.
        fields: the fields of a :class:`Genotype` on which it decides.
        base_fields: the fields that ``MODEL.GENOTYPE`` may set for all networks of the space.
        path_samplers: the values of ``MODEL.SUPERNET.PATH_SAMPLER`` that train its supernet.
        sharings: which weights the options of a choice may share, values of
            ``MODEL.SUPERNET.SHARING``; the first is the default.
        is_searched_in_training: whether a training of its supernet also finds the network; else a
            search scores its subnets afterwards.
    """

    name: str
    fields: tuple[str, ...]
    base_fields: tuple[str, ...] = ()
    path_samplers: tuple[str, ...] = ("uniform", "fair")
    sharings: tuple[str, ...] = ("none",)
    is_searched_in_training: bool = False

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Return the arguments of the constructor; by default none."""
        return {}

    @abstractmethod
    def build_space(self, family: Family, genotype: Genotype) -> SearchSpace | ChannelSpace:
        """Build the space of a family.

        Args:
            genotype: what all its networks have in common. It has ``depths`` unless this kind
                decides on them.

        Raises:
            ValueError: the family has no such space, or the settings do not fit it.
        """

    def check(self, family: Family, sharing: str) -> None:
        """Check the settings with which a supernet of this kind is trained.

        Raises:
            ValueError: naming the key, its value and what to do.
        """
        self.check_sharing(sharing)
        if family.freeze_at > 0:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT is {family.freeze_at}: a supernet cannot be frozen in "
                "part, because the frozen stages hold choices that have yet to be trained. Set it "
                "to 0."
            )
        if family.norm == "FrozenBN":
            raise ValueError(
                f"{family.norm_key} is 'FrozenBN': each path of a supernet needs statistics of its "
                "own, which frozen ones cannot follow. Use 'BN' or 'SyncBN'."
            )

    def check_sharing(self, sharing: str) -> None:
        """Raise ValueError for a sharing that the space does not have."""
        if sharing not in self.sharings:
            raise ValueError(
                f"MODEL.SUPERNET.SHARING is '{sharing}'; expected one of {self.sharings} in the "
                f"{self.name} space."
            )

    @abstractmethod
    def build_stage(
        self, stage: str, family: Family, space: SearchSpace, sharing: str
    ) -> tuple[list[Any], dict[str, list[Any]]]:
        """Build the blocks of one stage of the supernet.

        Args:
            stage: one of the family's stages that is not a single layer.

        Returns:
            the blocks; and, by name of each choice, all choice blocks that implement it. Those on
            the path run. A choice with a single option may have none.
        """
