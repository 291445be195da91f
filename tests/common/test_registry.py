"""The registries: what a config may name, and how a plug-in adds to it."""

import pytest

from crnas_d2.common.registry import Registry
from crnas_d2.cost import Blocks
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import JointKind
from crnas_d2.search import SEARCHER_REGISTRY, ExhaustiveSearcher
from crnas_d2.space import COST_REGISTRY, FAMILY_REGISTRY, SPACE_REGISTRY

# Of each registry its key, and a name with its class.
KNOWN = [
    (FAMILY_REGISTRY, "MODEL.SUPERNET.FAMILY", "resnet", ResNetFamily),
    (SPACE_REGISTRY, "MODEL.SUPERNET.SPACE", "joint", JointKind),
    (SEARCHER_REGISTRY, "SEARCH.ALGORITHM", "exhaustive", ExhaustiveSearcher),
    (COST_REGISTRY, "A cost", "BLOCKS", Blocks),
]
by_registry = pytest.mark.parametrize(
    ("registry", "key", "name", "entry"), KNOWN, ids=["family", "space", "searcher", "cost"]
)


@pytest.fixture
def registry():
    registry = Registry("TOYS", "TOY.KIND", besides=("none",))
    registry.register("ball")(type("Ball", (), {}))
    registry.register("a doll")(type("Doll", (), {}))
    return registry


def test_a_class_is_found_under_the_name_that_it_was_given(registry):
    assert registry.names == ["ball", "a doll"]
    doll = registry.get("a doll")
    assert doll.__name__ == "Doll" and doll.name == "a doll"
    assert dict(registry) == {"ball": registry.get("ball"), "a doll": doll}
    assert "ball" in registry and "Ball" not in registry


def test_registering_gives_the_class_back(registry):
    Kite = type("Kite", (), {"name": "overwritten"})
    assert registry.register("kite")(Kite) is Kite
    assert Kite.name == "kite" and registry.get("kite") is Kite


@pytest.mark.parametrize("name", ["balls", "Ball", "", "none"])
def test_an_unknown_name_is_refused_with_the_known_ones(registry, name):
    with pytest.raises(ValueError) as error:
        registry.get(name)
    message = str(error.value)
    assert message.startswith(f"TOY.KIND is '{name}'; known: none, ball, a doll. PLUGINS")
    assert ("Did you mean ball" in message) == (name in ("balls", "Ball"))


def test_another_key_may_hold_the_name(registry):
    with pytest.raises(ValueError, match=r"^BOX\.TOY is 'kite'; known: none, ball, a doll\."):
        registry.get("kite", "BOX.TOY")


def test_a_name_that_is_taken_is_refused_and_keeps_its_class(registry):
    first, Another = registry.get("ball"), type("Another", (), {"name": "its own"})
    known = rf"{first.__module__} has that name; choose another"
    words = rf"Another is registered as 'ball' in the registry TOYS.*{known}"
    with pytest.raises(ValueError, match=words):
        registry.register("ball")(Another)
    assert registry.get("ball") is first and Another.name == "its own"
    assert registry.names == ["ball", "a doll"]


@by_registry
def test_the_entries_of_the_package(registry, key, name, entry):
    assert registry.get(name) is entry and entry.name == name
    with pytest.raises(ValueError, match=rf"^{key} is 'gready'; known: .*{name}"):
        registry.get("gready")


@by_registry
def test_no_plug_in_takes_a_name_of_the_package(registry, key, name, entry):
    with pytest.raises(ValueError, match=rf"'{name}' in the registry .*{entry.__module__} has"):
        registry.register(name)(type("Mine", (), {}))
    assert registry.get(name) is entry
