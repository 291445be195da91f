"""Supernets and searches of projects, started with the networks and the images of the papers.

Two iterations and two candidates, by the commands of the READMEs, on generated images under the
names that the configs use; a checkpoint is the one that the config names. A process has one or two
images in a step, a classifier eight, to fit a machine's memory. All of them take hours on a CPU:

    pytest -m slow tests/test_dry_runs.py                  the selection, a config of each kind
    DRY_RUNS=all pytest -m slow tests/test_dry_runs.py     every config
"""

import os
import resource
import subprocess
import sys

import pytest
import toy
from full_size_data import make_datasets
from project_toy import copy_configs

from crnas_d2.config import load_config
from crnas_d2.verbs.plan.planner import is_search

SELECTION = [
    "CR-NAS/search/stage-R18",
    "CR-NAS/search/operation-MobileNetV2",
    "DetNAS/search/P-RetinaNet-VOC",
    "DetNAS/search/ClsNASNet",
    "NATS/search/R50-G16-A",
]
ALL = [
    f"{file.parents[2].name}/search/{file.stem}"
    for file in sorted(toy.ROOT.glob("projects/*/configs/search/*.yaml"))
    if not file.stem.startswith("Base-")
]
TRAINING = {
    "SOLVER.MAX_ITER": 2,
    "SOLVER.STEPS": (),
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.BASE_LR": 1e-4,  # whatever the size of the batch
    "SOLVER.BASE_LR_END": 0.0,
    "DATASETS.TEST": (),
}
SEARCH = {
    "PLUGINS": ["dry_run_searchers"],
    "SEARCH.ALGORITHM": "two candidates",
    "SEARCH.BN_CALIBRATION.NUM_IMAGES": 2,
    "SEARCH.IMS_PER_BATCH": 2,
    # A network that has seen two batches is sure of nothing.
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "MODEL.RETINANET.SCORE_THRESH_TEST": 0.0,
}
ALWAYS = {"SOLVER.REFERENCE_WORLD_SIZE": 0, "DATALOADER.NUM_WORKERS": 0}

pytestmark = pytest.mark.slow


class Runs:
    """Runs configs and, before them, those that their weights come from, each once."""

    def __init__(self, root, datasets):
        self.root = root
        path = os.pathsep.join([str(toy.ROOT), str(toy.ROOT / "tests")])
        self.environment = {**os.environ, "DETECTRON2_DATASETS": str(datasets), "PYTHONPATH": path}
        self.trained = {}  # config by the checkpoint that its training writes
        for file in sorted(root.glob("projects/*/configs/*/*.yaml")):
            if file.parent.name in ("pretrain", "supernet") and not file.stem.startswith("Base-"):
                folder = load_config(str(file), ["MODEL.DEVICE", "cpu"]).OUTPUT_DIR
                self.trained[f"{folder}/model_final.pth"] = file

    def run(self, file):
        cfg = load_config(str(file), [])
        folder = self.root / cfg.OUTPUT_DIR
        if (folder / "log.txt").exists():
            return folder
        overrides = dict(ALWAYS)
        if "://" in cfg.MODEL.WEIGHTS:  # there may be no network
            overrides["MODEL.WEIGHTS"] = ""
        elif cfg.MODEL.WEIGHTS:
            self.run(self.trained[cfg.MODEL.WEIGHTS])
        if is_search(str(file), cfg):
            return self.start("search", file, folder, {**overrides, **SEARCH})
        is_classifier = cfg.MODEL.META_ARCHITECTURE == "ImageClassifier"
        alternates = cfg.MODEL.SUPERNET.PATH_SAMPLER == "alpha"
        images = 8 if is_classifier else 1 if alternates else 2
        settings = {**overrides, **TRAINING, "SOLVER.IMS_PER_BATCH": images}
        return self.start("train", file, folder, settings)

    def start(self, verb, file, folder, overrides):
        command = [sys.executable, "-W", "ignore", "-m", "crnas_d2", verb]
        command += ["--config-file", str(file.relative_to(self.root))]
        command += toy.as_arguments(overrides)
        finished = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    datasets = tmp_path_factory.mktemp("datasets")
    make_datasets(datasets)
    return Runs(copy_configs(tmp_path_factory.mktemp("dry")), datasets)


@pytest.mark.parametrize("name", ALL if os.environ.get("DRY_RUNS") == "all" else SELECTION)
def test_a_supernet_is_trained_and_searched_at_full_size(name, runs, record_property):
    project, _, search = name.partition("/")
    folder = runs.run(runs.root / "projects" / project / "configs" / f"{search}.yaml")
    assert (folder / "genotype.yaml").is_file() and (folder / "report.html").is_file()
    assert "model_final.pth" in os.listdir(folder) or "search.db" in os.listdir(folder)
    # Of all processes so far; kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    record_property("peak_GiB", round(peak, 1))
    print(f"{name}: at most {peak:.1f} GiB")
