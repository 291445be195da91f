"""Toy channel supernets of ResNets, their base networks and the networks decoded from them."""

import torch
import toy

from crnas_d2.modeling import find_supernet

PLACES = ("res3.0", "res4.0", "res4.1", "res5.0")
CHANNELS = [[1, 0, 1, 0], [2, 0, 0, 1], [2, 2, 2, 2], [1, 3, 0, 2]]
BASE = {
    "MODEL.GENOTYPE.DEPTHS": [1, 1, 2, 1],
    "MODEL.SUPERNET.CHANNEL.DILATIONS": [[1, 2], [1, 2, [1, 3]], [1, 2, 3, [5, 1]]],
    "MODEL.SUPERNET.CHANNEL.NUM_GROUPS": 4,
}
CHANNEL = {"MODEL.SUPERNET.SPACE": "channel", "MODEL.SUPERNET.PATH_SAMPLER": "alpha"}


def names_of(block):
    """The searched convolutions: the 3x3 of each block that is not the last one."""
    return tuple(f"{place}.{'conv1' if block == 'basic' else 'conv2'}" for place in PLACES)


def base_config(*overrides):
    return toy.network_config(BASE, *overrides)


def supernet_config(*overrides):
    return base_config(CHANNEL, *overrides)


def decoded_config(channels, *overrides):
    return base_config({"MODEL.GENOTYPE.CHANNELS": channels}, *overrides)


def randomize(model):
    """Random weights and BN statistics, those of the body unlike for each channel."""
    generator = torch.Generator().manual_seed(2)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not name.endswith(".alpha"):
            scale, shift = (1.0, 0.5) if "norm" in name else (0.4, -0.2)
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * scale + shift)


def decide(model, channels):
    """Alpha so large that the softmax is exactly 0 or 1."""
    for conv, indices in zip(find_supernet(model).convs.values(), channels, strict=True):
        for row, index in zip(conv.alpha.data, indices, strict=True):
            row[index] = 1e4


def save(model, path):
    torch.save({"model": model.state_dict()}, path)
    return str(path)


def assert_same_outputs(model, other, exact=False):
    tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-3, "atol": 1e-4}
    for training in (False, True):
        expected = other.train(training).backbone.bottom_up(toy.images())
        for level, value in model.train(training).backbone.bottom_up(toy.images()).items():
            torch.testing.assert_close(value, expected[level], **tolerance)
