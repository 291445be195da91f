"""The examples of docs/EXTENDING.md, as a user runs them: plug-ins, both scripts, a toy dataset."""

import csv
import os
import re
import shutil
import subprocess
import sys

import pytest
import toy

from crnas_d2 import Genotype, load_config, run_search, run_training

EXAMPLES = toy.ROOT / "examples"
PLUGINS = EXAMPLES / "plugins"
LEAST = {"MODEL.VGG.WIDTH": 4, "SOLVER.MAX_ITER": 2, "SEARCH.COST_INPUT_SIZE": [64, 64]}


def run(folder, script, config, *flags, opts, env=None):
    """Runs a script with the examples on its path; what it printed, or its error."""
    command = [sys.executable, "-W", "ignore", str(toy.ROOT / script), "--config-file", config]
    process = subprocess.run(
        [*map(str, command), *flags, *opts],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{EXAMPLES}:{toy.ROOT}", **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return process.returncode, process.stdout + process.stderr


def must_run(*args, **kwargs):
    status, output = run(*args, **kwargs)
    assert status == 0, output


@pytest.fixture
def load(clone, options, monkeypatch):
    """From the name of an example's config and overrides to the config, in this process."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(clone)

    def load(name, overrides=()):
        cfg = load_config(f"examples/configs/{name}.yaml", [*options, *overrides])
        cfg.freeze()
        return cfg

    return load


def candidates(folder):
    with (folder / "candidates.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with the shipped configs, in which output may lie."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("configs", "examples"):
        shutil.copytree(toy.ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def options(toy_datasets):
    # The PLUGINS of the YAML file stay: overrides do not name them.
    return toy.as_arguments(toy.TINY, toy_datasets, LEAST)


@pytest.fixture(scope="module")
def stage_search(clone, options):
    """The search of the stage space by two workers; its OUTPUT_DIR."""
    config = clone / "examples" / "configs" / "supernet-vgg-stage.yaml"
    must_run(clone, "train_net.py", config, opts=options)
    weights = ["MODEL.WEIGHTS", "output/vgg/supernet-stage/model_final.pth"]
    budget = ["SEARCH.BUDGET.ACTIVATIONS", "[0, 9e3]", "OUTPUT_DIR", "output/vgg/search-stage"]
    opts = [*options, *weights, *budget]
    must_run(clone, "search_net.py", config, "--num-workers", "2", opts=opts)
    return clone / "output" / "vgg" / "search-stage"


def test_a_users_cost_limits_a_users_searcher_and_is_a_column(stage_search):
    rows = candidates(stage_search)
    assert len(rows) > 4
    assert {"macs", "parameters", "activations"} <= set(rows[0])
    # Stem 4 x 32 x 32, then 4, 8, 16 and 32 channels on maps of 16, 8, 4 and 2 pixels.
    for row in rows:
        depths = [int(row[f"{stage}.depth"]) for stage in ("res2", "res3", "res4", "res5")]
        sizes = (4 * 16**2, 8 * 8**2, 16 * 4**2, 32 * 2**2)
        expected = 4 * 32**2 + sum(map(lambda depth, size: depth * size, depths, sizes))
        assert float(row["activations"]) == expected <= 9e3
    assert "activations" in (stage_search / "report.html").read_text()


def test_a_users_family_goes_through_both_levels_and_is_retrained(clone, load, stage_search):
    found = Genotype.from_yaml(stage_search / "genotype.yaml")
    name = "supernet-vgg-operation"
    run_training(load(name))
    weights = ["MODEL.WEIGHTS", "output/vgg/supernet-operation/model_final.pth"]
    output = ["OUTPUT_DIR", "output/vgg/search-operation", "SEARCH.ALGORITHM", "greedy"]
    best = run_search(load(name, [*weights, *output]))

    genotype = Genotype.from_yaml(clone / "output" / "vgg" / "search-operation" / "genotype.yaml")
    assert genotype == best.genotype
    assert genotype.depths == found.depths and len(genotype.ops) == sum(genotype.depths)
    run_training(load("vgg"))
    assert (clone / "output" / "vgg" / "searched" / "model_final.pth").exists()


def test_a_users_cost_is_a_second_objective(clone, load, stage_search):
    weights = ["MODEL.WEIGHTS", "output/vgg/supernet-stage/model_final.pth"]
    search = ["SEARCH.ALGORITHM", "optuna", "SEARCH.OPTUNA.SAMPLER", "NSGAIISampler"]
    size = ["SEARCH.EVOLUTION.POPULATION", 3, "SEARCH.EVOLUTION.GENERATIONS", 1]
    second = ["SEARCH.SECOND_OBJECTIVE", "ACTIVATIONS", "SEARCH.COSTS", []]
    output = ["OUTPUT_DIR", "output/vgg/two-objectives"]
    run_search(load("supernet-vgg-stage", [*weights, *search, *size, *second, *output]))
    folder = clone / "output" / "vgg" / "two-objectives"
    assert all("activations" in row and "macs" not in row for row in candidates(folder))
    assert "Pareto front of bbox/AP and activations" in (folder / "report.html").read_text()


def test_a_module_that_cannot_be_imported_is_named_with_the_reason(clone, options):
    config = clone / "examples" / "configs" / "supernet-vgg-stage.yaml"
    for script in ("train_net.py", "search_net.py"):
        status, output = run(clone, script, config, opts=options, env={"PYTHONPATH": ""})
        assert status == 1
        assert "PLUGINS names 'plugins.vgg', which cannot be imported" in output
        assert "No module named 'plugins'. Add the folder that holds it to PYTHONPATH" in output


def test_the_examples_keep_their_contracts(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    text = (toy.ROOT / "docs" / "EXTENDING.md").read_text()
    [code] = re.findall(r"```python\n(from crnas_d2\.modeling\.spaces.*?)```", text, re.DOTALL)
    names = {}
    exec(code, names)
    names["test_my_plugins"]()


@pytest.mark.parametrize(
    ("name", "most"), [("vgg.py", 60), ("hill_climbing.py", 30), ("activations.py", 20)]
)
def test_an_extension_is_short(name, most):
    assert len((PLUGINS / name).read_text().splitlines()) <= most


def test_the_documentation_shows_the_examples_as_they_are():
    text = (toy.ROOT / "docs" / "EXTENDING.md").read_text()
    shown = re.findall(r"```python\n# examples/(\S+)\n(.*?)```", text, flags=re.DOTALL)
    assert {name for name, _ in shown} == {
        "plugins/vgg.py",
        "plugins/hill_climbing.py",
        "plugins/activations.py",
        "plugins/box_table.py",
    }
    for name, code in shown:
        assert code == (EXAMPLES / name).read_text(), name
