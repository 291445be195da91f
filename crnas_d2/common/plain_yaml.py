"""YAML as data: a file can hold numbers, text, lists and mappings, and nothing is executed."""

from collections.abc import Hashable, Sequence
from typing import Any, NoReturn, TypeGuard

import yaml

from .files import AnyPath, read_text

_TAG = "tag:yaml.org,2002:"
# Base-RetinaNet.yaml of Detectron2 computes its anchors by this expression. Its value is known, so
# that the file is read without Python's eval.
_RETINANET_ANCHORS = "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"


def read_yaml(file: AnyPath) -> object:
    """Read a YAML file, see :func:`parse_yaml`; raise ValueError with the file and the line."""
    return parse_yaml(read_text(file), str(file))


def parse_yaml(text: str, source: str) -> object:
    """Parse one YAML document of plain data; the keys of mappings are text.

    Raise ValueError, with the source, for what is no YAML, a tag that stands for a Python object,
    a repeated key, or a list that contains itself.
    """
    try:
        content = yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        words = [part for part in (error.context, error.problem) if part]
        raise ValueError(f"{source}{line}: {', '.join(words)}. Expected plain YAML.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{source} is not valid YAML: {first}.") from error
    if _holds_itself(content, frozenset(), set()):
        raise ValueError(f"{source} has an anchor inside its own list or mapping.")
    return content


def dump_yaml(content: object) -> str:
    """Return plain data as YAML, each list on one line, as in Detectron2's configs."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_representer(
    list,
    lambda dumper, data: dumper.represent_sequence(f"{_TAG}seq", data, flow_style=True),
)


class _PlainLoader(yaml.SafeLoader):
    """The safe loader without types that no config has, and without repeated keys."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here, because construct_mapping() sees the keys after those of `<<` were added to them.
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                name = f" '{key.value}'" if isinstance(key.value, Hashable) else ""
                raise _refused(key, f"the key{name} is not text")
            if key.value in keys:
                raise _refused(key, f"the key '{key.value}' occurs twice in one section")
            keys.add(key.value)
        return node

    def construct_tuple(self, node: yaml.SequenceNode) -> tuple[Any, ...]:
        return tuple(self.construct_sequence(node, deep=True))

    def construct_decimal(self, node: yaml.ScalarNode) -> int | float:
        """Return a number; refuse what YAML 1.1 reads as octal, or in base 60: 010, 1:30."""
        digits = node.value.lstrip("+-").replace("_", "")
        if ":" in digits or (digits.isdigit() and len(digits) > 1 and digits[0] == "0"):
            base = "in base 60" if ":" in digits else "as octal"
            fix = f"write the number in decimals, or text in quotes: '{node.value}'"
            raise _refused(node, f"{node.value} is read {base} by YAML; {fix}")
        is_whole = node.tag == f"{_TAG}int"
        return self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)

    def construct_known_expression(self, node: yaml.Node) -> list[list[float]]:
        items = node.value if isinstance(node, yaml.SequenceNode) else []
        if [str(item.value).split() for item in items] != [_RETINANET_ANCHORS.split()]:
            self.refuse(node)
        return [[x, x * 2 ** (1.0 / 3), x * 2 ** (2.0 / 3)] for x in (32, 64, 128, 256, 512)]

    def refuse(self, node: yaml.Node) -> NoReturn:
        why = "because a config is data, and nothing in it is executed; write the value itself"
        raise _refused(node, f"the tag '{node.tag.replace(_TAG, '!!')}' is refused, {why}")


def _refused(node: yaml.Node, words: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=words, problem_mark=node.start_mark)


_PlainLoader.add_constructor(None, _PlainLoader.refuse)
for _tag in ("binary", "omap", "pairs", "set"):
    _PlainLoader.add_constructor(_TAG + _tag, _PlainLoader.refuse)
_PlainLoader.add_constructor(f"{_TAG}timestamp", _PlainLoader.construct_yaml_str)  # type: ignore[type-var]
for _tag in ("int", "float"):
    _PlainLoader.add_constructor(_TAG + _tag, _PlainLoader.construct_decimal)
_PlainLoader.add_constructor(f"{_TAG}python/tuple", _PlainLoader.construct_tuple)
_PlainLoader.add_constructor(
    f"{_TAG}python/object/apply:eval", _PlainLoader.construct_known_expression
)


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a list or a tuple, or the type of list that LazyConfig has."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def without_tuples(value: object) -> object:
    """Turn tuples into lists, also those inside of others, because YAML has no tuples."""
    return [without_tuples(each) for each in value] if is_list(value) else value


def _holds_itself(value: object, above: frozenset[int], known: set[int]) -> bool:
    # Each list is walked once, however many aliases lead to it.
    if not isinstance(value, dict | list | tuple) or id(value) in known:
        return False
    if id(value) in above:
        return True
    items = value.values() if isinstance(value, dict) else value
    above = above | {id(value)}
    found = any([_holds_itself(item, above, known) for item in items])
    known.add(id(value))
    return found
