"""Supernets: the interface of a body that holds a whole search space."""

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import nn

from crnas_d2.layers import ChannelMixedConv2d, ChoiceBlock
from crnas_d2.space import ChannelSpace, Genotype, SearchSpace


class Supernet:
    """The search space of a body, and the operations on it.

    The body is a backbone like any other; its attribute ``supernet`` is this object, which refers
    to modules of the body and has no weights of its own.

    Attributes:
        space: the genotypes.
    """

    space: SearchSpace | ChannelSpace


class SinglePathSupernet(Supernet):
    """A supernet that runs one subnet at a time.

    Args:
        space: the genotypes that it can run.
        choice_blocks: the modules that implement each choice, keyed by its name. A choice with a
            single option may have none; a choice inside the branches of a stage has one per
            branch.

    Attributes:
        path: the active genotype, ``None`` before the first :meth:`set_path`.
    """

    space: SearchSpace

    def __init__(self, space: SearchSpace, choice_blocks: Mapping[str, Sequence[ChoiceBlock]]):
        self.space = space
        self.choice_blocks = choice_blocks
        self.path: Genotype | None = None

    def set_path(self, genotype: Genotype) -> None:
        """Switch to one subnet: until the next call, nothing off its path runs or changes.

        Raises:
            ValueError: the genotype is not in the space.
        """
        for name, option in self.space.values(genotype).items():
            for block in self.choice_blocks.get(name, ()):
                block.choose(option)
        self.path = genotype


class MixedSupernet(Supernet):
    """A channel supernet: all of it runs, and each searched convolution mixes its dilations.

    Args:
        space: the genotypes that it mixes.
        convs: the mixed convolutions, keyed by name, in the order of the space.
    """

    space: ChannelSpace

    def __init__(self, space: ChannelSpace, convs: Mapping[str, ChannelMixedConv2d]):
        assert tuple(convs) == space.names, (list(convs), space.names)
        self.space = space
        self.convs = convs

    @property
    def alphas(self) -> list[nn.Parameter]:
        """The architecture parameters, one tensor (channel groups, dilations) per convolution."""
        return [conv.alpha for conv in self.convs.values()]

    def decode(self) -> Genotype:
        """Return the genotype of the strongest dilations (NATS section 3.3, Eq. 4)."""
        return self.space.genotype([conv.strongest_dilations() for conv in self.convs.values()])

    def summary(self) -> dict[str, float]:
        """Return scalars that show the progress of the search, per stage.

        ``alpha/res4/entropy`` is the mean over the channel groups of the stage, in nats; it is 0
        when all are decided. ``alpha/res4/share_1x3`` is the fraction of the groups whose
        strongest dilation, relative to the base network, is (1, 3) (NATS Eq. 5).
        """
        entropies, strongest = {}, {}
        for conv in self.space.convs:
            mixed = self.convs[conv.name]
            entropies.setdefault(conv.stage, []).extend(mixed.entropy().tolist())
            counts = strongest.setdefault(conv.stage, Counter(dict.fromkeys(conv.dilations, 0)))
            counts.update(conv.dilations[index] for index in mixed.strongest_dilations())
        scalars = {}
        for stage, values in entropies.items():
            scalars[f"alpha/{stage}/entropy"] = sum(values) / len(values)
            for (height, width), count in strongest[stage].items():
                scalars[f"alpha/{stage}/share_{height}x{width}"] = count / len(values)
        return scalars


def find_supernet(model: nn.Module) -> Supernet | None:
    """Return the supernet inside a detector or a backbone, or ``None`` if there is none."""
    for module in model.modules():
        supernet = getattr(module, "supernet", None)
        if isinstance(supernet, Supernet):
            return supernet
    return None
