"""Searches that start or end at the same moment, as processes of their own."""

import pytest
import torch
import toy
from scripts import read_candidates, start

from crnas_d2.engine import Trainer


@pytest.fixture(scope="module")
def searches(toy_datasets, tmp_path_factory):
    """Starts searches at once, one for each mapping of settings; their statuses and outputs."""
    weights = tmp_path_factory.mktemp("untrained") / "model.pth"
    common = {"MODEL.WEIGHTS": str(weights), "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0}
    cfg = toy.supernet_config(toy_datasets, common)
    torch.manual_seed(0)
    torch.save({"model": Trainer.build_model(cfg).state_dict()}, weights)

    def searches(*flags, settings):
        processes = [
            start(
                "search_net.py",
                toy.SUPERNET,
                *flags,
                opts=toy.as_arguments(toy.TINY, toy.STAGE_SPACE, toy_datasets, common, own),
                env={"OMP_NUM_THREADS": "1"},
            )
            for own in settings
        ]
        outputs = ["".join(process.communicate(timeout=500)) for process in processes]
        assert "Traceback" not in "".join(outputs), outputs
        return list(zip([process.returncode for process in processes], outputs, strict=True))

    return searches


def check_results(folder):
    rows = read_candidates(folder)
    assert len(rows) == len(toy.ELIGIBLE)
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
    settings = [{"OUTPUT_DIR": folder, **storage} for folder in folders]
    found = searches("--num-workers", "1", "--resume", settings=settings)
    assert [status for status, _ in found] == [0, 0], found
    assert all(any(folder.glob("noise/*.npz")) for folder in folders)
    for folder in folders:
        assert all(row["fitness_low"] for row in check_results(folder))
        assert "scored elsewhere" not in (folder / "report.html").read_text()
