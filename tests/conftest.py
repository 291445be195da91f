import json
import os
import signal
import subprocess

import pytest
import torch
import toy
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.env import seed_all_rng
from hypothesis import settings

from crnas_d2.checkpoint import StrictCheckpointer
from crnas_d2.data import register_coco_format
from crnas_d2.engine import Trainer

# The same examples in every run, however slow the machine.
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny networks are faster so, here and in the processes that a test starts."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard():
    """A shell that starts the tests in the background has them ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_before():
    """A handler that a job leaves behind would keep later processes from being stopped."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    after = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert after == before


@pytest.fixture(scope="session")
def toy_datasets(tmp_path_factory):
    """Overrides that train, search and test on the toy data, registered in this process too."""
    folder = tmp_path_factory.mktemp("toy")
    entries = [
        toy.make_dataset(folder, f"toy_{split}", num_images, seed)
        for seed, (split, num_images) in enumerate(toy.SPLITS.items())
    ]
    register_coco_format(entries)
    return {
        "DATASETS.COCO_FORMAT": entries,
        "DATASETS.TRAIN": ("toy_archtrain",),
        "DATASETS.ARCHVAL": ("toy_archval",),
        "DATASETS.TEST": (),
    }


@pytest.fixture(scope="session")
def masks(tmp_path_factory):
    """Overrides that train and test on four toy images whose objects have polygons."""
    entry = toy.make_dataset(tmp_path_factory.mktemp("masks"), "toy_masks", 4, seed=7)
    with open(entry[1]) as stream:
        content = json.load(stream)
    for annotation in content["annotations"]:
        annotation["segmentation"] = [toy.polygon(annotation["bbox"])]
    with open(entry[1], "w") as stream:
        json.dump(content, stream)
    register_coco_format([entry])
    return {"DATASETS.TRAIN": ("toy_masks",), "DATASETS.TEST": (), "DATASETS.ARCHVAL": ()}


@pytest.fixture
def registered():
    """Forgets, after the test, the datasets that it registered."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture(scope="session")
def trained(toy_datasets, tmp_path_factory):
    """A supernet that detects something, and its config with MODEL.WEIGHTS set."""
    seed_all_rng(0)
    folder = str(tmp_path_factory.mktemp("trained"))
    settings = {"SOLVER.MAX_ITER": 100, "SOLVER.IMS_PER_BATCH": 4, "OUTPUT_DIR": folder}
    cfg = toy.supernet_config(toy_datasets, settings)
    Trainer(cfg).train()
    cfg.MODEL.WEIGHTS = f"{cfg.OUTPUT_DIR}/model_final.pth"
    return cfg


@pytest.fixture
def trained_supernet(trained):
    model = Trainer.build_model(trained)
    StrictCheckpointer(model).load(trained.MODEL.WEIGHTS)
    return model.eval()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
