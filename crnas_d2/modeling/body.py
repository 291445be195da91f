"""Build a backbone body: one network, or the supernet of a search space."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from detectron2.layers import CNNBlockBase, Conv2d
from detectron2.modeling import Backbone
from torch import nn

from crnas_d2.config import NetworkSpec
from crnas_d2.layers import decode_conv
from crnas_d2.space import ChannelSpace, Family, Genotype, SearchedConv, SpaceKind

Stages: TypeAlias = dict[str, list[CNNBlockBase]]


def build_backbone(
    family: Family,
    *,
    kind: SpaceKind | None = None,
    genotype: Genotype | None = None,
    sharing: str = "none",
    in_channels: int = 3,
) -> Backbone:
    """Build a body for images of ``in_channels`` from plain arguments, e.g. for a LazyConfig.

    Args:
        kind: the kind of search space whose supernet to build; ``None`` for a single network.
        genotype: the network or, for a supernet, the part that all its networks have in common.
            Default: the family's baseline.
        sharing: which weights the options of a choice share.

    Raises:
        ValueError: with the given and the expected value.
    """
    spec = NetworkSpec.build(
        family, kind=kind, genotype=genotype, sharing=sharing, in_channels=in_channels
    )
    return build_body(spec)


def build_body(spec: NetworkSpec) -> Backbone:
    """Build the body that a spec describes; its attribute ``spec`` is the spec.

    A supernet also has the attribute ``supernet``, see :func:`find_supernet`.
    """
    family, kind = spec.family, spec.kind
    stem = family.make_stem(spec.in_channels)
    # make_body() comes last, because it freezes the first parts.
    if kind is not None:
        stages, parts = kind.build_stages(family, spec.space, spec.sharing)
        body = family.make_body(stem, stages)
        body.supernet = kind.build_supernet(body, spec.space, parts)
    else:
        stages = build_stages(family, spec.genotype)
        if spec.channels is not None:  # with dilations of their own (NATS section 3.3)
            chosen = dict(zip(spec.channels.names, spec.genotype.channels, strict=True))

            def decode(conv: SearchedConv, base: Conv2d) -> nn.Module:
                return decode_conv(base, dilations=conv.dilations, choice=chosen[conv.name])

            replace_convs(family, spec.channels, stages, decode)
        body = family.make_body(stem, stages)
    body.spec = spec
    return body


def build_stages(family: Family, genotype: Genotype) -> Stages:
    """Build the blocks of each stage of one network that is not a single layer."""
    return {
        stage: family.make_stage(stage, [family.operations[op] for op in ops])
        for stage, ops in zip(family.stages, genotype.ops_of_stages(), strict=True)
        if stage not in family.single_layers
    }


def replace_convs(
    family: Family,
    space: ChannelSpace,
    stages: Mapping[str, Sequence[CNNBlockBase]],
    replace: Callable[[SearchedConv, Conv2d], nn.Module],
) -> dict[str, nn.Module]:
    """Replace the searched convolutions of built stages in place; return the new ones by name.

    Raise ValueError for blocks that are not as the family's ``searchable_conv`` describes them.
    """
    replaced = {}
    for conv in space.convs:
        block = stages[conv.stage][conv.block]
        base = getattr(block, conv.attribute, None)
        names = ("out_channels", "groups", "kernel_size", "bias")
        actual = isinstance(base, Conv2d) and tuple(getattr(base, name) for name in names)
        if actual != (conv.channels, conv.conv_groups, (3, 3), None):
            raise ValueError(
                f"searchable_conv() of '{family.name}' describes {conv.name} as a 3x3 convolution "
                f"of {conv.channels} channels in {conv.conv_groups} groups, without bias, but the "
                f"block of make_stage() has {base}: it must describe these blocks."
            )
        replaced[conv.name] = replace(conv, base)
        setattr(block, conv.attribute, replaced[conv.name])
    return replaced
