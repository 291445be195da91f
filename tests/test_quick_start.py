"""The quick start: the page and the notebook run the same commands, and they work."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import toy

NOTEBOOK = toy.ROOT / "examples" / "quick_start.ipynb"
PAGE = toy.ROOT / "docs" / "QUICK_START.md"


def page_commands():
    """The blocks of commands of the numbered steps."""
    steps = PAGE.read_text().partition("## 1.")[2].partition("## Your own")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)\n```", steps, flags=re.MULTILINE | re.DOTALL)
    return [text for language, text in blocks if not language]


def cells(kind):
    found = json.loads(NOTEBOOK.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def test_the_notebook_runs_the_commands_of_the_page_with_shorter_trainings():
    commands = ["".join(cell["source"]) for cell in cells("code")]
    settings, commands = commands[0], commands[1:-1]
    assert len(commands) >= 5
    full = re.search("page: (.+), (.+) and (.+)\\.", settings).groups()
    for name, value in zip(("ITERATIONS", "FURTHER_ITERATIONS", "MACS"), full, strict=True):
        assert f"%env {name}=" in settings
        value = f"'{value}'" if name == "MACS" else value
        quoted = f'"${name}"' if name == "MACS" else f"${name}"
        commands = [command.replace(quoted, value) for command in commands]
    assert [command.removeprefix("%%bash -e\n") for command in commands] == page_commands()


def test_the_notebook_is_committed_without_outputs():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells("code"))


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="it is of the extra crnas-d2[notebook]")
    nbformat = pytest.importorskip("nbformat")
    # The kernel finds crnas-d2 beside this Python.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setenv("PYTHONPATH", str(toy.ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    folder = tmp_path / "output" / "quick"
    assert (folder / "search" / "genotype.yaml").exists()
    assert (folder / "report.html").stat().st_size > 0
    assert len(list((folder / "predictions" / "pictures").rglob("*.png"))) == 10
    assert (folder / "exported" / "model.pth").exists()
    shown = [output["data"] for output in notebook.cells[-1]["outputs"] if "data" in output]
    assert any("image/png" in data for data in shown)
