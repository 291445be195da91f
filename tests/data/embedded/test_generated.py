"""Folders of generated data: complete or not there at all, and never a user's files lost."""

import os

import pytest

from crnas_d2.common.files import whole_folder
from crnas_d2.data.embedded import generated
from crnas_d2.data.embedded.generated import MARKER, GeneratedFolder


def write(folder, root):
    (folder / "files").mkdir()
    (folder / "files" / "made").write_text("made")


def interrupt(folder, root):
    write(folder, root)
    raise KeyboardInterrupt


def toy(write=write, version=1):
    return GeneratedFolder("toy", {"version": version}, ("files",), write)


def test_a_complete_folder_is_used_as_it_is(tmp_path):
    toy().make(tmp_path / "toy")
    before = (tmp_path / "toy" / MARKER).stat().st_mtime_ns
    toy(interrupt).make(tmp_path / "toy")
    assert (tmp_path / "toy" / MARKER).stat().st_mtime_ns == before


def test_an_interrupted_creation_leaves_nothing_and_is_redone(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        toy(interrupt).make(tmp_path / "toy")
    assert os.listdir(tmp_path) == []
    toy().make(tmp_path / "toy")
    assert (tmp_path / "toy" / "files" / "made").exists()


def test_leftovers_of_a_killed_creation_are_removed_when_nobody_writes_there(tmp_path, monkeypatch):
    """A killed process cannot clean up; a live one must not lose its folder."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("crnas_d2.common.files._remove", lambda path: None)
        toy(interrupt).make(tmp_path / "toy")
    not_ours = tmp_path / ".toy.making-by-hand"
    not_ours.mkdir()
    with whole_folder(tmp_path / "toy", is_needless=lambda: True) as alive:
        toy().make(tmp_path / "toy")
        assert set(tmp_path.iterdir()) == {tmp_path / "toy", alive, not_ours}
    assert set(tmp_path.iterdir()) == {tmp_path / "toy", not_ours}


def test_the_slower_of_two_processes_uses_the_result_of_the_faster(tmp_path):
    root = tmp_path / "toy"

    def overtaken(folder, shown_as):
        toy().make(root)
        (root / "faster").touch()
        write(folder, shown_as)

    toy(overtaken).make(root)
    assert os.listdir(tmp_path) == ["toy"]
    assert (root / "faster").exists()


def test_an_older_version_is_replaced(tmp_path):
    toy(version=0).make(tmp_path / "toy")
    (tmp_path / "toy" / "files" / "old").touch()
    toy().make(tmp_path / "toy")
    assert os.listdir(tmp_path / "toy" / "files") == ["made"]
    assert os.listdir(tmp_path) == ["toy"]


def test_what_we_did_not_make_is_refused_and_left_untouched(tmp_path):
    target = tmp_path / "toy"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"thesis\.txt.*DETECTRON2_DATASETS") as error:
        toy().make(target)
    assert str(target) in str(error.value)
    assert (target / "thesis.txt").read_text() == "years of work"
    assert os.listdir(tmp_path) == ["toy"]


def test_a_users_file_in_an_outdated_folder_is_not_lost(tmp_path):
    toy(version=0).make(tmp_path / "toy")
    (tmp_path / "toy" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes\.txt"):
        toy().make(tmp_path / "toy")
    assert (tmp_path / "toy" / "notes.txt").exists()


def test_without_the_variable_the_cache_folder_is_used(monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert generated.default_root("toy") == "/elsewhere/crnas_d2/toy"
