from pathlib import Path

import pytest
import torch
import toy
import yaml
from detectron2.modeling import build_backbone

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.modeling.families import MobileNetV2Family, ResNetFamily
from crnas_d2.modeling.spaces import StageKind
from crnas_d2.space import Genotype, genotype_file

# CR-NAS: blocks of the networks in the tables' order, by the name of the file.
BLOCKS = {
    **{"stage-MobileNetV2": 20, "stage-R18": 8, "stage-R50": 16, "stage-R101": 33},
    **{"stage-X50-32x4d": 16, "stage-X101-32x4d": 33},
    **{"CR-MobileNetV2": 20, "CR-R18": 8, "CR-R50": 16, "CR-R101": 33},
}
every_network = pytest.mark.parametrize("name", BLOCKS)
# The body of each network, as thin as it can be.
THIN = {
    "R18": {"MODEL.RESNETS.DEPTH": 18},
    "R50": {"MODEL.RESNETS.DEPTH": 50},
    "R101": {"MODEL.RESNETS.DEPTH": 101},
    "X50-32x4d": {"MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.NUM_GROUPS": 2},
    "X101-32x4d": {"MODEL.RESNETS.DEPTH": 101, "MODEL.RESNETS.NUM_GROUPS": 2},
    "MobileNetV2": {"MODEL.SUPERNET.FAMILY": "mobilenetv2", "MODEL.MOBILENETV2.WIDTH_MULT": 0.1},
}


def config(name, tmp_path):
    """A thin body of a published network, from a config that inherits from its file."""
    file = tmp_path / "network.yaml"
    file.write_text(f"_BASE_: [{toy.SEARCHED}, {genotype_file('CR-NAS/' + name)}]\n")
    thin = {"MODEL.BACKBONE.NAME": "build_supernet_backbone", **THIN[name.split("-", 1)[1]]}
    return load_config(str(file), toy.as_list(toy.TINY, thin))


PUBLISHED = {
    "CR-NAS": set(BLOCKS),
    "DetNAS": {
        *("DetNASNet-300M-FPN", "DetNASNet-300M-RetinaNet", "DetNASNet-1.3G-FPN"),
        *("ShuffleNetV2-20", "ShuffleNetV2-40"),
    },
}


@pytest.mark.parametrize("paper", PUBLISHED)
def test_all_published_networks_are_here_as_a_search_would_write_them(paper, tmp_path):
    [some, *_] = PUBLISHED[paper]
    found = {file.stem: file for file in Path(genotype_file(f"{paper}/{some}")).parent.iterdir()}
    assert set(found) == PUBLISHED[paper]
    for file in found.values():
        text = file.read_text()
        comment = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("#")]
        family = yaml.safe_load(text)["MODEL"]["GENOTYPE"]["FAMILY"]
        again = tmp_path / "again.yaml"
        Genotype.from_yaml(file).to_yaml(again, family=family, comment="\n".join(comment))
        assert again.read_text() == text
        assert paper in comment[0] + comment[1] and "table" in comment[0] + comment[1]


@every_network
def test_a_network_has_the_blocks_of_its_baseline(name, tmp_path):
    cfg = config(name, tmp_path)
    spec = NetworkSpec.from_config(cfg)
    family, genotype = spec.family, spec.genotype
    assert genotype == Genotype.from_yaml(genotype_file(f"CR-NAS/{name}"))
    assert sum(genotype.depths) == BLOCKS[name]
    assert len(genotype.ops) == (BLOCKS[name] if name.startswith("CR-") else 0)
    if family.name == "mobilenetv2":
        cost = sum(w * n for w, n in zip(family.block_costs, genotype.depths, strict=True))
        assert cost == 16.0
    else:
        assert sum(genotype.depths) == sum(family.baseline_depths())


@every_network
def test_all_stage_results_but_one_lie_in_the_space_of_the_paper(name):
    genotype = Genotype(depths=Genotype.from_yaml(genotype_file(f"CR-NAS/{name}")).depths)
    family = MobileNetV2Family() if "Mobile" in name else ResNetFamily()
    space = StageKind().build_space(family, Genotype())
    if name == "stage-X101-32x4d":  # its own table and its own section differ
        with pytest.raises(ValueError, match=r"15 is not an option of res4\.depth"):
            space.validate(genotype)
    else:
        space.validate(genotype)


def test_a_level_goes_on_where_the_one_before_ended():
    for network in ("MobileNetV2", "R18", "R50", "R101"):
        files = [genotype_file(f"CR-NAS/{level}-{network}") for level in ("stage", "CR")]
        stage, final = map(Genotype.from_yaml, files)
        assert stage.depths == final.depths


@every_network
def test_a_network_runs_with_its_dilations(name, tmp_path):
    cfg = config(name, tmp_path)
    body = build_backbone(cfg).eval()
    with torch.no_grad():
        features = body(torch.zeros(1, 3, 64, 64))
    assert features["res5"].shape[-2:] == (2, 2)
    genotype = NetworkSpec.from_config(cfg).genotype
    convs = [m for m in body.modules() if isinstance(m, torch.nn.Conv2d)]
    rates = [conv.dilation[0] for conv in convs if conv.dilation[0] > 1]
    assert rates == [op + 1 for op in genotype.ops if op > 0]


def test_an_unknown_name_is_refused_with_the_known_ones():
    for name in ("CR-R50", "CR-NAS/R50", "CR-NAS/../CR-NAS/CR-R50", ""):
        with pytest.raises(ValueError, match=rf"'{name}'; known: .*CR-NAS/CR-R50, .*stage-R18"):
            genotype_file(name)
