"""Workers that have died, and processes that begin a study at the same time."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from study_worker import DESCRIPTION, GENOTYPES, SPACE, begin, take, work

from crnas_d2.search import History, StudySettings, enqueue, evaluated, presence


@pytest.fixture
def study(tmp_path):
    study = begin(tmp_path)
    enqueue(study, SPACE, GENOTYPES[:2])
    return study


def test_a_child_that_died_is_noticed_before_its_parent_waits_for_it(study):
    child = subprocess.Popen([sys.executable, "-c", ""])
    with open(f"/proc/{child.pid}/stat") as file:
        while file.read().rpartition(")")[2].split()[0] != "Z":
            file.seek(0)
            time.sleep(0.01)
    os.kill(child.pid, 0)  # it still counts as a process
    take(study, process=child.pid)
    started = time.monotonic()
    work(study)
    assert len(evaluated(study, SPACE)) == 2 and time.monotonic() - started < 30
    child.wait()


def test_a_worker_elsewhere_is_dead_when_it_is_silent(study, monkeypatch):
    monkeypatch.setattr(presence, "_SILENCE", 0.3)
    silent, alive = (take(study, host="elsewhere") for _ in range(2))
    lookout = presence.Lookout()
    for beat in range(8):
        dead = lookout.find_dead(study, study.trials)
        alive.set_user_attr("heartbeat", beat)
        time.sleep(0.1)
    assert [trial.number for trial in dead] == [silent.number]


def test_a_worker_that_was_killed_before_it_said_who_it_is_is_soon_dead(study, monkeypatch):
    monkeypatch.setattr(presence, "_NAMELESS", 0.3)
    nameless, named = study.ask(), take(study, host="elsewhere")
    lookout = presence.Lookout()
    assert not lookout.find_dead(study, study.trials)
    time.sleep(0.4)
    (dead,) = lookout.find_dead(study, study.trials)
    assert dead.number == nameless.number != named.number


def test_nobody_is_dead_because_the_storage_was_away(study, monkeypatch):
    monkeypatch.setattr(presence, "_SILENCE", 0.3)
    take(study, host="elsewhere")
    lookout = presence.Lookout()
    assert lookout.find_dead(study, study.trials) == []
    time.sleep(0.5)
    study._storage.available_since = time.monotonic()
    assert lookout.find_dead(study, study.trials) == []
    time.sleep(0.5)
    assert len(lookout.find_dead(study, study.trials)) == 1


def test_a_worker_tells_that_it_is_alive(study, monkeypatch):
    monkeypatch.setattr(presence, "BEAT", 0.05)
    history = History(study, SPACE)
    with presence.heartbeats(study._storage, history.mine):
        assert history.claim(history.waiting[0])
        time.sleep(0.5)
    attributes = study.trials[0].user_attrs
    assert attributes["worker"]["process"] == os.getpid() and attributes["heartbeat"] >= 2


def test_processes_that_begin_a_study_at_once_share_it(tmp_path):
    together = Barrier(4)

    def begin(place):
        together.wait()
        return StudySettings(place, "search", DESCRIPTION).open(resume=True)

    for number in range(3):
        for place in (f"sqlite:///{tmp_path}/{number}.db", str(tmp_path / f"{number}.log")):
            with ThreadPoolExecutor(4) as threads:
                studies = list(threads.map(begin, [place] * 4))
            assert {study._study_id for study in studies} == {studies[0]._study_id}
            assert studies[0].user_attrs["description"]["metric"] == DESCRIPTION["metric"]
