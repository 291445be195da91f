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
    """Build a body from plain arguments, e.g. for a LazyConfig.

    Args:
        family: with its settings.
        kind: the kind of search space whose supernet to build; ``None`` for a single network.
        genotype: the network or, for a supernet, the part that all its networks have in common.
            Default: the family's baseline.
        sharing: which weights the options of a choice share.
        in_channels: of the images.

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
    if kind is None:
        body = family.make_body(stem, _build_network(spec))
    else:
        stages, parts = kind.build_stages(family, spec.space, spec.sharing)
        body = family.make_body(stem, stages)
        body.supernet = kind.build_supernet(body, spec.space, parts)
    body.spec = spec
    return body


def _build_network(spec: NetworkSpec) -> Stages:
    """Build the stages of one network, whose channels may have dilations (NATS section 3.3)."""
    stages = build_stages(spec.family, spec.genotype)
    if spec.channels is not None:
        chosen = dict(zip(spec.channels.names, spec.genotype.channels, strict=True))

        def decode(conv: SearchedConv, base: Conv2d) -> nn.Module:
            return decode_conv(base, dilations=conv.dilations, choice=chosen[conv.name])

        replace_convs(spec.family, spec.channels, stages, decode)
    return stages


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
    """Replace the searched convolutions of built stages in place.

    Returns:
        the replacements, keyed by the name of the convolution.

    Raises:
        ValueError: the blocks differ from what the family's ``searchable_conv`` describes.
    """
    replaced = {}
    for conv in space.convs:
        block = stages[conv.stage][conv.block]
        base = getattr(block, conv.attribute, None)
        fits = (
            isinstance(base, Conv2d)
            and (base.out_channels, base.groups) == (conv.channels, conv.conv_groups)
            and base.kernel_size == (3, 3)
            and base.bias is None
        )
        if not fits:
            raise ValueError(
                f"The family '{family.name}' describes {conv.name} as a 3x3 convolution of "
                f"{conv.channels} channels in {conv.conv_groups} groups, without bias, but the "
                f"block has {base}. Its searchable_conv() must describe the blocks of its "
                "make_stage()."
            )
        replaced[conv.name] = replace(conv, base)
        setattr(block, conv.attribute, replaced[conv.name])
    return replaced
