"""Files and folders appear whole or not at all; results are remembered until a file changes."""

import errno
from pathlib import Path

import pytest

from crnas_d2.common.digests import file_state, remembered, remembered_sha256, sha256
from crnas_d2.common.files import whole_file, whole_folder, write_file


def test_a_file_that_fails_leaves_what_was_there(tmp_path):
    file = tmp_path / "a"
    write_file(file, "before")
    with pytest.raises(OSError, match="full"), whole_file(file) as stream:
        stream.write(b"half")
        raise OSError("full")
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("is_needless", [False, True])
def test_a_folder_takes_the_place_of_another_unless_it_is_needless(tmp_path, is_needless):
    folder = tmp_path / "a"
    folder.mkdir()
    write_file(folder / "old", "")
    with pytest.raises(KeyError), whole_folder(folder) as unfinished:
        write_file(unfinished / "half", "")
        raise KeyError
    with whole_folder(folder, is_needless=lambda: is_needless) as unfinished:
        write_file(unfinished / "new", "")
    assert [file.name for file in folder.iterdir()] == ["old" if is_needless else "new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    file = tmp_path / "model_best.pth"
    with whole_file(file) as first, whole_file(file) as second:
        first.write(b"first")
        second.write(b"second")
    assert file.read_bytes() == b"first" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_what_killed_processes_have_left_is_removed(tmp_path, whole, monkeypatch):
    final, strangers = tmp_path / "a", {tmp_path / "a.of-mine.partial", tmp_path / ".a.making-it"}
    for stranger in strangers:
        stranger.mkdir()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), whole(final):
        patch.setattr("crnas_d2.common.files._remove", lambda path: None)
        raise KeyboardInterrupt
    assert len(set(tmp_path.iterdir()) - strangers) == 1
    with whole(final), whole(final):  # which are at work beside each other
        assert len(set(tmp_path.iterdir()) - strangers) == 2
    assert set(tmp_path.iterdir()) == {final, *strangers}


def test_an_error_names_the_file_and_not_the_unfinished_one(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        write_file(tmp_path / "away" / "a", "")
    assert error.value.filename == str(tmp_path / "away" / "a")
    with pytest.raises(OSError, match="No space") as error, whole_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "a")


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    folder = tmp_path / "a"
    folder.mkdir()
    write_file(folder / "old", "")
    rename = Path.rename

    def fails(path, target):
        if ".making-" in path.name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input"), whole_folder(folder):
        pass
    assert (folder / "old").exists() and list(tmp_path.iterdir()) == [folder]


def test_what_was_found_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file, found = tmp_path / "a", []
    for number, content in enumerate(("one", "three"), start=1):
        write_file(file, content)
        for _ in range(2):
            state = file_state(file)
            assert remembered("what", state, lambda: found.append(1) or len(found)) == number
        assert remembered_sha256(file) == sha256(file)
