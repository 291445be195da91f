"""tools/simulate_search.py: its table, its files, and what it refuses."""

import csv
import runpy
import sys

import optuna
import pytest
import toy

TOOL = str(toy.ROOT / "tools" / "simulate_search.py")
CONFIG = str(toy.ROOT / "configs" / "letters" / "supernet-inherit.yaml")
FEW = ("SEARCH.BUDGET.MACS", "[]", "SEARCH.BUDGET.BLOCKS", "[15, 16]", "SEARCH.COSTS", "[]")


@pytest.fixture
def simulate(monkeypatch, capsys):
    def simulate(*arguments):
        argv = [TOOL, "--config-file", CONFIG, *map(str, arguments), *FEW]
        monkeypatch.setattr(sys, "argv", argv)
        verbosity = optuna.logging.get_verbosity()
        try:
            runpy.run_path(TOOL, run_name="__main__")
        finally:
            optuna.logging.set_verbosity(verbosity)
        return capsys.readouterr().out

    return simulate


def test_the_table_has_a_row_per_number_of_workers_and_is_written(simulate, tmp_path):
    output = simulate(
        *["--workers", "1", "2", "100", "--seconds", "3600", "--spread", "0", "--output"], tmp_path
    )
    with (tmp_path / "simulation.csv").open() as file:
        rows = list(csv.DictReader(file))
    # [3, 4, 6, 3] and the four allocations with one block less.
    assert [int(row["workers"]) for row in rows] == [1, 2, 100]
    assert [float(row["hours"]) for row in rows] == pytest.approx([5, 3, 1], abs=0.01)
    assert [float(row["speed-up"]) for row in rows] == pytest.approx([1, 5 / 3, 5], abs=0.02)
    assert {row["candidates"] for row in rows} == {"5"}
    assert [line.split()[0] for line in output.splitlines()[2:5]] == ["1", "2", "100"]
    assert (tmp_path / "simulation.png").stat().st_size > 10_000


def test_times_are_those_of_a_finished_search(simulate, tmp_path):
    (tmp_path / "candidates.csv").write_text("fitness,seconds\n1,7200\n2,7200\n")
    last = simulate("--workers", 1, "--search", tmp_path).splitlines()[-1]
    assert last.split()[:5] == ["1", "10.00", "1.0", "0%", "5"]


REFUSED = {
    "--seconds -1": "--seconds is -1.0; expected a number above 0",
    "--seconds nan": "--seconds is nan",
    "--seconds 5 --spread -1": "--spread is -1.0",
    "--workers 0 --seconds 5": "--workers has 0; expected at least 1",
    "--search nowhere": "nowhere/candidates.csv cannot be read",
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.items())
def test_what_cannot_be_simulated_is_refused_in_one_line(simulate, arguments, words):
    with pytest.raises(SystemExit) as end:
        simulate(*arguments.split())
    assert words in end.value.code and "\n" not in end.value.code
