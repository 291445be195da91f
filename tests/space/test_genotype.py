import pytest
import toy
from detectron2.modeling import build_backbone
from detectron2.modeling.backbone.resnet import ResNet

from crnas_d2.config import load_config
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype

GENOTYPE = Genotype(depths=(1, 3, 2, 2))


def test_equal_genotypes_are_one_key_that_does_not_change_and_sort_by_their_depths():
    with pytest.raises(AttributeError):
        GENOTYPE.depths = (1, 1, 1, 1)
    assert Genotype(depths=[1, 3, 2, 2]) == GENOTYPE
    assert len({GENOTYPE, Genotype(depths=[1, 3, 2, 2]), Genotype(depths=(1, 3, 2, 3))}) == 2
    depths = [(2, 1, 1, 1), (1, 3, 2, 2), (1, 2, 9, 9)]
    assert [g.depths for g in sorted(Genotype(d) for d in depths)] == sorted(depths)


@pytest.mark.parametrize("depths", [(0, 1), (1, -2), (1, 2.0), (True, 2), ("2", 1)])
def test_only_whole_numbers_of_at_least_one_are_depths(depths):
    with pytest.raises(ValueError, match=r"MODEL\.GENOTYPE\.DEPTHS is .*at least 1"):
        Genotype(depths=depths)


def test_yaml_round_trip(tmp_path):
    file = tmp_path / "genotype.yaml"
    GENOTYPE.to_yaml(file, family="resnet", comment="two lines\nof comment")
    assert file.read_text().startswith("# two lines\n# of comment\n")
    assert Genotype.from_yaml(file) == GENOTYPE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"other\.yaml holds no MODEL\.GENOTYPE"),
        ("MODEL: {DEVICE: cpu}\n", r"other\.yaml holds no MODEL\.GENOTYPE"),
        ("MODEL: {GENOTYPE: {}}\n", r"other\.yaml holds no MODEL\.GENOTYPE"),
        ("MODEL: {GENOTYPE: {DEPTHS: [1, 1, 2, 2], KERNELS: [3]}}\n", r"KERNELS.*DEPTHS"),
    ],
)
def test_a_file_without_a_genotype_is_refused(tmp_path, text, words):
    file = tmp_path / "other.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=words):
        Genotype.from_yaml(file)


@pytest.mark.parametrize("base", [toy.SUPERNET, toy.SEARCHED], ids=["supernet", "network"])
def test_a_genotype_file_in_base_builds_its_network(tmp_path, base):
    genotype = Genotype(depths=(1, 3, 5, 7))  # in the space of both configs
    genotype.to_yaml(tmp_path / "genotype.yaml", family="resnet")
    config = tmp_path / "retrain.yaml"
    config.write_text(f"_BASE_: [{base}, genotype.yaml]\n")
    model = build_backbone(load_config(str(config), toy.as_list(toy.TINY)))
    body = model.bottom_up
    assert type(body) is ResNet and find_supernet(model) is None
    assert [len(getattr(body, stage)) for stage in ("res2", "res3", "res4", "res5")] == [1, 3, 5, 7]
