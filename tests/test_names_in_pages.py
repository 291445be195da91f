"""What the pages name exists: files, links, modules and names of the package, config keys."""

import ast
import re
from functools import cache

import pytest
import toy
from detectron2.config import CfgNode, get_cfg

from crnas_d2 import _HOMES, add_crnas_config

PAGES = [
    page.relative_to(toy.ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "projects/*/README.md", "tests/README.md")
    for page in sorted(toy.ROOT.glob(pattern))
]
FILE = r"[\w./-]+\.(?:py|npz|txt|toml|ipynb)|[\w.-]+/[\w./-]+\.(?:yaml|md)|crnas_d2(?:/[\w-]+)+"
THEIRS = {"backbone.py", "log.txt", "stdout.txt", "classes.txt"}  # files of a run or a tool


@cache
def tree(module):
    """The syntax of ``crnas_d2.space``, or of a module; None if there is no such file."""
    place = toy.ROOT / module.replace(".", "/")
    for file in (place / "__init__.py", place.with_suffix(".py")):
        if file.is_file():
            return ast.parse(file.read_text())
    return None


def names(body):
    """What the statements of a module or a class define or import."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node) for target in targets if isinstance(target, ast.Name))


def exists(dotted):
    """Whether ``crnas_d2.space.Family.make_stage`` is a module, a name in one, or a member."""
    parts = dotted.split(".")
    for number in range(len(parts), 0, -1):
        if (module := tree(".".join(parts[:number]))) is not None:
            break
    rest, found = parts[number:], dict(names(module.body))
    if number == 1 and rest and rest[0] in _HOMES:
        return True
    for name in rest:
        if name not in found:
            return False
        found = dict(names(getattr(found[name], "body", [])))
    return True


def test_the_reader_of_names_sees_what_is_wrong():
    assert exists("crnas_d2.space.genotype.Genotype.from_yaml") and exists("crnas_d2.Genotype")
    assert exists("crnas_d2.space") and exists("crnas_d2.space.Genotype")
    assert not exists("crnas_d2.space.Genotyp") and not exists("crnas_d2.spaces")
    assert not exists("crnas_d2.space.genotype.Genotype.from_yml")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page):
    text, folder = (toy.ROOT / page).read_text(), (toy.ROOT / page).parent
    code = re.findall(r"`([^`\n]+)`(?!\]\()", text)  # the text of a link may be short
    for name in (n for span in code for n in re.findall(r"(?<![\w/.])crnas_d2(?:\.\w+)+", span)):
        assert exists(name), name
    for module, imported in re.findall(r"^from (crnas_d2[\w.]*) import (.+)$", text, re.MULTILINE):
        for name in imported.split(", "):
            assert exists(f"{module}.{name}"), f"{module}.{name}"
    for file in (span for span in code if re.fullmatch(FILE, span) and span not in THEIRS):
        bases = [toy.ROOT, folder, folder / "configs", *(toy.ROOT / "crnas_d2").glob("*")]
        bases += [toy.ROOT / "crnas_d2", toy.ROOT / "tools", toy.ROOT / "examples"]
        bases += [toy.ROOT / "crnas_d2" / "data" / "embedded", *toy.ROOT.glob("projects/*/configs")]
        is_output = re.match(r"(output|data|annotations|finalists|inference|own)/", file)
        assert is_output or any((base / file).exists() for base in bases), file
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert (folder / link).exists(), link


@cache
def config():
    cfg = get_cfg()
    add_crnas_config(cfg)
    return cfg


@pytest.mark.parametrize("page", PAGES)
def test_the_config_keys_of_a_page_exist(page):
    pattern = (
        r"(?<![\w./])((?:MODEL|SEARCH|SOLVER|DATASETS|INPUT|DATALOADER|TEST)(?:\.[A-Z_0-9]+)+)"
    )
    for key in re.findall(pattern, (toy.ROOT / page).read_text()):
        node = config()
        for part in key.split("."):
            # Budgets have the names of costs, plug-ins sections of their own.
            if node is config().SEARCH.BUDGET or part == "VGG":
                break
            assert isinstance(node, CfgNode) and part in node, key
            node = node[part]
