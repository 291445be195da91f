"""The opening tables of the projects' READMEs say what ``crnas-d2 plan`` says."""

import runpy

import pytest
import toy

from crnas_d2.common.formats import format_passes
from crnas_d2.config import load_config
from crnas_d2.data import DatasetSizes
from crnas_d2.engine.estimate import search_work, training_work
from crnas_d2.verbs.plan.planner import is_search

TOOL = runpy.run_path(str(toy.ROOT / "tools" / "project_tables.py"))
PROJECTS = TOOL["PROJECTS"]


def opening(project):
    """The rows of both tables of a README: dicts by column."""
    text = (TOOL["folder"](project) / "README.md").read_text()
    tables = text.split(TOOL["BEGIN"])[1].split(TOOL["END"])[0].split("The steps before them:")
    for table in tables:
        lines = [line for line in table.splitlines() if line.startswith("|")]
        head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        yield [dict(zip(head, row, strict=True)) for row in rows]


@pytest.mark.parametrize("project", PROJECTS)
def test_every_row_of_the_paper_and_every_step_has_its_line(project):
    readme = (TOOL["folder"](project) / "README.md").read_text()
    assert readme.index(TOOL["BEGIN"]) < 4000, "the tables do not open the README"
    rows, steps = opening(project)
    found = [(row["row"], row["config"].strip("`"), row["theirs"]) for row in rows]
    assert found == list(TOOL["rows"](readme)) and len(found) >= 20
    assert [row["config"].strip("`") for row in steps] == TOOL["steps"](project)
    assert all(row["ours"] == "" for row in rows)
    for _, name, _ in found:
        file = TOOL["folder"](project) / "configs" / f"{name}.yaml"
        assert name in ("own", "none") or file.is_file(), name


@pytest.mark.parametrize("project", PROJECTS)
def test_steps_and_image_passes_are_those_of_the_configs(project):
    rows, steps = opening(project)
    sizes = DatasetSizes()
    for row in (*rows, *steps):
        name = row["config"].strip("`")
        if name in ("own", "none"):
            continue
        file = str(TOOL["folder"](project) / "configs" / f"{name}.yaml")
        # Without the limits on MACs, which take time and do not change the number of candidates.
        overrides = ["MODEL.DEVICE", "cpu", "SEARCH.BUDGET.MACS", "[]"]
        cfg = load_config(file, overrides, skipped=[])
        searches = is_search(file, cfg)
        part = sizes.count(cfg, "ARCHVAL" if searches else "TEST")
        work = search_work(cfg, part) if searches else training_work(cfg, part)
        assert row["steps"] == (f"{work.steps:,}" if work.steps else ""), name
        assert row.get("image passes") in (None, format_passes(work.passes)), name


@pytest.mark.parametrize(
    ("project", "name"),
    [
        ("CR-NAS", "searched/faster_rcnn_CR-R18_FPN_1x"),
        ("DetNAS", "baseline/retinanet_ShuffleNetV2-20_FPN_VOC"),
        ("NATS", "search/R50-G16-A"),
    ],
)
def test_a_line_is_what_the_plan_says(project, name):
    [line] = [row for rows in opening(project) for row in rows if row["config"] == f"`{name}`"]
    plan = TOOL["plans"](project, [name])[name]
    numbers = TOOL["numbers"](plan, passes="image passes" in line)
    columns = [c for c in line if c not in ("row", "config", "theirs", "ours")]
    assert [line[column] for column in columns] == numbers


@pytest.mark.slow
@pytest.mark.parametrize("project", PROJECTS)
def test_all_lines_are_what_the_plan_says(project):
    TOOL["main"]([project, "--check"])


def test_a_number_that_differs_is_shown(monkeypatch, tmp_path):
    readme = f"# x\n{TOOL['BEGIN']}\n| old |\n\n{TOOL['END']}\n## More\n"
    (tmp_path / "README.md").write_text(readme)
    tool = TOOL["main"].__globals__
    monkeypatch.setitem(tool, "folder", lambda project: tmp_path)
    monkeypatch.setitem(tool, "opening", lambda project, readme: "| new |\n")
    with pytest.raises(SystemExit, match=r"is: +\| old \|\n +plan: +\| new \|"):
        TOOL["main"](["x", "--check"])
    assert (tmp_path / "README.md").read_text() == readme
    TOOL["main"](["x"])
    assert (tmp_path / "README.md").read_text() == readme.replace("old", "new")
    TOOL["main"](["x", "--check"])
