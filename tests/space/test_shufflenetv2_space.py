"""DetNAS's search spaces 1 and 2: one of four blocks at every place (section 3.2, table 2)."""

from pathlib import Path

import pytest
import toy
import yaml

from crnas_d2.config import NetworkSpec
from crnas_d2.space import Genotype, genotype_file

FAMILY = {"MODEL.SUPERNET.FAMILY": "shufflenetv2"}
OPERATION = {**FAMILY, "MODEL.SUPERNET.SPACE": "operation"}
DEPTHS = {20: (4, 4, 8, 4), 40: (8, 8, 16, 8)}
# By file, the number of blocks.
PUBLISHED = {
    "DetNASNet-300M-FPN": 20,
    "DetNASNet-300M-RetinaNet": 20,
    "DetNASNet-1.3G-FPN": 40,
    "ShuffleNetV2-20": 20,
    "ShuffleNetV2-40": 40,
}


def depth(layers):
    return {"MODEL.SHUFFLENETV2.DEPTH": layers}


@pytest.mark.parametrize("layers", [20, 40])
def test_the_spaces_have_the_sizes_of_the_paper(layers):
    space = NetworkSpec.from_config(toy.network_config(OPERATION, depth(layers))).space
    assert space.size == 4**layers
    assert space.base == Genotype(depths=DEPTHS[layers])
    assert space.names[0] == "res2.0.op" and space.names[-1] == f"res5.{layers // 5 - 1}.op"
    assert all(choice.options == (0, 1, 2, 3) for choice in space.choices)


def test_the_family_reads_its_own_depth():
    other = {"MODEL.RESNETS.DEPTH": 7}
    for layers in (20, 40):
        cfg = toy.network_config(FAMILY, depth(layers), other)
        assert NetworkSpec.from_config(cfg).genotype == Genotype(depths=DEPTHS[layers])
    words = r"MODEL\.SHUFFLENETV2\.DEPTH is 50; expected a published .*20 or 40"
    with pytest.raises(ValueError, match=words):
        NetworkSpec.from_config(toy.network_config(FAMILY, depth(50)))


def test_a_stage_space_with_options():
    stage = {"MODEL.SUPERNET.SPACE": "stage", "MODEL.SUPERNET.SHARING": "prefix"}
    options = {"MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2], [1, 2], [2, 3, 4], [2]]}
    spec = NetworkSpec.from_config(toy.network_config(FAMILY, stage, options))
    assert spec.space.size == 2 * 2 * 3
    assert Genotype(depths=(1, 2, 4, 2)) in set(spec.space)


def test_the_operations_to_choose_from_and_the_depths_of_the_genotype():
    depths = {"MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1]}
    assert NetworkSpec.from_config(toy.network_config(OPERATION, depths)).space.size == 4**5
    few = {"MODEL.SUPERNET.OPERATION_OPTIONS": [0, 2], **depths}
    spec = NetworkSpec.from_config(toy.network_config(OPERATION, few))
    assert [choice.options for choice in spec.space.choices] == [(0, 2)] * 5


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_lies_in_its_search_space(name):
    file = genotype_file(f"DetNAS/{name}")
    genotype = Genotype.from_yaml(file)
    cfg = toy.network_config(OPERATION, depth(PUBLISHED[name]))
    assert yaml.safe_load(Path(file).read_text())["MODEL"]["GENOTYPE"]["FAMILY"] == "shufflenetv2"
    NetworkSpec.from_config(cfg).space.validate(genotype)
    assert genotype.depths == DEPTHS[PUBLISHED[name]]
    assert (set(genotype.ops) == {0}) == name.startswith("ShuffleNetV2")
    cfg.merge_from_file(file)
    assert NetworkSpec.from_config(cfg).genotype == genotype


def test_large_kernels_come_early_and_deep_blocks_late_as_the_paper_says():
    """DetNAS, section 4.4, of the network for FPN that figure 3b shows."""
    genotype = Genotype.from_yaml(genotype_file("DetNAS/DetNASNet-300M-FPN"))
    first, second, third, fourth = genotype.ops_of_stages()
    large = sum(op in (1, 2) for op in (*first, *second))
    assert large == 7 and sum(op in (1, 2) for op in (*third, *fourth)) == 4
    assert 3 not in (*first, *second) and (*third, *fourth).count(3) == 6
