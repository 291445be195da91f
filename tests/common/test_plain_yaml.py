"""YAML as data: nothing in a file is executed, and what is no data is refused by file and line."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crnas_d2.common.plain_yaml import parse_yaml, read_yaml
from crnas_d2.space import Genotype


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A: [1, 2.5, true, null, text]", {"A": [1, 2.5, True, None, "text"]}),
        ("A: [0, -0, 0.5, 1e3, 0x1F]", {"A": [0, 0, 0.5, "1e3", 31]}),
        ("A: ['010', \"1:30\", 00.5]", {"A": ["010", "1:30", 0.5]}),
        ("A: (800,)", {"A": "(800,)"}),  # decoded by the config, like an override
        ("A: !!python/tuple [1, [2]]", {"A": (1, [2])}),
        ("A: 2024-05-01", {"A": "2024-05-01"}),
        ("A: &a {B: 1}\nC: {<<: *a, D: 2}\nE: *a", {"A": {"B": 1}, "C": {"B": 1, "D": 2}}),
        ("", None),
    ],
)
def test_plain_data_are_read(text, value):
    content = parse_yaml(text, "a.yaml")
    if isinstance(content, dict):
        content.pop("E", None)
    assert content == value


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {file}']",
        '!!python/object/apply:eval [\'open("{file}", "w")\']',
        "!!python/object/new:type [A, [], {{}}]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!binary aGVsbG8=",
        "!!set {{A, B}}",
        "!mine 1",
    ],
)
def test_a_tag_is_refused_with_file_and_line_and_not_executed(tmp_path, tag):
    executed, file = tmp_path / "executed", tmp_path / "a.yaml"
    file.write_text("A: 1\nB: " + tag.format(file=executed))
    with pytest.raises(ValueError, match=rf"{file}, line 2: the tag '.*' is refused"):
        read_yaml(file)
    assert not executed.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A: 1\nB: 2\nA: 3", "line 3: the key 'A' occurs twice"),
        ("A: {B: 1, B: 1}", "line 1: the key 'B' occurs twice"),
        ("A:\n  1: 2", "line 2: the key '1' is not text"),
        ("? [A]\n: 1", "line 1: the key is not text"),
        ("A: [1, 2", "line 1: .*expected ',' or ']'"),
        ("A: 1\n\tB: 2", "line 2: .*character"),
        ("A: &a [1, *a]", "anchor inside its own list"),
        ("[" * 5000, "not valid YAML"),
        ("A: " + "9" * 5000, "not valid YAML"),
        ("A: *b", "line 1: found undefined alias"),
        ("A: [1, 010]", "line 1: 010 is read as octal by YAML; write the number in decimals"),
        ("A: -0_7", "line 1: -0_7 is read as octal"),
        ("A:\n- 1:30", "line 2: 1:30 is read in base 60"),
        ("A: 190:20:30.15", "line 1: 190:20:30.15 is read in base 60"),
        ("A: 1\n--- \nB: 2", "line 2: .*single document"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_in_a_sentence(text, words):
    with pytest.raises(ValueError, match=rf"a\.yaml.*{words}") as refused:
        parse_yaml(text, "a.yaml")
    assert "\n" not in str(refused.value)


def test_many_aliases_are_read_quickly():
    lists = "".join(f"L{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 30))
    assert len(parse_yaml("L0: &l0 [1]\n" + lists, "a.yaml")) == 30


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: None, "does not exist"),
        (lambda file: file.mkdir(), "cannot be read"),
        (lambda file: file.write_bytes(b"A: \xff\xfe"), "is not a text file"),
    ],
    ids=["missing", "folder", "bytes"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, make, words):
    make(tmp_path / "a.yaml")
    with pytest.raises(ValueError, match=rf"a\.yaml {words}"):
        read_yaml(tmp_path / "a.yaml")


@given(st.text(max_size=60) | st.text("AB:[]{}!&*-\n #'\"123,<", max_size=40))
def test_any_text_gives_what_the_safe_loader_gives_or_a_sentence(text):
    try:
        content = parse_yaml(text, "a.yaml")
    except ValueError as error:
        assert "a.yaml" in str(error) and "\n" not in str(error)
    else:
        assert content == yaml.safe_load(text)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["MODEL", "OTHER"]), _PLAIN) | _PLAIN)
def test_a_genotype_of_any_yaml_is_read_or_refused(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "genotype.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    with pytest.raises(ValueError):
        Genotype.from_yaml(file)


_FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(("DEPTHS", "OPS", "CHANNELS"), _PLAIN))


@given(_FIELDS)
def test_a_genotype_of_any_values_is_made_or_refused(node):
    try:
        genotype = Genotype.from_config(node)
    except ValueError as error:
        assert "MODEL.GENOTYPE" in str(error)
    else:
        assert genotype == Genotype.from_config(genotype.to_config())
        assert hash(genotype) is not None
