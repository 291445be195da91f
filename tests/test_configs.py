"""Every shipped config builds its model, for a user who did nothing but ``import crnas_d2``."""

import subprocess
import sys

import toy
from detectron2.config import CfgNode
from project_toy import after_searches

# On the meta device, without memory or random weights; configs that differ in their data and
# their schedule alone have one model.
BUILD = """
import sys
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
import crnas_d2

# Half of the time would go into random numbers that the meta device does not keep.
torch.Tensor.normal_ = lambda tensor, *_, **__: tensor
built = set()
for files in sys.argv[1:]:
    try:
        cfg = get_cfg()
        crnas_d2.add_crnas_config(cfg)
        for file in files.split(","):
            cfg.merge_from_file(file)
        cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = "", "meta"
        model = cfg.MODEL.dump()
        if model not in built:
            with torch.device("meta"):
                build_model(cfg)
            built.add(model)
    except Exception as error:
        print(files, type(error).__name__, error)
"""


def is_fragment(file):
    """Names no builder: as the output of a search, it belongs on top of another config."""
    config = CfgNode.load_yaml_with_base(str(file))
    return "NAME" not in config.get("MODEL", {}).get("BACKBONE", {})


def test_every_shipped_config_builds_its_model(tmp_path):
    root = after_searches(tmp_path)
    folders = [root / "configs", root / "projects"]
    shipped = sorted(file for folder in folders for file in folder.rglob("*.yaml"))
    assert len(shipped) >= 200
    base = root / "configs" / "Base-RCNN-FPN.yaml"
    # An FPN of this base needs stages of different strides; the configs that inherit DetNet-59 have
    # necks for it.
    shipped.remove(root / "projects" / "DetNAS" / "configs" / "network" / "DetNet-59.yaml")
    arguments = [f"{base},{file}" if is_fragment(file) else str(file) for file in shipped]
    command = [sys.executable, "-W", "ignore", "-c", BUILD, *arguments]
    run = subprocess.run(command, cwd=toy.ROOT, capture_output=True, text=True)
    assert (run.stdout, run.returncode) == ("", 0), run.stdout + run.stderr
