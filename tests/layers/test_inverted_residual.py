import torch
from torch import nn

from crnas_d2.layers import InvertedResidual


def test_a_block_widens_filters_and_narrows_with_a_residual_where_shapes_allow():
    plain, narrowing, strided = (
        InvertedResidual(*channels, stride=stride).eval()
        for channels, stride in [((8, 8), 1), ((8, 16), 1), ((8, 8), 2)]
    )
    assert plain.conv1.weight.shape == (48, 8, 1, 1)
    assert plain.conv2.weight.shape == (48, 1, 3, 3) and plain.conv2.groups == 48
    assert plain.conv3.weight.shape == (8, 48, 1, 1)
    x = torch.randn(1, 8, 6, 6)
    for block, shape in [(plain, (8, 6, 6)), (narrowing, (16, 6, 6)), (strided, (8, 3, 3))]:
        nn.init.zeros_(block.conv3.weight)
        assert block(x)[0].shape == shape
        # Without weights in the last convolution, what comes out is what was added.
        assert torch.equal(block(x), x if block is plain else torch.zeros(1, *shape))
    single = InvertedResidual(8, 8, expansion=1)
    assert single.conv1 is None
    assert {name.split(".")[0] for name in single.state_dict()} == {"conv2", "conv3"}
