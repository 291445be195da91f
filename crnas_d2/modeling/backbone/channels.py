"""A dilation per channel group in a convolution of each block: NATS's supernet and its finds."""

from collections.abc import Callable, Sequence

from detectron2.layers import CNNBlockBase, Conv2d

from crnas_d2.layers import ChannelMixedConv2d, DecodedConv2d, decode_conv
from crnas_d2.space import (
    SearchedConv,
    build_channels,
    build_family,
    build_genotype,
    is_channel_search,
    is_supernet,
)

__all__ = ["check_channels", "new_channel_builder"]


def new_channel_builder(cfg) -> Callable[[str, Sequence[CNNBlockBase]], None]:
    """From a stage's name and blocks to the same blocks with a convolution of each replaced.

    In a supernet of the channel space by the mix of all dilations, in a network with
    ``MODEL.GENOTYPE.CHANNELS`` by what was found; elsewhere nothing happens.
    """
    if is_channel_search(cfg):
        share_weights = cfg.MODEL.SUPERNET.SHARING == "weight"

        def replace(base: Conv2d, conv: SearchedConv) -> ChannelMixedConv2d:
            return ChannelMixedConv2d.from_conv(
                base,
                dilations=conv.dilations,
                num_groups=conv.num_groups,
                share_weights=share_weights,
            )

    elif _is_decoded(cfg):
        chosen = dict(zip(build_channels(cfg).names, build_genotype(cfg).channels, strict=True))

        def replace(base: Conv2d, conv: SearchedConv) -> Conv2d | DecodedConv2d:
            return decode_conv(base, dilations=conv.dilations, genotype=chosen[conv.name])

    else:
        return lambda stage, blocks: None

    convs = build_channels(cfg).convs

    def change_channels(stage: str, blocks: Sequence[CNNBlockBase]) -> None:
        for conv in convs:
            searched_stage, index, name = conv.name.split(".")
            if searched_stage == stage:
                block = blocks[int(index)]
                setattr(block, name, replace(getattr(block, name), conv))

    return change_channels


def check_channels(cfg) -> None:
    """Refuses settings with which channels cannot be searched or reordered.

    Any norm that treats each channel by itself will do, frozen statistics included: all of a
    channel supernet runs in every step, and its BN follows the mix as it does in the base network.

    Raises:
        ValueError: naming the key, its value and what to do.
    """
    if not (is_channel_search(cfg) or _is_decoded(cfg)):
        return
    norm = cfg.MODEL.RESNETS.NORM
    if norm in ("GN", "LN"):
        raise ValueError(
            f"MODEL.RESNETS.NORM is '{norm}', which ties channels together; a decoded network has "
            "its channels in another order. Use 'BN', 'SyncBN' or 'FrozenBN'."
        )
    # Detectron2 counts the stem as 1 and res2 as 2.
    frozen = build_family(cfg).stages[: max(0, cfg.MODEL.BACKBONE.FREEZE_AT - 1)]
    searched = [stage for stage in cfg.MODEL.SUPERNET.CHANNEL.STAGES if stage in frozen]
    if is_channel_search(cfg) and searched:
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {cfg.MODEL.BACKBONE.FREEZE_AT}, which freezes "
            f"{', '.join(searched)}, alpha included, but MODEL.SUPERNET.CHANNEL.STAGES asks to "
            "search there. Freeze less, or take these stages out."
        )


def _is_decoded(cfg) -> bool:
    return bool(cfg.MODEL.GENOTYPE.CHANNELS) and not is_supernet(cfg)
