"""The forms of SEARCH.STORAGE, and that none of its passwords is ever shown."""

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL, make_url

from crnas_d2.search import StorageError, hide_password, study_url, without_password
from crnas_d2.search.storage import open_storage
from crnas_d2.search.storage_url import file_of, shown

SECRET = "Xq7zSecret"


@pytest.mark.parametrize("name", ["plain", "a?b", "a%20b", "100%", "a b", "{x}", "a#b", "ü@:/é"])
def test_a_study_lies_in_the_output_folder_whatever_its_name_is(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    url = study_url(toy.supernet_config({"OUTPUT_DIR": str(folder)}))
    open_storage(url)
    assert (folder / "search.db").stat().st_size > 0
    assert file_of(url) == str(folder / "search.db") == shown(url)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [folder / "search.db"]


@given(password=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=3))
def test_a_url_is_shown_without_its_password_and_names_the_same_study(password):
    url = URL.create("postgresql+psycopg", "nas", password, "db.example", 5432, "studies")
    text = url.render_as_string(hide_password=False)
    bare = without_password(text)
    assert make_url(bare) == url._replace(password=None)
    assert bare == "postgresql+psycopg://nas@db.example:5432/studies" == shown(text)


URLS = {
    "away": f"postgresql+psycopg://nas:{SECRET}@127.0.0.1:1/studies",
    "port": f"postgresql+psycopg://nas:{SECRET}@127.0.0.1:port/studies",
    "@": f"postgresql+psycopg://nas:p@{SECRET}@127.0.0.1:1/studies",
    "@/": f"postgresql+psycopg://nas:12@34/{SECRET}@127.0.0.1:1/studies",
    "parameter": f"postgresql+psycopg://127.0.0.1:1/studies?user=nas&password={SECRET}",
    "postgres": f"postgres://nas:{SECRET}@127.0.0.1:1/studies",
    "driver": f"nosuchdatabase://nas:{SECRET}@127.0.0.1:1/studies",
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_no_error_shows_a_password(url):
    pytest.importorskip("psycopg")
    with pytest.raises((ValueError, StorageError)) as error:
        open_storage(url)
    assert SECRET not in str(error.value) and SECRET not in without_password(url)
    cfg = hide_password(toy.supernet_config({"SEARCH.STORAGE": url}))
    assert SECRET not in cfg.dump()


@pytest.mark.parametrize(
    "place, written",
    [
        ("localhost:13000", "grpc://localhost:13000"),
        ("localhost", "grpc://localhost:13000"),
        ("nas@db.example:5432", "grpc://db.example:5432"),
        ("10.0.0.1", "grpc://10.0.0.1:13000"),
        ("[::1]:13000", "grpc://[::1]:13000"),
    ],
)
def test_what_looks_like_a_server_is_no_journal_in_silence(tmp_path, monkeypatch, place, written):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        open_storage(place)
    assert f"write {written} for" in str(error.value) and not list(tmp_path.iterdir())
    open_storage(f"./{place}")
    assert (tmp_path / place).is_file()


@pytest.mark.parametrize("rest", ["localhost", "", ":13000", "localhost:13000/search", "a@b:1"])
def test_a_url_of_grpc_is_a_host_and_a_port(rest):
    with pytest.raises(ValueError, match=r"no URL that can be read; .*grpc://host:port"):
        open_storage(f"grpc://{rest}")


def test_the_url_may_come_from_the_environment(monkeypatch):
    cfg = toy.supernet_config({"SEARCH.STORAGE": "$STUDY_URL"})
    with pytest.raises(ValueError, match=r"no variable STUDY_URL: export it"):
        study_url(cfg)
    url = f"postgresql+psycopg://nas:{SECRET}@db.example/studies"
    monkeypatch.setenv("STUDY_URL", url)
    assert study_url(cfg) == url
    assert study_url(toy.supernet_config({"SEARCH.STORAGE": "${STUDY_URL}"})) == url
    assert hide_password(cfg).SEARCH.STORAGE == "$STUDY_URL"


@pytest.mark.parametrize("storage", ["no/such/folder/search.log", "postgres//host/db"])
def test_what_is_no_storage_is_refused_with_the_forms(storage):
    with pytest.raises(ValueError, match=r"expected postgresql\+psycopg://.*journal file"):
        open_storage(storage)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"pip install 'crnas-d2\[postgres\]'"):
        open_storage("postgresql+psycopg://nas@127.0.0.1:1/studies")
