import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crnas_d2.data.images import equal_files
from crnas_d2.data.images.equal_files import find_repeated, find_twins

# Of a size, equal at the end, equal at the start, or wholly equal.
CONTENTS = st.sampled_from([b"", b"a", b"b", b"a" + 5000 * b"z", b"b" + 5000 * b"z", 5001 * b"z"])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "crnas_d2" / "results.sqlite"


@pytest.fixture
def reads(monkeypatch):
    """Counts what is read, by part of a file."""
    counts = {"tail": 0, "all": 0, "size": 0}
    read = equal_files._read

    def counted(part, file):
        counts[part] += 1
        return read(part, file)

    monkeypatch.setattr(equal_files, "_read", counted)
    return counts


def write(folder: Path, contents: list[bytes]) -> list[str]:
    folder.mkdir(exist_ok=True)
    files = [folder / str(number) for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    return list(map(str, files))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ours=st.lists(CONTENTS, max_size=5), theirs=st.lists(CONTENTS, max_size=5))
def test_they_are_those_that_a_comparison_of_all_with_all_finds(ours, theirs, tmp_path):
    files, others = write(tmp_path / "ours", ours), write(tmp_path / "theirs", theirs)
    twins = find_twins(files, others)
    assert list(twins) == [f for f, c in zip(files, ours, strict=True) if c in theirs]
    assert all(Path(f).read_bytes() == Path(o).read_bytes() for f, o in twins.items())
    both = dict(zip([*files, *others], [*ours, *theirs], strict=True))
    repeated = {f for f, c in both.items() if [*both.values()].count(c) > 1}
    assert find_repeated(list(both)) == repeated


def test_a_path_that_is_in_both_sets_is_not_read(tmp_path, reads):
    [file] = write(tmp_path / "ours", [b"a"])
    again = f"{tmp_path}/ours/../ours/0"
    assert find_twins([again], [file]) == {again: file}
    assert reads == {"tail": 0, "all": 0, "size": 0}


def test_files_of_sizes_of_their_own_are_not_read(tmp_path, reads):
    files = write(tmp_path / "ours", [b"1" * n for n in range(9)])
    others = write(tmp_path / "theirs", [b"1" * n for n in range(8, 30)])
    assert find_twins(files, others) == {files[8]: others[0]}
    assert reads == {"tail": 2, "all": 2, "size": 31}


def test_what_was_read_is_known_in_the_next_run_until_a_file_changes(tmp_path, reads, cache):
    files, others = write(tmp_path / "ours", [b"a", b"b"]), write(tmp_path / "theirs", [b"a"])
    twins = find_twins(files, others)
    assert twins == {files[0]: others[0]} and (reads["tail"], reads["all"]) == (3, 2)
    assert find_twins(files, others) == twins and (reads["tail"], reads["all"]) == (3, 2)
    Path(files[1]).write_bytes(b"a")
    os.utime(files[1], ns=(0, 0))
    assert find_twins(files, others) == {file: others[0] for file in files}
    assert (reads["tail"], reads["all"]) == (4, 3)
    cache.write_bytes(b"no database")
    assert find_twins(files, others) == {file: others[0] for file in files}


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    [file] = write(tmp_path / "ours", [b"a"])
    with pytest.raises(ValueError, match=r"ours/1 cannot be read: No such file"):
        find_twins([file], [f"{tmp_path}/ours/1"])
