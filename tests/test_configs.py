"""Every shipped config builds its model, for a user who did nothing but ``import crnas_d2``."""

import subprocess
import sys

import toy
import yaml

BASE = toy.ROOT / "configs" / "Base-RCNN-FPN.yaml"
BUILD = """
import sys
from detectron2.config import get_cfg
from detectron2.modeling import build_model
import crnas_d2

for files in sys.argv[1:]:
    cfg = get_cfg()
    crnas_d2.add_crnas_config(cfg)
    for file in files.split(","):
        cfg.merge_from_file(file)
    cfg.MODEL.DEVICE = "cpu"
    try:
        build_model(cfg)
    except Exception as error:
        print(files, type(error).__name__, error)
"""


def is_genotype(file):
    """A fragment like the output of a search: it builds a network on top of another config."""
    config = yaml.safe_load(file.read_text())
    return set(config) == {"MODEL"} and set(config["MODEL"]) <= {"SUPERNET", "GENOTYPE"}


def test_every_shipped_config_builds_its_model():
    folders = [toy.ROOT / "configs", toy.ROOT / "projects"]
    shipped = sorted(file for folder in folders for file in folder.rglob("*.yaml"))
    assert len(shipped) >= 3
    arguments = [f"{BASE},{file}" if is_genotype(file) else str(file) for file in shipped]
    command = [sys.executable, "-W", "ignore", "-c", BUILD, *arguments]
    run = subprocess.run(command, cwd=toy.ROOT, capture_output=True, text=True)
    assert (run.stdout, run.returncode) == ("", 0), run.stdout + run.stderr
