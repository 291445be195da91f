"""Imports inside the package go down only."""

import ast
import re
import subprocess
import sys

import pytest
import toy

PACKAGE = toy.ROOT / "crnas_d2"
# In this order: each room may import the rooms before it.
ROOMS = (
    *("common", "space", "config", "search", "layers", "data", "modeling", "cost", "checkpoint"),
    *("evaluation", "engine", "runs", "report", "testing", "verbs"),
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def imports(path, source=None):
    """The absolute names of all modules that a file imports, at its top or inside functions."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(source or path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import x` may name modules, so each name counts as one.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def parts(path):
    """``("space", "budget")`` of ``crnas_d2/space/budget.py``."""
    return path.relative_to(PACKAGE).with_suffix("").parts


def test_the_map_of_the_readme_has_all_rooms_in_their_order():
    readme = (toy.ROOT / "README.md").read_text()
    listed = re.findall(r"^\| `crnas_d2/(\w+)` \|", readme, re.MULTILINE)
    assert listed == [*ROOMS, "genotypes"]


def is_allowed(path, name):
    """Whether a module may import a name: of its own room or an earlier one, but of no verb."""
    importer, (root, *imported) = parts(path), name.split(".")
    if root != "crnas_d2":
        return True
    if (
        not imported or imported[0] not in ROOMS
    ):  # the package itself, all of which lies below the verbs
        return importer[0] == "verbs"
    if imported[0] == importer[0] == "verbs":
        # The command knows all verbs; what verbs share is no verb.
        return importer[1] == "main" or imported[1] in (importer[1], "arguments")
    return ROOMS.index(imported[0]) <= ROOMS.index(importer[0])


def test_a_module_imports_its_own_room_and_earlier_ones_only():
    found = [(path, name) for path in MODULES for name in imports(path)]
    assert [f"{path} imports {name}" for path, name in found if not is_allowed(path, name)] == []


@pytest.mark.parametrize(
    ("importer", "name", "allowed"),
    [
        ("report/page.py", "crnas_d2.runs.Run", True),
        ("runs/run.py", "crnas_d2.report.Page", False),
        ("verbs/train.py", "crnas_d2.run_search", True),
        ("engine/trainer.py", "crnas_d2.run_search", False),
        ("verbs/train.py", "crnas_d2.verbs.search.search", False),
        ("verbs/plan/plan.py", "crnas_d2.verbs.plan.table", True),
        ("verbs/train.py", "crnas_d2.verbs.arguments.add", True),
        ("verbs/main.py", "crnas_d2.verbs.train", True),
    ],
)
def test_an_import_upwards_or_between_verbs_is_seen(importer, name, allowed):
    assert is_allowed(PACKAGE / importer, name) == allowed


def test_the_space_is_pure_python():
    found = {n for path in MODULES if parts(path)[0] == "space" for n in imports(path)}
    roots = {name.partition(".")[0] for name in found}
    assert "crnas_d2" in roots and not roots & {"torch", "torchvision", "detectron2", "fvcore"}


def test_modules_are_short_and_say_what_they_are_for_and_only_faces_list_names():
    assert {parts(path)[0] for path in MODULES} == set(ROOMS)
    for path in MODULES:
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)) and text.count("\n") <= 300, path
        assert path.name == "__init__.py" or "\n__all__" not in text, path


@pytest.mark.parametrize(
    "code",
    [
        "import crnas_d2.space",
        "from crnas_d2.verbs.main import main; main(['--help'])",
        "from crnas_d2.verbs.main import main; main(['--version'])",
    ],
)
def test_what_needs_no_torch_does_not_load_it(code):
    heavy = {"torch", "torchvision", "detectron2", "matplotlib", "numpy", "optuna", "pycocotools"}
    heavy.add("sqlalchemy")
    check = f"import sys; assert not sys.modules.keys() & {heavy}, sys.modules.keys() & {heavy}"
    command = [sys.executable, "-W", "ignore", "-c", f"{code}; {check}"]
    finished = subprocess.run(command, cwd=toy.ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_every_form_of_import_is_read():
    source = (
        "import crnas_d2.engine\nfrom crnas_d2 import report\nfrom ..modeling import supernet\n"
        "from . import norm\ndef f():\n    from crnas_d2.data.checks import check_disjoint\n"
    )
    assert set(imports(PACKAGE / "layers" / "example.py", source)) == {
        "crnas_d2.engine",
        "crnas_d2.report",
        "crnas_d2.modeling.supernet",
        "crnas_d2.layers.norm",
        "crnas_d2.data.checks.check_disjoint",
    }
