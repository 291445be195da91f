"""From files and overrides to a config: data alone, and errors that name the place and the fix."""

import re
from pathlib import Path

import detectron2
import pytest
import toy
from detectron2.config import get_cfg
from hypothesis import given
from hypothesis import strategies as st

from crnas_d2.config import default_config, load_config
from crnas_d2.config.entries import leaves

EXECUTE = "!!python/object/apply:os.system ['touch {}']"


def test_every_config_of_detectron2_loads_as_it_does_there():
    zoo = Path(detectron2.__file__).parent / "model_zoo" / "configs"
    files = sorted(map(str, zoo.rglob("*.yaml")))
    assert len(files) > 80
    for file in files:
        cfg, expected = load_config(file, ["MODEL.DEVICE", "cpu"]), get_cfg()
        expected.merge_from_file(file)
        expected.MODEL.DEVICE = "cpu"
        found = dict(leaves(cfg))
        for key, value in leaves(expected):
            assert (found[key], type(found[key])) == (value, type(value)), (file, key)


def test_every_shipped_config_loads():
    folders = (toy.ROOT / "configs", toy.ROOT / "projects", toy.ROOT / "crnas_d2" / "genotypes")
    files = [file for folder in folders for file in sorted(folder.rglob("*.yaml"))]
    assert len(files) > 200
    for file in files:
        try:
            load_config(str(file), [])
        except ValueError as error:  # those that inherit from the result of a search
            assert "genotype.yaml, which does not exist" in str(error)


@pytest.mark.parametrize("where", ["file", "base", "PLUGINS", "override"])
def test_nothing_in_a_config_is_executed(tmp_path, where):
    executed, file = tmp_path / "executed", tmp_path / "a.yaml"
    tag, overrides = EXECUTE.format(executed), []
    file.write_text("SEED: 1\n")
    if where == "file":
        file.write_text(f"SEED: 1\nOUTPUT_DIR: {tag}\n")
    elif where == "base":
        (tmp_path / "base.yaml").write_text(f"# A base.\nOUTPUT_DIR: {tag}\n")
        file.write_text("_BASE_: base.yaml\n")
    else:
        overrides = ["PLUGINS" if where == "PLUGINS" else "MODEL.WEIGHTS", tag]
    if where == "override":  # a text like any other
        assert tag == load_config(str(file), overrides).MODEL.WEIGHTS
    else:
        named = {"file": "a.yaml, line 2", "base": "base.yaml, line 2", "PLUGINS": "PLUGINS"}
        with pytest.raises(ValueError, match=rf"{named[where]}.*os\.system.*nothing in it is exec"):
            load_config(str(file), overrides)
    assert not executed.exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a": ""}, r"a\.yaml is empty"),
        ({"a": "# A comment.\n"}, r"a\.yaml is empty"),
        ({"a": "- 1\n"}, r"a\.yaml is a list, not sections"),
        ({"a": "text"}, r"a\.yaml is a str, not sections"),
        ({"a": "SEED: 1\nSEED: 2"}, r"a\.yaml, line 2: the key 'SEED' occurs twice"),
        ({"a": "SEED:"}, r"a\.yaml: SEED is empty \(null\); expected a whole number"),
        ({"a": "MODEL:"}, r"a\.yaml: MODEL is empty \(null\); expected a section with keys"),
        ({"a": "MODEL: 5"}, r"a\.yaml: MODEL is 5; expected a section"),
        ({"a": "SEED: {A: 1}"}, r"a\.yaml: The key SEED\.A is unknown"),
        ({"a": "SEED: {}"}, r"a\.yaml: SEED is \{\}; expected a whole number"),
        ({"a": "_BASE_: a.yaml"}, r"inherits from .*a\.yaml, which inherits from it: a cycle"),
        ({"a": "_BASE_: b.yaml", "b": "_BASE_: [a.yaml]"}, r"b\.yaml inherits from .*a\.yaml, whi"),
        ({"a": "_BASE_: 5"}, r"a\.yaml: _BASE_ is 5; expected a file, or a list of files"),
        ({"a": "_BASE_: [[b]]"}, r"_BASE_ is \[\['b'\]\]; expected a file"),
        ({"a": "_BASE_: b.yaml", "b": ""}, r"b\.yaml is empty"),
        ({"a": "_BASE_: ."}, r"inherits from .*, which is a folder"),
        ({"a": "_BASE_: nowhere://b.yaml"}, "inherits from nowhere://b.yaml, which does not exist"),
        ({"a": "MODEL:\n  _BASE_: b.yaml"}, r"The key MODEL\._BASE_ is unknown"),
        ({"a": "SOLVER: {MAX_ITER: 1e4}"}, r"SOLVER\.MAX_ITER is '1e4'; expected a whole number"),
        ({"a": "DATASETS: {TRAIN: mine}"}, r"TRAIN is 'mine'; expected a tuple.*\(\"name\",\)"),
        ({"a": "SOLVER: {STEPS: (3000"}, r"a\.yaml, line 1"),
        ({"a": "SOLVER:\n  STEPS: (3000"}, r"SOLVER\.STEPS is '\(3000'; expected a tuple"),
        ({"a": "VERSION: 1"}, "VERSION is 1; expected 2"),
        ({"a": "PLUGINS: 5"}, "PLUGINS is 5; expected a list of modules"),
        ({"a": "PLUGINS: [5]"}, r"PLUGINS is \[5\]; expected a list of modules"),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_a_sentence(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ValueError, match=words) as refused:
        load_config(str(tmp_path / "a.yaml"), [])
    assert "\n" not in str(refused.value)


def test_a_base_may_be_inherited_twice(tmp_path):
    (tmp_path / "base.yaml").write_text("SEED: 1\nINPUT: {FORMAT: RGB, MIN_SIZE_TEST: 60}\n")
    (tmp_path / "b.yaml").write_text("_BASE_: base.yaml\nSEED: 2\n")
    (tmp_path / "a.yaml").write_text(
        f"_BASE_: [b.yaml, {tmp_path}/base.yaml]\nINPUT: {{MIN_SIZE_TEST: 70}}\n"
    )
    cfg = load_config(str(tmp_path / "a.yaml"), [])
    assert (cfg.SEED, cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TEST) == (1, "RGB", 70)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["SOLVER.MAX_ITR", "5"], r"SOLVER\.MAX_ITR is unknown\. Did you mean SOLVER\.MAX_ITER"),
        (["MAX_ITER", "5"], r"MAX_ITER is unknown\. Did you mean SOLVER\.MAX_ITER"),
        (["MODEL.RESNET.DEPTH", "5"], r"Did you mean .*MODEL\.RESNETS\.DEPTH"),
        (["SEED=1", "OUTPUT_DIR=x"], "KEY VALUE"),
        (["SEED"], "odd number of words"),
        (["SEED", "1", "--resume"], r"Flags like --resume come before the first KEY"),
        (["SEED", "None"], "SEED is 'None'; expected a whole number"),
        (["SEED", "{[1]: 2}"], "SEED is .*; expected a whole number|not a value"),
        (["MODEL", "5"], "MODEL is '5'; expected a section"),
        (["MODEL.WEIGHTS.A", "5"], r"MODEL\.WEIGHTS\.A is unknown"),
        (["SOLVER.BASE_LR", "1"], r"BASE_LR is '1'; expected a number with a decimal point"),
        (["OUTPUT_DIR", "5"], "OUTPUT_DIR is '5'; expected text"),
        (["PLUGINS", "[!!python/name:os.system x]"], "PLUGINS, line 1: the tag"),
        (["MODEL.RESNETS.NORM", "FrozenBn"], "Did you mean .*FrozenBN"),
        (["MODEL.DEVICE", "cpuu"], "Did you mean .*cpu"),
        (["DATALOADER.SAMPLER_TRAIN", "TrainingSamplr"], "Did you mean .*TrainingSampler"),
    ],
)
def test_an_override_that_cannot_be_set_is_refused_with_the_fix(overrides, words):
    with pytest.raises(ValueError, match=words):
        load_config("", overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        {"SOLVER.MAX_ITER": 0},
        {"SOLVER.CHECKPOINT_PERIOD": 0},
        {"SOLVER.IMS_PER_BATCH": -1},
        {"SEARCH.IMS_PER_BATCH": 0},
        {"INPUT.MIN_SIZE_TRAIN": (0,)},
        {"INPUT.MIN_SIZE_TRAIN": ()},
        {"INPUT.MAX_SIZE_TEST": -5},
        {"INPUT.FORMAT": "bgr"},
        {"INPUT.MIN_SIZE_TRAIN_SAMPLING": "range"},
        {"TEST.EVAL_PERIOD": -1},
        {"SEED": 2**32},
        {"SOLVER.BASE_LR": float("nan")},
        {"SOLVER.BASE_LR": -0.1},
        {"MODEL.PIXEL_STD": [1.0, 0.0, 1.0]},
        {"MODEL.PIXEL_STD": [1.0]},
        {"MODEL.ANCHOR_GENERATOR.SIZES": [32, 64]},
        {"MODEL.SUPERNET.STAGE_OPTIONS": [1, 2, 3, 4]},
        {"MODEL.RESNETS.DEPTH": 0},
        {"MODEL.RESNETS.NORM": "BatchNorm"},
        {"MODEL.DEVICE": "gpu"},
        {"DATASETS.COCO_FORMAT": ["a", "b", "c"]},
        {"SOLVER.STEPS": (5, 3)},
        {"SOLVER.IMS_PER_BATCH": 3, "SOLVER.REFERENCE_WORLD_SIZE": 2},
        {"INPUT.CROP.SIZE": [2.0, 2.0]},
        {"INPUT.CROP.SIZE": [0.5, 0.5], "INPUT.CROP.TYPE": "absolute"},
        {"TEST.EXPECTED_RESULTS": [["bbox", "AP", "a", 1.0]]},
        {"MODEL.PIXEL_MEAN": [1.0], "MODEL.PIXEL_STD": [1.0]},
        {"DATASETS.TRAIN": (1,)},
        {"DATALOADER.SAMPLER_TRAIN": "TrainSampler"},
        {"SEARCH.COST_INPUT_SIZE": [800]},
        {"OUTPUT_DIR": " "},
    ],
    ids=str,
)
def test_a_value_out_of_its_range_is_refused_by_its_key(overrides):
    key = next(iter(overrides))
    named = key.removesuffix("_SAMPLING")
    with pytest.raises(ValueError, match=rf"{re.escape(named)} (is|has) .*expected"):
        load_config("", toy.as_list(overrides))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)
_DEFAULTS = dict(leaves(default_config()))


@given(st.sampled_from(sorted(_DEFAULTS)), _VALUES | st.text(max_size=9))
def test_any_value_of_any_key_is_set_or_refused_by_its_key(key, value):
    try:
        cfg = load_config("", [key, value])
    except ValueError as error:
        assert key in str(error), error
    else:
        node = cfg
        for name in key.split("."):
            node = node[name]
        assert type(node) is type(_DEFAULTS[key]) or key == "SOLVER.WEIGHT_DECAY_BIAS"


@given(st.text("ABLMNOPRSTU._", min_size=1, max_size=20), _VALUES)
def test_any_key_is_known_or_refused(key, value):
    if key not in _DEFAULTS:
        with pytest.raises(ValueError, match=re.escape(key)):
            load_config("", [key, value])
