"""From a wheel and a folder of images to a searched network, with no clone at hand.

Needs the package index, for Detectron2.
"""

import json
import os
import re
import shlex
import subprocess
import sysconfig
import tarfile
import venv
from pathlib import Path

import packages
import pytest
import toy
from scripts import metrics

pytestmark = pytest.mark.slow

# Loads every config of a folder, and every shipped one by its name.
LOAD = """
import sys
from pathlib import Path
import crnas_d2
from crnas_d2.config import load_config, shipped_root

root = shipped_root()
assert Path(sys.prefix) in root.parents, root
files = [f for f in root.rglob("*.yaml") if "genotypes" not in f.parts]
names = [f"crnas_d2://{file.relative_to(root).as_posix()}" for file in files]
for name in [*names, *map(str, Path(sys.argv[1]).glob("*.yaml"))]:
    try:
        load_config(name, [])
    except ValueError as error:
        if "A search leaves it in its OUTPUT_DIR" not in str(error):
            raise
print(len(names), crnas_d2.genotype_file("CR-NAS/CR-R50"))
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """Runs a command in a clean environment that has Detectron2 and the wheel of the sdist.

    torch and all else come from the environment of the tests, by a .pth file: as if they had been
    installed before, without 6 GB of downloads. Editable installs do not come along, because
    Python reads no .pth file of a folder that a .pth file names.
    """
    folder = tmp_path_factory.mktemp("installed")
    sources = packages.copy_sources(folder / "clone")
    with tarfile.open(packages.build("sdist", sources)) as archive:
        archive.extractall(folder, filter="data")
    [unpacked] = folder.glob("crnas_d2-*")
    wheel = packages.build("wheel", unpacked)

    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    home = folder / "home"
    home.mkdir()
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONWARNINGS": "ignore",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }

    def run(*command, fails=False):
        finished = subprocess.run(
            list(map(str, command)), cwd=home, env=environment, capture_output=True, text=True
        )
        printed = finished.stdout + finished.stderr
        assert (finished.returncode != 0) == fails, f"{shlex.join(map(str, command))}\n{printed}"
        return printed

    run("pip", "install", "--no-index", "--no-deps", wheel)
    run.home = home
    run.venv = folder / "venv"
    run.without = run("crnas-d2", "train", fails=True)
    run.installed = run("crnas-d2", "install-detectron2", "--no-deps")
    [site] = (folder / "venv").glob("lib/python*/site-packages")
    (site / "tests.pth").write_text(sysconfig.get_path("purelib"))
    return run


def test_the_command_installs_detectron2_once(user):
    assert user.without == (
        "crnas-d2: Detectron2 is not installed: run crnas-d2 install-detectron2.\n"
    )
    assert ": installed\nIt needs torch to run: pip install" in user.installed
    [licence] = user.venv.glob("lib/python*/site-packages/detectron2-*.dist-info/LICENSE")
    assert "Apache License" in licence.read_text()
    assert "importable, left alone" in user("crnas-d2", "install-detectron2")


def test_a_wheel_is_enough(user):
    home = user.home
    _, annotations, images = toy.make_dataset(home, "cells", 20, seed=1)

    def verb(*words):
        return user("crnas-d2", *words)

    prepared = verb("prepare", "cells", "--coco", annotations, images, "--output", "data")
    commands = re.findall("^ +(.*--config-file.*)", prepared, re.MULTILINE)
    assert commands and all(command.startswith("crnas-d2 ") for command in commands), prepared
    loaded = user("python", "-c", LOAD, home / "data")
    assert int(loaded.split()[0]) >= 200
    assert loaded.split()[1].startswith(str(user.venv))

    tiny = toy.as_arguments(toy.TINY)
    split = ["DATASETS.TRAIN", '("cells_archtrain",)', "DATASETS.ARCHVAL", '("cells_archval",)']
    space = [*toy.as_arguments(toy.STAGE_SPACE), *split, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    supernet, searched = home / "supernet.yaml", home / "searched.yaml"
    letters = "crnas_d2://configs/letters"
    supernet.write_text(f'_BASE_: ["{letters}/supernet-stage.yaml", "data/data.yaml"]\n')
    searched.write_text(
        f'_BASE_: ["{letters}/Base-letters.yaml", "data/data.yaml", "search/genotype.yaml"]\n'
    )
    verb("train", "--config-file", supernet, *tiny, *space, "OUTPUT_DIR", "supernet")
    found = verb(
        *("search", "--config-file", supernet, "--num-workers", "2", *tiny, *space),
        *("MODEL.WEIGHTS", "supernet/model_final.pth", "OUTPUT_DIR", "search"),
    )
    both = ["DATASETS.TRAIN", '("cells_archtrain", "cells_archval")']
    test = ["DATASETS.TEST", '("cells_test",)', "OUTPUT_DIR", "searched"]
    trained = verb("train", "--config-file", searched, *tiny, *both, *test)
    report = ("--search", "search", "--output", "report.html")
    compared = verb("compare", "searched=searched", *report)
    analyzed = verb("analyze", "--config-file", searched, *tiny)
    silent = ("--score-threshold", "0", "--no-pictures")
    verb("predict", images, "--run", "searched", "--output", "predictions", *silent)
    verb("export", "--run", "searched", "--output", "exported")
    verb("sketch", "found=search", "CR-NAS/CR-R18", "--output", "sketch.svg")

    assert "Best: " in found and "bbox" in trained
    assert any("bbox/AP" in line for line in metrics(home / "searched"))
    assert "Report: report.html" in compared and "receptive field" in analyzed
    assert json.loads((home / "predictions" / "predictions.json").read_text())
    for file in ("search/report.html", "report.html", "exported/model.pth", "sketch.svg"):
        assert (home / file).stat().st_size > 0, file


def test_a_mistake_is_one_line_that_names_the_verb(user):
    printed = user("crnas-d2", "train", "--config-file", "crnas_d2://configs/none", fails=True)
    assert printed.startswith("crnas-d2 train: No config is named") and printed.count("\n") == 1
    module = user("python", "-m", "crnas_d2", "serach", fails=True)
    assert module.startswith("crnas-d2: 'serach' is no verb.")
    assert Path(user("which", "crnas-d2").strip()).is_file()
