"""Workers that share a study on a real PostgreSQL server, or in a journal file."""

import signal
import time

import pytest
from postgres import Server, find_binaries
from study_worker import DESCRIPTION, MOST, SEARCHES, logged, wait_until, workers

from crnas_d2.search import StorageError, StudySettings, evaluated

SEARCH = SEARCHES["large"]
EVERYTHING = sorted(SEARCH.genotypes)


@pytest.fixture
def server():
    if find_binaries() is None:
        pytest.skip("PostgreSQL (initdb, pg_ctl) is not installed")
    pytest.importorskip("psycopg", reason="the driver is the extra crnas-d2[postgres]")
    server = Server()
    server.start()
    yield server
    server.remove()


def open_at(url, patience=0, resume=True):
    return StudySettings(url, "search", DESCRIPTION, patience=patience).open(resume=resume)


def check_nothing_is_lost_or_doubled(folder, url, killed):
    evaluations = logged(folder)
    interrupted = [genotype for process, genotype in evaluations if process == killed][-1:]
    genotypes = sorted(genotype for _, genotype in evaluations)
    # The last one of the killed worker may have been finished just then.
    assert genotypes in (EVERYTHING, sorted([*EVERYTHING, *interrupted]))
    scored = [c.genotype for c in evaluated(open_at(url), SEARCH.space) if c.fitness is not None]
    assert sorted(scored) == EVERYTHING


@pytest.mark.slow
def test_three_workers_outlive_a_kill_a_restart_and_an_outage(server, tmp_path):
    url = server.url()
    with workers(tmp_path, 3, "large", storage=url) as processes:
        killed, *others = processes
        wait_until(lambda: len(logged(tmp_path)) >= 10, processes)
        killed.send_signal(signal.SIGKILL)  # it stays a zombie, because nobody waits for it yet
        wait_until(lambda: len(logged(tmp_path)) >= 18, others)
        server.stop("fast")
        server.start()
        wait_until(lambda: len(logged(tmp_path)) >= 26, others)
        server.stop("immediate")
        time.sleep(10)
        server.start()
        assert [worker.wait(timeout=MOST) for worker in others] == [0, 0]
        check_nothing_is_lost_or_doubled(tmp_path, url, killed.pid)


@pytest.mark.slow
def test_without_a_server_a_worker_gives_up_with_a_message_without_password(server, tmp_path):
    url = server.url()
    study = open_at(url, patience=2, resume=False)
    server.stop()
    with pytest.raises(StorageError, match=r"nas@127.*could not be reached for 2 s") as error:
        study.get_trials()
    assert "w%25rd" not in str(error.value) and "w%rd" not in str(error.value)
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"could not be reached: .*refused"):
        open_at(url)
    assert time.monotonic() - started < 2


@pytest.mark.slow
def test_the_password_may_come_from_the_environment(server, tmp_path, monkeypatch):
    url = server.url(password="")
    with pytest.raises(StorageError, match="password"):
        open_at(url, resume=False)
    monkeypatch.setenv("PGPASSWORD", "p@ss/w%rd:1")
    open_at(url, resume=False)
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    file.write_text(r"127.0.0.1:*:*:nas:p@ss/w%rd\:1" + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    open_at(url)


@pytest.mark.slow
def test_two_workers_share_a_journal_file(tmp_path):
    journal = str(tmp_path / "search.log")
    with workers(tmp_path, 2, "large", storage=journal) as (killed, other):
        wait_until(lambda: len(logged(tmp_path)) >= 20, (killed, other))
        killed.send_signal(signal.SIGKILL)
        assert other.wait(timeout=MOST) == 0
        check_nothing_is_lost_or_doubled(tmp_path, journal, killed.pid)
