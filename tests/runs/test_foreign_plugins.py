"""Verbs that only read runs import no module that a run names, unless the user asks for it."""

import json
import os
import subprocess
import sys

import pytest
import toy
import trained_toy
import yaml

from crnas_d2.runs.training import finished_trainings
from crnas_d2.verbs.main import main

NAME = "module_of_a_run"  # which only leaves a mark


@pytest.fixture(scope="module")
def finished(toy_datasets, tmp_path_factory):
    return trained_toy.train(tmp_path_factory.mktemp("foreign") / "run", toy_datasets)


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A run whose config names a module beside it, which writes a file when it is imported."""
    folder = tmp_path / "run"
    folder.mkdir()
    for file in ("model_final.pth", "metrics.json", "last_checkpoint"):
        (folder / file).symlink_to(finished / file)
    config = yaml.safe_load((finished / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "PLUGINS": [NAME]}))
    (folder / f"{NAME}.py").write_text("from pathlib import Path\nPath(__file__ + '.ran').touch()")
    monkeypatch.syspath_prepend(str(folder))  # even if it can be found
    yield folder
    sys.modules.pop(NAME, None)


@pytest.fixture
def export(finished, tmp_path):
    """An exported folder whose record names the module."""
    folder = tmp_path / "exported"
    main(["export", "--run", str(finished), "--output", str(folder)])
    record = json.loads((folder / "provenance.json").read_text())
    record["crnas_d2"] = {"PLUGINS": f"['{NAME}']"}
    (folder / "provenance.json").write_text(json.dumps(record))
    return folder


VERBS = {
    "predict": ["predict", "{images}", "--run", "{run}", "--no-pictures", "--output", "{out}"],
    "predict a config": ["predict", "{images}", "--config-file", "{run}/config.yaml"]
    + ["--no-pictures", "--output", "{out}", "--opts", "MODEL.WEIGHTS", "{run}/model_final.pth"],
    "predict an export": ["predict", "{images}", "--run", "{exported}", "--no-pictures"]
    + ["--output", "{out}"],
    "export": ["export", "--run", "{run}", "--output", "{out}"],
    "baseline": ["export", "--run", "{finished}", "--baseline", "{run}", "--output", "{out}"],
    "compare": ["compare", "a={run}", "--receptive-fields", "0", "--output", "{out}.html"],
    "compare a search": ["compare", "a={finished}", "--search", "{run}", "--receptive-fields", "0"]
    + ["--output", "{out}.html"],
    "sketch": ["sketch", "{run}", "--output", "{out}.svg"],
    "sketch a config": ["sketch", "{run}/config.yaml", "--output", "{out}.svg"],
    "receptive-field": ["receptive-field", "{run}", "--num-images", "1", "--output", "{out}.svg"],
    "analyze": ["analyze", "--config-file", "{run}/config.yaml"],
}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("verb", VERBS)
def test_a_module_of_a_run_is_asked_for(verb, run, export, finished, toy_datasets, tmp_path):
    images = toy_datasets["DATASETS.COCO_FORMAT"][-1][2]
    places = {"run": run, "exported": export, "finished": finished, "images": images}
    words = [word.format(out=tmp_path / "out", **places) for word in VERBS[verb]]
    with pytest.raises(
        SystemExit, match=rf"names PLUGINS .*{NAME}.* trust it, add --plugins {NAME}"
    ):
        main(words)
    assert not (run / f"{NAME}.py.ran").exists() and NAME not in sys.modules
    asked = [words[0], "--plugins", NAME, *words[1:]]
    if verb == "compare a search":  # the run is none
        with pytest.raises(SystemExit, match="holds no search"):
            main(["compare", *words[1:], "--plugins", NAME])
    elif "--" in words[1] or verb == "analyze":
        main(asked)
    else:
        main([words[0], words[1], "--plugins", NAME, *words[2:]])
    assert (run / f"{NAME}.py.ran").exists()


def test_finished_trainings_of_others_are_left_out(run, tmp_path):
    assert not finished_trainings([run]) and NAME not in sys.modules


def test_python_m_does_not_look_into_the_working_directory(run):
    environment = {**os.environ, "PYTHONPATH": str(toy.ROOT)}
    command = [sys.executable, "-m", "crnas_d2", "sketch", ".", "--output", "out.svg"]
    found = subprocess.run(
        [*command, "--plugins", NAME], cwd=run, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 1 and f"'{NAME}', which cannot be imported" in found.stderr
    assert not (run / f"{NAME}.py.ran").exists()
