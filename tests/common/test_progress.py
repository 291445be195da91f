from crnas_d2.common import progress as module
from crnas_d2.common.progress import progress_bar


def test_a_file_gets_a_line_at_the_start_and_at_the_end(capsys):
    with progress_bar(total=500, desc="Making letters", unit="img") as bar:
        for _ in range(500):
            bar.update()
    printed = capsys.readouterr().err
    assert "\r" not in printed and "\x1b" not in printed
    first, last = printed.splitlines()
    assert first.startswith("Making letters: 0/500 img")
    assert last.startswith("Making letters: 500/500 img")


def test_bars_side_by_side_move_no_cursor_in_a_file(capsys):
    bars = [progress_bar(total=2, desc=name, unit="it") for name in ("found", "baseline")]
    for bar in bars:
        bar.update(2)
    for bar in bars:
        bar.close()
    printed = capsys.readouterr().err
    assert "\x1b" not in printed and "" not in printed.splitlines()
    assert printed.count("found: 2/2") == printed.count("baseline: 2/2") == 1


def test_a_file_gets_a_line_per_period(capsys, monkeypatch):
    monkeypatch.setattr(module, "_PERIOD", 0.0)
    assert list(progress_bar(range(5), desc="rounds", unit="round", delay=0)) == [0, 1, 2, 3, 4]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 5 and lines[-1].startswith("rounds: 5/5 round")


def test_a_terminal_gets_a_bar_that_is_redrawn(capsys, monkeypatch):
    monkeypatch.setattr(module, "can_redraw", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "40")
    assert len(list(progress_bar(range(3), mininterval=0))) == 3
    printed = capsys.readouterr().err
    assert printed.count("\r") >= 2 and printed.count("\n") == 1 and "3/3" in printed
