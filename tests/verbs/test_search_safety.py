"""Searches that go wrong: a sentence, nothing lost, and nothing that stands in the way."""

import contextlib
import errno
import re
from pathlib import Path

import pytest
import torch
import toy

from crnas_d2 import run_search
from crnas_d2.common.errors import JobError
from crnas_d2.engine import Trainer
from crnas_d2.evaluation import SubnetEvaluator

SECRET = "Xq7zSecret"


@pytest.fixture(scope="module")
def untrained(toy_datasets, tmp_path_factory):
    """The config of a supernet that is unsure, so every detection has to count."""
    weights = tmp_path_factory.mktemp("untrained") / "model.pth"
    settings = {"MODEL.WEIGHTS": str(weights), "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0}
    cfg = toy.supernet_config(toy_datasets, settings)
    torch.manual_seed(0)
    torch.save({"model": Trainer.build_model(cfg).state_dict()}, weights)
    return cfg


@pytest.fixture
def search(untrained, tmp_path):
    """Runs a search of the toy supernet in a folder, with a few overrides."""

    def search(*overrides, folder=tmp_path / "search", resume=False):
        cfg = untrained.clone()
        cfg.merge_from_list(toy.as_list({"OUTPUT_DIR": str(folder)}, *overrides))
        cfg.freeze()
        return run_search(cfg, resume=resume)

    return search


@pytest.fixture
def broken(monkeypatch):
    """Lets the evaluation of some genotypes fail with an exception."""
    evaluate = SubnetEvaluator.__call__

    def broken(depths, error):
        def fails(self, genotype):
            if genotype.depths in depths:
                raise error
            return evaluate(self, genotype)

        monkeypatch.setattr(SubnetEvaluator, "__call__", fails)

    return broken


def test_a_refused_start_does_not_refuse_the_corrected_one(search, tmp_path):
    with pytest.raises(JobError, match=r"SEARCH\.IMS_PER_BATCH is 0; expected .*at least 1"):
        search({"SEARCH.IMS_PER_BATCH": 0})
    assert not (tmp_path / "search").exists()
    search({"SEARCH.IMS_PER_BATCH": 8})


WRONG = [("IMS_PER_BATCH", -1), ("BN_CALIBRATION.NUM_IMAGES", -1), ("IMAGE_CACHE", -0.5)]
WRONG += [("STORAGE_TIMEOUT", -1.0), ("STUDY_NAME", " ")]
WRONG += [("FINALISTS.NUMBER", -1), ("FINALISTS.MAX_ITER", 0), ("FINALISTS.BASE_LR", 0.0)]
WRONG += [("COST_INPUT_SIZE", [64]), ("COST_INPUT_SIZE", [64, 0])]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_numbers_out_of_range_are_refused(search, key, value):
    with pytest.raises(JobError, match=re.escape(f"SEARCH.{key} is {value!r}")):
        search({f"SEARCH.{key}": value})


def failing(error):
    def fails(*_args, **_kwargs):
        raise error

    return fails


def test_what_fails_before_the_first_candidate_leaves_no_study(search, monkeypatch):
    with monkeypatch.context() as patch:
        fails = failing(ValueError("archval cannot be read"))
        patch.setattr("crnas_d2.verbs.search.job.build_score", fails)
        with pytest.raises(ValueError, match="archval cannot be read"):
            search()
    search({"SEARCH.IMS_PER_BATCH": 8})


def test_a_candidate_that_always_fails_does_not_end_the_search(search, broken, capsys, tmp_path):
    broken([toy.ELIGIBLE[2]], RuntimeError("no kernel for it"))
    best = search()
    assert best.fitness is not None and best.genotype.depths != toy.ELIGIBLE[2]
    assert "failed twice and counts as failed: RuntimeError: no kernel" in capsys.readouterr().err
    assert (tmp_path / "search" / "candidates.csv").read_text().count("failed") == 1
    assert "Traceback" in (tmp_path / "search" / "log.txt").read_text()


def test_an_evaluation_that_is_broken_says_why(search, broken):
    broken(toy.ELIGIBLE, RuntimeError("the driver is gone"))
    with pytest.raises(JobError, match=r"5 candidates in a row failed.*the driver is gone"):
        search()


@pytest.mark.parametrize("name", ["file", "file/below", ""])
def test_an_output_folder_that_cannot_be_is_refused(search, tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"OUTPUT_DIR is .*(not a folder|empty)"):
        search(folder=tmp_path / name if name else "")


def test_a_log_that_cannot_be_written_ends_with_the_path(search, monkeypatch, tmp_path):
    fails = failing(OSError(errno.ENOSPC, "No space left on device", "candidates.csv"))
    with monkeypatch.context() as patch:
        patch.setattr("crnas_d2.runs.search_result.SearchResult.write_candidates", fails)
        with pytest.raises(JobError, match=r"candidates\.csv cannot be .*No space left.*--resume"):
            search()
    search(resume=True)
    assert (tmp_path / "search" / "candidates.csv").exists()


def test_the_results_of_another_study_are_not_overwritten(search, tmp_path):
    search()
    before = (tmp_path / "search" / "genotype.yaml").read_bytes()
    others = {"STUDY_NAME": "other", "STORAGE": f"sqlite:///{tmp_path}/other.db"}
    for key, value in others.items():
        with pytest.raises(JobError, match=r"holds the results of the study 'search'"):
            search({f"SEARCH.{key}": value})
    assert (tmp_path / "search" / "genotype.yaml").read_bytes() == before
    search(resume=True)


def test_a_storage_that_is_away_at_the_start_is_named_without_its_password(search, tmp_path):
    pytest.importorskip("psycopg")
    storage = f"postgresql+psycopg://nas:{SECRET}@127.0.0.1:1/studies"
    with pytest.raises(JobError, match=r"nas@127\.0\.0\.1:1/studies could not be reached") as error:
        search({"SEARCH.STORAGE": storage})
    assert SECRET not in str(error.value)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_a_full_disk_is_named_and_after_space_is_made_the_search_goes_on(
    search, small_disk, monkeypatch
):
    filler = small_disk / "filler"
    evaluate, calls = SubnetEvaluator.__call__, []

    def fill(size=8 << 20):
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            for _ in range(size >> 12):
                file.write(b"." * 4096)

    def filling(self, genotype):
        calls.append(genotype)
        if len(calls) == 3:
            fill()
        return evaluate(self, genotype)

    fill()
    folder = small_disk / "search"
    with pytest.raises(JobError, match=rf"{folder}.*No space left.*Make space"):
        search(folder=folder)
    filler.unlink()
    monkeypatch.setattr(SubnetEvaluator, "__call__", filling)
    with pytest.raises(JobError, match=rf"{folder}/search\.db .*full\. Make space"):
        search(folder=folder)
    filler.unlink()
    search(folder=folder, resume=True)
    # The one whose result could not be written is evaluated again.
    assert len(calls) == len(toy.ELIGIBLE) + 1
    assert Path(folder, "genotype.yaml").exists()
