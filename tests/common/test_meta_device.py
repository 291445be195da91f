import torch
from torch import nn

from crnas_d2.common.meta_device import on_meta, without_norms


def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(2, 5))


def test_a_network_on_the_meta_device_has_the_shapes_of_one_with_values():
    with on_meta():
        network = build()
    expected = {name: value.shape for name, value in build().state_dict().items()}
    assert {name: value.shape for name, value in network.state_dict().items()} == expected
    assert all(value.is_meta for value in network.state_dict().values())
    with without_norms():
        assert network(torch.empty(2, 3, 6, 4, device="meta")).shape == (2, 4, 4, 5)


def test_what_has_values_is_initialized_and_normalized_all_the_same():
    with on_meta():
        assert torch.zeros(3, device="cpu").fill_(2).tolist() == [2, 2, 2]
    images = torch.randn(2, 4, 3, 3)
    norm = nn.BatchNorm2d(4)
    with without_norms():
        assert torch.equal(norm(images), nn.BatchNorm2d(4)(images))
