"""Searches that start or end at the same moment, as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy
from scripts import read_candidates, start

from crnas_d2.engine import Trainer

NUMBER = len(toy.ELIGIBLE)


@pytest.fixture(scope="module")
def searches(toy_datasets, tmp_path_factory):
    """Starts searches at once, one for each mapping of settings; their statuses and outputs."""
    weights = tmp_path_factory.mktemp("untrained") / "model.pth"
    common = {"MODEL.WEIGHTS": str(weights), "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0}
    cfg = toy.supernet_config(toy_datasets, common)
    torch.manual_seed(0)
    torch.save({"model": Trainer.build_model(cfg).state_dict()}, weights)

    def opts(own):
        return toy.as_arguments(toy.TINY, toy.STAGE_SPACE, toy_datasets, common, own)

    def searches(*flags, settings):
        processes = [
            start(
                "search_net.py",
                toy.SUPERNET,
                *flags,
                opts=opts(own),
                env={"OMP_NUM_THREADS": "1"},
            )
            for own in settings
        ]
        outputs = ["".join(process.communicate(timeout=500)) for process in processes]
        assert "Traceback" not in "".join(outputs), outputs
        return list(zip([process.returncode for process in processes], outputs, strict=True))

    searches.opts = opts
    return searches


def check_results(folder, number=NUMBER):
    rows = read_candidates(folder)
    assert len(rows) == number
    assert torch.load(folder / "model_best.pth", weights_only=True)["model"]
    assert "</html>" in (folder / "report.html").read_text()
    assert not list(folder.glob("*.partial"))
    return rows


@pytest.mark.slow
def test_of_three_starts_at_one_moment_one_searches_and_the_others_say_why_not(searches, tmp_path):
    found = searches("--num-workers", "1", settings=[{"OUTPUT_DIR": tmp_path}] * 3)
    assert sorted(status for status, _ in found) == [0, 1, 1], found
    for status, output in found:
        assert status == 0 or "exists already: continue it with --resume" in output
    check_results(tmp_path)


@pytest.mark.slow
def test_two_workers_of_one_folder_end_together(searches, tmp_path):
    found = searches("--num-workers", "1", "--resume", settings=[{"OUTPUT_DIR": tmp_path}] * 2)
    assert [status for status, _ in found] == [0, 0], found
    check_results(tmp_path)


@pytest.mark.slow
def test_workers_with_folders_of_their_own_report_the_intervals_of_all(searches, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    storage = {"SEARCH.STORAGE": f"sqlite:///{tmp_path}/studies.db"}
    # All 16 networks, image by image: neither has them all before the other begins.
    storage |= {"SEARCH.BUDGET.BLOCKS": [], "SEARCH.IMS_PER_BATCH": 1}
    settings = [{"OUTPUT_DIR": folder, **storage} for folder in folders]
    found = searches("--num-workers", "1", "--resume", settings=settings)
    assert [status for status, _ in found] == [0, 0], found
    assert all(any(folder.glob("noise/*.npz")) for folder in folders)
    for folder in folders:
        assert all(row["fitness_low"] for row in check_results(folder, number=16))
        assert "scored elsewhere" not in (folder / "report.html").read_text()


@pytest.mark.slow
def test_tasks_of_a_slurm_array_are_workers_of_one_search(searches, tmp_path):
    script, folder = toy.ROOT / "examples" / "search_array.sh", tmp_path / "with space"
    python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": python, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(toy.ROOT)}
    command = ["bash", script, toy.SUPERNET, folder, *searches.opts({})]
    tasks = [
        subprocess.Popen(
            command,
            env={**env, "SLURM_ARRAY_TASK_ID": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(3)
    ]
    outputs = [task.communicate(timeout=500)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0, 0], outputs
    assert (folder / "study.log").is_file() and not (folder / "search.db").exists()
    check_results(folder)


def test_the_script_of_an_array_says_what_it_needs(tmp_path):
    command = ["bash", toy.ROOT / "examples" / "search_array.sh", "one.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 2 and "usage: sbatch --array=0-31" in result.stderr
