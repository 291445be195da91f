"""A full disk: every verb that writes names it, leaves no half file, and runs when there is space.

Files that end with their final name are whole, and the same command is run again as it is.
"""

import contextlib
import json
import logging
import os

import pytest
import toy
import trained_toy

from crnas_d2.verbs.main import main

SEARCH = toy.as_arguments(toy.TINY, toy.STAGE_SPACE)


@pytest.fixture(scope="module")
def run(toy_datasets, tmp_path_factory):
    return trained_toy.train(tmp_path_factory.mktemp("full") / "run", toy_datasets)


@pytest.fixture(autouse=True)
def own_logs():
    """Closes the logs of a job, which in a process of its own would end with it."""
    yield
    for name in ("detectron2", "fvcore", "crnas_d2", None):
        logging.getLogger(name).handlers.clear()


@pytest.fixture
def commands(run, trained, toy_datasets, tmp_path):
    """The words of each verb before its output."""
    entries = {entry[0]: entry for entry in toy_datasets["DATASETS.COCO_FORMAT"]}
    _, annotations, images = entries["toy_archtrain"]
    results = tmp_path / "results.json"
    depths = [[1, 1, 1, 1], [1, 1, 2, 4], [2, 2, 2, 2], [3, 4, 6, 3]]
    network = {"seed": 1, "AP50": 1.0, "params": 1000}
    listed = [
        {"genotype": {"DEPTHS": each}, "AP": 10.0 * n, "macs": n + 1, **network}
        for n, each in enumerate(depths)
    ]
    results.write_text(json.dumps({"command": "", "runs": listed}))
    own = toy.as_arguments(toy_datasets, {"MODEL.WEIGHTS": trained.MODEL.WEIGHTS})
    short = toy.as_arguments(toy_datasets, {**toy.TINY, "SOLVER.MAX_ITER": 1})
    return {
        "sketch.png": ["sketch", "CR-NAS/CR-R50", "--output", "{}"],
        "sketch.svg": ["sketch", "CR-NAS/CR-R50", "--output", "{}"],
        "field.png": ["receptive-field", str(run), "--num-images", "1", "--output", "{}"],
        "field.html": ["receptive-field", str(run), "--num-images", "1", "--output", "{}"],
        "compare.html": ["compare", f"a={run}", "--receptive-fields", "1", "--output", "{}"],
        "correlate.html": ["correlate", "report", str(results), "--output", "{}"],
        "correlate.svg": ["correlate", "report", str(results), "--output", "{}"],
        "sample": ["sample", "--number", "4", "--output", "{}", "--config-file"]
        + [str(toy.SUPERNET), *SEARCH],
        "predict": ["predict", images, "--run", str(run), "--score-threshold", "0"]
        + ["--output", "{}"],
        "export": ["export", "--run", str(run), "--output", "{}"],
        "prepare-archval": ["prepare-archval", "--json", annotations, "--archval", "2"]
        + ["--output", "{}"],
        "prepare": ["prepare", "mine", "--coco", annotations, images, "--archval", "2"]
        + ["--output", "{}"],
        "train": ["train", "--config-file", str(toy.SEARCHED), *short, "OUTPUT_DIR", "{}"],
        "search": ["search", "--num-workers", "1", "--config-file", str(toy.SUPERNET), *SEARCH]
        + [*own, "OUTPUT_DIR", "{}"],
    }


def fill(disk, free):
    """Leaves a few bytes of a disk."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"." * 4096)
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - free)


def readable(file):
    """Whether the end of a file is there, for those whose end can be told."""
    content = file.read_bytes()
    ends = {".html": b"</html>", ".svg": b"</svg>", ".png": b"IEND\xaeB`\x82"}
    if file.suffix == ".json" and file.name != "metrics.json":
        json.loads(content)
    return ends.get(file.suffix, b"") in content[-100:] or file.suffix not in ends


NAMES = ["sketch.png", "sketch.svg", "field.png", "field.html", "compare.html", "correlate.html"]
NAMES += ["correlate.svg", "sample", "predict", "export", "prepare-archval", "prepare"]


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("free", [0, 4096])
@pytest.mark.parametrize("name", [*NAMES, "train", "search"])
def test_a_full_disk_is_a_sentence_and_afterwards_the_command_runs(
    name, free, commands, small_disk, capsys
):
    output = small_disk / "below" / name
    output.parent.mkdir()
    command = [word.replace("{}", str(output)) for word in commands[name]]
    fill(small_disk, free)
    with pytest.raises(SystemExit) as stopped:
        main(command)
    said = f"{stopped.value} {capsys.readouterr().err}"
    assert "No space left on device" in said and "Traceback" not in said
    assert not any(".partial" in file.name for file in output.parent.rglob("*"))
    left = [file for file in output.parent.rglob("*") if file.is_file()]
    assert all(readable(file) for file in left)
    if name in NAMES[:10]:
        assert not left
    (small_disk / "filler").unlink()
    main(command)
    assert output.exists() and all(readable(f) for f in output.parent.rglob("*") if f.is_file())
