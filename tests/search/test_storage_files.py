"""The SQLite file of a study: what is synced where, and what a killed worker leaves."""

import gc
import sqlite3
from contextlib import closing

import pytest
from study_worker import GENOTYPES, SPACE, begin, killed_in, url, work

from crnas_d2.search import ExhaustiveSearcher, StorageError, enqueue, evaluated, storage_files
from tools.simulation.storage_load import measure_load


def mode_of(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


@pytest.fixture
def is_local(monkeypatch):
    def set_local(is_local):
        monkeypatch.setattr(storage_files, "is_on_local_disk", lambda file: is_local)

    set_local(True)
    return set_local


def test_a_study_on_a_local_disk_is_one_plain_file_when_it_is_closed(tmp_path, is_local):
    study = begin(tmp_path, resume=True)
    enqueue(study, SPACE, GENOTYPES)
    work(study)
    assert mode_of(tmp_path / "search.db") == "wal"
    del study
    gc.collect()  # a cycle may hold the storage a little longer
    assert [path.name for path in tmp_path.iterdir()] == ["search.db"]
    assert mode_of(tmp_path / "search.db") == "delete"
    assert len(evaluated(begin(tmp_path, resume=True), SPACE)) == len(GENOTYPES)


def test_on_a_network_share_every_transaction_is_synced(tmp_path, is_local):
    is_local(False)
    study = begin(tmp_path, resume=True)
    with study._storage._backend._backend.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # full


def test_a_killed_worker_loses_nothing_even_if_the_study_moves_to_a_share(tmp_path, is_local):
    study = begin(tmp_path, resume=True)
    enqueue(study, SPACE, GENOTYPES)
    killed_in(tmp_path, 5)
    is_local(False)
    with pytest.raises(StorageError, match=r"search\.db .*locked. End the process that locks it"):
        begin(tmp_path, resume=True)  # this process still has it open
    assert (tmp_path / "search.db-wal").exists()
    del study
    moved = begin(tmp_path, resume=True)
    assert len(evaluated(moved, SPACE)) == 4
    assert mode_of(tmp_path / "search.db") == "delete"


MOUNTS = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:40 / /proc rw - proc proc rw
24 22 0:41 / /home rw shared:1 - nfs4 server:/home rw
25 24 254:1 / /home/local\\040disk rw - xfs /dev/vdb rw
26 22 0:42 / /over rw - ext4 /dev/vdc rw
27 22 0:43 / /over rw - fuse.sshfs far:/ rw
"""


def test_the_mount_of_a_file_says_where_it_is(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(storage_files, "_MOUNTS", mounts)
    assert not storage_files.is_on_local_disk("/data/search.db")  # unknown
    mounts.write_text(MOUNTS)
    folders = ("/data", "/homes", "/home/me", "/home/local disk", "/over")
    local = [f for f in folders if storage_files.is_on_local_disk(f"{f}/search.db")]
    assert local == ["/data", "/homes", "/home/local disk"]


def test_a_candidate_that_is_listed_takes_few_operations(tmp_path):
    load = measure_load(url(tmp_path), ExhaustiveSearcher(SPACE))
    assert 2 <= load.operations <= 6 and 0 < load.operation < 5 and load.per_running >= 0
    assert begin(tmp_path, resume=True).trials == []  # what was timed is gone
