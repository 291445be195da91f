"""Put values under the keys of a config, each checked against the default."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from detectron2.config import CfgNode

from crnas_d2.space import COST_REGISTRY

_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number with a decimal point",
    str: "text (a number as text has two pairs of quotes: '\"1\"')",
    list: "a list",
    tuple: "a tuple: names with brackets and a comma, like '(\"name\",)'",
}


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the full key and the value of each setting of nested sections."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of settings by their full keys: the inverse of :func:`leaves`."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        *sections, name = key.split(".")
        section = result
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return result


def set_entries(cfg: CfgNode, content: Mapping[str, Any]) -> None:
    """Set values; raise ValueError for an unknown key, another type than the default's, or null."""
    for key, value in leaves(content):
        _set(cfg, key, value)


def set_overrides(cfg: CfgNode, overrides: Sequence[Any]) -> None:
    """Set ``KEY, VALUE, ...``, see :func:`set_entries`; raise ValueError for a key without a value.

    A value may be the text of a Python literal.
    """
    overrides = list(overrides)
    flags = [word for word in overrides if str(word).startswith("--")]
    if len(overrides) % 2:
        hint = f" Flags like {flags[0]} come before the first KEY." if flags else ""
        if any("=" in str(word) for word in overrides):
            hint += " There is no = between them."
        words = f"The overrides {' '.join(map(str, overrides))} are an odd number of words"
        raise ValueError(f"{words}; expected KEY VALUE pairs.{hint}")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        _set(cfg, str(key), value)


def _set(cfg: CfgNode, key: str, value: object) -> None:
    *sections, name = key.split(".")
    node = cfg
    for section in sections:
        if isinstance(node, CfgNode) and section not in node and node.is_new_allowed():
            node[section] = CfgNode(new_allowed=True)
        node = node.get(section) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or (name not in node and not node.is_new_allowed()):
        raise ValueError(_explain_unknown(cfg, key))
    if value == {} and isinstance(node.get(name), CfgNode):
        return  # a section without keys
    try:
        new = CfgNode({name: CfgNode._decode_cfg_value(value)}, new_allowed=True)[name]
    except Exception as error:  # literal_eval raises many types for odd text
        raise ValueError(f"{key} is {value!r}, which is not a value of a config.") from error
    if name not in node:
        node[name] = new
        return
    default = node[name]
    if isinstance(default, list | tuple) and isinstance(new, list | tuple):
        new = type(default)(new)
    # None as the default: Detectron2 knows what it means, and values.py what may replace it.
    is_other_type = type(new) is not type(default) and default is not None
    if is_other_type or isinstance(default, CfgNode):
        if isinstance(default, CfgNode):
            expected = f"a section with keys such as {', '.join(list(default)[:3])}"
        else:
            expected = f"{_KINDS[type(default)]}; its default is {default!r}"
        shown = "empty (null)" if value is None else repr(value)
        raise ValueError(f"{key} is {shown}; expected {expected}.")
    node[name] = new


def _explain_unknown(cfg: CfgNode, key: str) -> str:
    known = [known for known, _ in leaves(cfg)]
    last = key.rpartition(".")[2]
    near = [name for name in known if name.rpartition(".")[2] == last][:3]
    near += [name for name in get_close_matches(key, known, n=3) if name not in near]
    message = f"The key {key} is unknown."
    if near:
        message += f" Did you mean {' or '.join(near[:3])}?"
    if "=" in key:
        message += " An override is two words, KEY VALUE."
    if key.startswith("SEARCH.BUDGET."):
        message += f" Known costs: {', '.join(COST_REGISTRY.names)}."
        return f"{message} PLUGINS lists the modules that register others."
    if last == "_target_":
        return f"{message} This is a LazyConfig; expected the keys of a config, as in config.yaml."
    message += " Keys of your own project come from its module in PLUGINS (add_config); leave out"
    return f"{message} those of another version of Detectron2."
