"""Imports inside the package go down only."""

import ast
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
ALLOWED = {room: set(ROOMS[: index + 1]) for index, room in enumerate(ROOMS)}
ALLOWED["verbs"].add("")  # the package itself: all of it lies below
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


def room(path):
    """``space`` of ``crnas_d2/space/budget.py``."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_room_has_its_place():
    assert {room(path) for path in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_its_own_room_and_earlier_ones_only(path):
    for name in imports(path):
        root, _, rest = name.partition(".")
        if root != "crnas_d2":
            continue
        imported = rest.split(".")[0]
        assert imported in ALLOWED[room(path)], f"{path.relative_to(PACKAGE.parent)} imports {name}"


@pytest.mark.parametrize(
    "code",
    [
        "import crnas_d2.space",
        "from crnas_d2.verbs.main import main; main(['--help'])",
        "from crnas_d2.verbs.main import main; main(['--version'])",
    ],
)
def test_what_needs_no_torch_does_not_load_it(code):
    heavy = [
        "torch",
        "torchvision",
        "detectron2",
        "matplotlib",
        "numpy",
        "optuna",
        "sqlalchemy",
        "pycocotools",
    ]
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
