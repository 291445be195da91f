"""Workers that reach their study through a server: the same search, also if it is restarted."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import toy
from postgres import Server, find_binaries
from study_worker import (
    DESCRIPTION,
    MOST,
    SEARCHES,
    evaluate,
    logged,
    results,
    url,
    wait_until,
    workers,
)

from crnas_d2.search import StorageError, StudySettings, evaluated, run_worker
from crnas_d2.search.study_proxy import serve

pytest.importorskip("grpc", reason="grpcio is the extra crnas-d2[grpc]")


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start(database, port):
    command = ["-m", "crnas_d2.search.study_proxy", database, "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, *command], cwd=toy.ROOT, stdout=subprocess.PIPE, text=True
    )
    assert f"SEARCH.STORAGE grpc://localhost:{port}" in process.stdout.readline()
    return process


@contextmanager
def proxy(database, port):
    """A server in a process of its own; yields what kills it and starts another one."""
    running = [start(database, port)]

    def kill():
        running[-1].kill()
        running[-1].wait()

    def restart():
        kill()
        running.append(start(database, port))

    try:
        yield restart
    finally:
        kill()


def open_at(place, name="search", patience=0.0):
    return StudySettings(place, name, {}, patience=patience).open(resume=True)


def test_a_search_through_a_server_that_is_killed_is_that_of_its_database(tmp_path, port):
    seen = []

    def count_and_restart(genotype):
        seen.append(genotype)
        if len(seen) == 5:
            restart()
        return evaluate(genotype)

    with proxy(url(tmp_path), port) as restart:
        study = open_at(f"grpc://localhost:{port}", patience=60)
        run_worker(study, SEARCHES["joint evolution"], count_and_restart, "bbox/AP")
        direct = open_at(f"sqlite:///{tmp_path}/direct.db")
        run_worker(direct, SEARCHES["joint evolution"], evaluate, "bbox/AP")
        space = SEARCHES["joint evolution"].space
        assert len(seen) == 24 and results(study, space) == results(direct, space)
        assert results(open_at(url(tmp_path)), space) == results(direct, space)
    with pytest.raises(StorageError, match=r"could not be reached: its server does not answer"):
        open_at(f"grpc://localhost:{port}")


def test_what_a_server_cannot_serve_is_refused(tmp_path):
    for place in (str(tmp_path / "study.log"), "grpc://localhost:13000"):
        with pytest.raises(ValueError, match="is no database"):
            serve(place)


@pytest.mark.slow
def test_three_workers_outlive_kills_of_their_server_before_postgresql(tmp_path, port):
    if find_binaries() is None:
        pytest.skip("PostgreSQL (initdb, pg_ctl) is not installed")
    pytest.importorskip("psycopg", reason="the driver is the extra crnas-d2[postgres]")
    search, place, server = SEARCHES["large"], f"grpc://localhost:{port}", Server()
    try:
        server.start()
        with (
            proxy(server.url(), port) as restart,
            workers(tmp_path, 3, "large", storage=place) as processes,
        ):
            killed, *others = processes
            wait_until(lambda: len(logged(tmp_path)) >= 10, processes)
            killed.send_signal(signal.SIGKILL)
            restart()
            wait_until(lambda: len(logged(tmp_path)) >= 18, others)
            server.stop("fast")  # the server waits for its database
            time.sleep(5)
            server.start()
            wait_until(lambda: len(logged(tmp_path)) >= 26, others)
            restart()
            assert [worker.wait(timeout=MOST) for worker in others] == [0, 0]
            genotypes = [genotype for _, genotype in logged(tmp_path)]
            last = [g for process, g in logged(tmp_path) if process == killed.pid][-1:]
            assert sorted(genotypes) in (
                sorted(search.genotypes),
                sorted([*search.genotypes, *last]),
            )
            study = StudySettings(place, "search", DESCRIPTION).open(resume=True)
            scored = [c.genotype for c in evaluated(study, search.space)]
            assert sorted(scored) == sorted(search.genotypes)
    finally:
        server.remove()
