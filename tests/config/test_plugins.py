"""Modules of the user: imported before anything is built, and named when they cannot be."""

import sys

import pytest

from crnas_d2 import COST_REGISTRY, load_config

PLUGIN = """
from crnas_d2 import COST_REGISTRY
from crnas_d2.cost import CountedCost

@COST_REGISTRY.register("CALLS")
class Calls(CountedCost):
    unit = "calls"

    def count(self, module, inputs, output):
        return 1

def add_config(cfg):
    cfg.MODEL.CALLS = 3
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder of modules that are forgotten after the test, with what they registered."""
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    costs = dict(COST_REGISTRY._obj_map)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]
    COST_REGISTRY._obj_map.clear()
    COST_REGISTRY._obj_map.update(costs)


def test_a_plugin_of_a_base_file_registers_and_adds_keys(modules):
    (modules / "my_costs.py").write_text(PLUGIN)
    (modules / "base.yaml").write_text('PLUGINS: ["my_costs"]\n')
    config = modules / "config.yaml"
    config.write_text("_BASE_: base.yaml\nSEARCH: {BUDGET: {CALLS: [1, 2]}}\nMODEL: {CALLS: 5}\n")
    cfg = load_config(str(config), ["MODEL.CALLS", "7"])
    assert (cfg.PLUGINS, cfg.MODEL.CALLS, cfg.SEARCH.BUDGET.CALLS) == (["my_costs"], 7, [1, 2])


def test_a_plugin_of_an_override_comes_before_the_keys_that_it_adds(modules):
    (modules / "other_costs.py").write_text(PLUGIN)
    cfg = load_config("", ["MODEL.CALLS", "7", "PLUGINS", "['other_costs']"])
    assert cfg.MODEL.CALLS == 7 and cfg.SEARCH.BUDGET.CALLS == []


@pytest.mark.parametrize(
    ("text", "value", "words"),
    [
        ("import no_such_module", "['broken']", r"'broken'.*No module named 'no_such_module'\.$"),
        ("1 / 0", "['broken']", r"'broken'.*ZeroDivisionError: division by zero"),
        ("def f(:", "['broken']", r"'broken'.*SyntaxError"),
        ("", "['my.own']", r"'my\.own'.*Add the folder that holds it to PYTHONPATH"),
        ("", "my_costs", r"PLUGINS is .*expected a list of modules"),
        ("", "[1]", r"PLUGINS is .*expected a list of modules"),
    ],
)
def test_a_module_that_fails_is_named_with_the_reason(modules, text, value, words):
    (modules / "broken.py").write_text(text)
    with pytest.raises(ValueError, match=words):
        load_config("", ["PLUGINS", value])
