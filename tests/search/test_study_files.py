"""Files that are no study, or cannot be written: a sentence, and nothing in them is changed."""

import json
import sqlite3

import pytest
from study_worker import DESCRIPTION, GENOTYPES, SPACE, evaluate, work

from crnas_d2.search import StorageError, StudySettings, enqueue, evaluated


def open_study(path, resume=False, description=DESCRIPTION):
    url = str(path) if path.suffix == ".log" else f"sqlite:///{path}"
    return StudySettings(url, "search", description).open(resume=resume)


def make_study(path, number=3):
    study = open_study(path)
    enqueue(study, SPACE, GENOTYPES[:number])
    work(study)


def finish(study):
    work(study)
    assert {c.genotype for c in evaluated(study, SPACE)} == set(GENOTYPES)


@pytest.fixture(params=["search.db", "search.log"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_objectives_have_names_where_they_are_known(path):
    assert open_study(path).metric_names == ["bbox/AP"]
    described = {**DESCRIPTION, "metric": "bbox/AP", "second objective": "MACS"}
    url = f"sqlite:///{path.with_suffix('.2')}"
    both = StudySettings(url, "search", described, directions=("maximize", "minimize"))
    assert both.open(resume=False).metric_names == ["bbox/AP", "MACS"]


OTHERS = [b"hello", b"hello\nworld\n", b"\0" * 5000, b'{"op_code": 0}\n']
OTHERS.append(b'{"op_code":77}\n{}\n[]\n')


@pytest.mark.parametrize("content", OTHERS, ids=["text", "lines", "zeros", "json", "records"])
def test_another_file_is_refused_and_stays_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path}.*(Move it away|Restore it)"):
        open_study(path, resume=True)
    assert path.read_bytes() == content


def test_the_database_of_something_else_is_refused_and_gets_no_table(tmp_path):
    path = tmp_path / "search.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"search\.db is a database of something else"):
        open_study(path, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_database_is_refused(tmp_path, share):
    path = tmp_path / "search.db"
    make_study(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises((ValueError, StorageError), match=r"search\.db .*(damaged|malformed)"):
        open_study(path, resume=True)


def test_a_journal_goes_on_after_a_record_that_a_full_disk_has_cut(tmp_path):
    path = tmp_path / "search.log"
    make_study(path)
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"torn')
    study = open_study(path, resume=True)
    enqueue(study, SPACE, GENOTYPES)
    finish(study)
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    finish(open_study(path, resume=True))


def test_a_folder_is_no_study(path):
    path.mkdir()
    with pytest.raises(ValueError, match=str(path)):
        open_study(path, resume=True)


def test_a_full_disk_ends_the_search_with_a_sentence_and_space_lets_it_go_on(tmp_path):
    path = tmp_path / "search.db"
    study = open_study(path)
    enqueue(study, SPACE, GENOTYPES)
    engine = study._storage._backend._backend.engine

    def fill_disk(genotype):
        if genotype == GENOTYPES[4]:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count = 1")
            return {f"bbox/AP{index}": 1.0 for index in range(1_000)} | {"bbox/AP": 1.0}
        return evaluate(genotype)

    with pytest.raises(StorageError, match=r"search\.db .*is full\. Make space, then.*--resume"):
        work(study, fill_disk)
    engine.dispose()
    finish(open_study(path, resume=True))


def test_a_study_that_is_deleted_meanwhile_ends_the_search(path):
    study = open_study(path)
    enqueue(study, SPACE, GENOTYPES)

    def delete(genotype):
        path.unlink()
        return evaluate(genotype)

    with pytest.raises(StorageError, match=rf"{path} .*No such file"):
        work(study, delete)
    assert not path.exists()


def test_a_search_whose_first_candidates_fail_does_not_refuse_corrected_settings(path):
    study = open_study(path)
    enqueue(study, SPACE, GENOTYPES)

    def broken(genotype):
        raise RuntimeError("SEARCH.IMS_PER_BATCH is too large")

    with pytest.raises(ValueError, match="IMS_PER_BATCH is too large"):
        work(study, broken)
    corrected = {**DESCRIPTION, "budget": [9, 9]}
    study = open_study(path, description=corrected)
    assert study.trials == [] and study.user_attrs["description"] == corrected


def test_a_study_of_something_else_is_not_taken_over(path):
    study = open_study(path)
    study.add_trial(__import__("optuna").create_trial(value=1.0))
    study._storage.set_study_user_attr(study._study_id, "description", None)
    with pytest.raises(ValueError, match=r"is no search of this project"):
        open_study(path, resume=True)
