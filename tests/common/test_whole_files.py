"""Files and folders appear whole or not at all; results are remembered until a file changes."""

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


def test_what_was_found_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file, found = tmp_path / "a", []
    for number, content in enumerate(("one", "three"), start=1):
        write_file(file, content)
        for _ in range(2):
            state = file_state(file)
            assert remembered("what", state, lambda: found.append(1) or len(found)) == number
        assert remembered_sha256(file) == sha256(file)
