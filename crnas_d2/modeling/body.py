"""Build a backbone body: one network, or the supernet of a search space."""

from collections.abc import Callable, Mapping, Sequence

from detectron2.layers import CNNBlockBase, Conv2d
from detectron2.modeling import Backbone
from torch import nn

from crnas_d2.config import NetworkSpec
from crnas_d2.layers import ChannelMixedConv2d, DecodedConv2d, decode_conv
from crnas_d2.space import Family, Genotype, SearchedConv, SpaceKind

from .supernet import MixedSupernet, SinglePathSupernet


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
    family = spec.family
    stem = family.make_stem(spec.in_channels)
    stages, choice_blocks = {}, {}
    for index, stage in enumerate(family.stages):
        if stage in family.single_layers:
            continue
        if spec.has_paths:
            blocks, choices = spec.kind.build_stage(stage, family, spec.space, spec.sharing)
            choice_blocks |= choices
        else:
            # A fixed network, or the base network of a channel supernet.
            ops = spec.genotype.ops_of_stages()[index]
            blocks = family.make_stage(stage, [family.operations[op] for op in ops])
        stages[stage] = blocks
    # Before make_body(), which freezes the first parts: replacements there must be frozen as well.
    convs = _replace_convs(spec, stages)
    body = family.make_body(stem, stages)
    body.spec = spec
    if spec.has_paths:
        body.supernet = SinglePathSupernet(spec.space, _within(body, choice_blocks))
    elif spec.is_searched_in_training:
        body.supernet = MixedSupernet(spec.space, convs)
    return body


def _within(
    body: nn.Module, choice_blocks: Mapping[str, Sequence[nn.Module]]
) -> dict[str, list[nn.Module]]:
    """Keep the choice blocks that are part of the body, which omits stages that no output needs."""
    parts = set(body.modules())
    return {name: [b for b in blocks if b in parts] for name, blocks in choice_blocks.items()}


def _replace_convs(
    spec: NetworkSpec, stages: Mapping[str, Sequence[CNNBlockBase]]
) -> dict[str, nn.Module]:
    """Replace the searched convolutions in place, by mixed or by decoded ones.

    Returns:
        the replacements, keyed by the name of the convolution.
    """
    if spec.channels is None:
        return {}
    replace = _mixed(spec) if spec.is_searched_in_training else _decoded(spec)
    convs = {}
    for conv in spec.channels.convs:
        block = stages[conv.stage][conv.block]
        base = getattr(block, conv.attribute, None)
        _check_conv(spec.family, conv, base)
        convs[conv.name] = replace(conv, base)
        setattr(block, conv.attribute, convs[conv.name])
    return convs


def _mixed(spec: NetworkSpec) -> Callable[[SearchedConv, Conv2d], ChannelMixedConv2d]:
    """Return the replacement of a search: each channel group mixes all dilations (NATS 3.2)."""

    def replace(conv: SearchedConv, base: Conv2d) -> ChannelMixedConv2d:
        return ChannelMixedConv2d.from_conv(
            base,
            dilations=conv.dilations,
            num_groups=conv.num_groups,
            share_weights=spec.sharing == "weight",
        )

    return replace


def _decoded(spec: NetworkSpec) -> Callable[[SearchedConv, Conv2d], Conv2d | DecodedConv2d]:
    """Return the replacement of a found network: one dilation per channel group (NATS 3.3)."""
    chosen = dict(zip(spec.channels.names, spec.genotype.channels, strict=True))

    def replace(conv: SearchedConv, base: Conv2d) -> Conv2d | DecodedConv2d:
        return decode_conv(base, dilations=conv.dilations, choice=chosen[conv.name])

    return replace


def _check_conv(family: Family, conv: SearchedConv, found: nn.Module | None) -> None:
    """Raise ValueError for a family whose blocks differ from what ``searchable_conv`` describes."""
    fits = (
        isinstance(found, Conv2d)
        and (found.out_channels, found.groups) == (conv.channels, conv.conv_groups)
        and found.kernel_size == (3, 3)
        and found.bias is None
    )
    if not fits:
        raise ValueError(
            f"The family '{family.name}' describes {conv.name} as a 3x3 convolution of "
            f"{conv.channels} channels in {conv.conv_groups} groups, without bias, but the block "
            f"has {found}. Its searchable_conv() must describe the blocks of its make_stage()."
        )
