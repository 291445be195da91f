"""The convolutions of three benchmarks."""

# The 3x3 convolution of a res4 block of ResNet-50, on images of 800x1088 pixels.
CHANNELS, MAP, IMAGES, CHANNELS_PER_GROUP = 256, (50, 68), 2, 16


def dilation_cases() -> dict[str, tuple]:
    """Return three sets of dilations of NATS: small, medium and large."""
    from crnas_d2.space.dilations import DILATION_SETS

    sets = (DILATION_SETS["B"]["res4"], DILATION_SETS["C"]["res4"], DILATION_SETS["C"]["res5"])
    return {f"{len(dilations)} dilations": dilations for dilations in sets}


def feature_map(device: str):
    import torch

    shape = (IMAGES, CHANNELS, *MAP)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)


def mixed_conv(dilations: tuple, device: str):
    """Build a channel-mixed convolution whose replicas and shares all differ."""
    import torch

    from crnas_d2.layers.channel_mixed_conv import ChannelMixedConv2d

    torch.manual_seed(0)
    conv = ChannelMixedConv2d(
        CHANNELS, CHANNELS, dilations=dilations, channels_per_group=CHANNELS_PER_GROUP
    )
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return conv.to(device)
