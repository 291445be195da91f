import pytest
import toy

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import MACs, most_expensive_path
from crnas_d2.space import Genotype

SIZE = (64, 96)
SPACES = {
    "stage": {},
    "prefix": {"MODEL.SUPERNET.SHARING": "prefix"},
    # The costliest option is neither the last one nor, in every block, the same.
    "operation": {
        "MODEL.SUPERNET.SPACE": "operation",
        "MODEL.SUPERNET.FAMILY": "shufflenetv2",
        "MODEL.SHUFFLENETV2.CHANNELS": [4, 8, 16, 24, 32],
        "MODEL.SUPERNET.OPERATION_OPTIONS": [0, 2, 3],
        "MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 2],
        "MODEL.SUPERNET.STAGE_OPTIONS": [],
    },
}


@pytest.mark.parametrize("name", SPACES)
def test_no_genotype_has_more_macs(name):
    spec = NetworkSpec.from_config(toy.supernet_config(SPACES[name]))
    path, macs = most_expensive_path(spec, SIZE)
    cost = MACs().table(spec, SIZE)
    costs = {genotype: cost(genotype) for genotype in spec.space}
    assert macs == costs[path] == max(costs.values()) > min(costs.values())


def test_the_deepest_network_is_the_most_expensive_one():
    path, _ = most_expensive_path(NetworkSpec.from_config(toy.supernet_config()), SIZE)
    assert path == Genotype(depths=(2, 2, 3, 3))
