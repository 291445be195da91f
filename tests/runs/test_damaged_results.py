"""Files of runs and of correlate that hold something else: a sentence with the file, each time."""

import json
import re
import shutil

import pytest
import torch
import toy
import trained_toy

from crnas_d2.verbs.main import main

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture(scope="module")
def run(toy_datasets, tmp_path_factory):
    return trained_toy.train(tmp_path_factory.mktemp("damaged") / "run", toy_datasets)


@pytest.fixture
def refused(capsys):
    """The one sentence with which a verb ends."""

    def refused(*words):
        with pytest.raises(SystemExit) as stopped:
            main(list(map(str, words)))
        said = f"{stopped.value}{capsys.readouterr().err}"
        assert "Traceback" not in said, said
        return said

    return refused


METRICS = {
    "text iteration": ({"iteration": "x", "total_loss": 1.0}, "iteration is 'x'; expected a num"),
    "no iteration": ({"iteration": None, "total_loss": 1.0}, "iteration is None"),
    "text": ({"iteration": 1, "bbox/AP": "x"}, "bbox/AP is 'x'; expected a number"),
    "list": ({"iteration": 1, "bbox/AP": [1]}, r"bbox/AP is \[1\]"),
    "class": ({"iteration": 1, "bbox/AP-bright": "x"}, "bbox/AP-bright is 'x'"),
}


@pytest.mark.parametrize(("line", "words"), METRICS.values(), ids=METRICS)
def test_metrics_that_are_no_numbers(line, words, run, tmp_path, refused):
    copy = shutil.copytree(run, tmp_path / "run")
    with (copy / "metrics.json").open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    said = refused("compare", f"a={copy}", "--receptive-fields", 0, "--output", tmp_path / "a.html")
    assert "metrics.json, line " in said
    assert re.search(words, said), said


GOOD = {"image_id": 1, "category_id": 1, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}
WRONG = [None, 1, "x", {}, {**GOOD, "bbox": [1, 2]}, {**GOOD, "bbox": "abcd"}]
WRONG += [{**GOOD, "bbox": None}, {**GOOD, "bbox": [1, 2, "3", 4]}, {**GOOD, "image_id": [1]}]
WRONG += [{**GOOD, "score": value} for value in ("x", None, float("nan"), [1])]
WRONG += [{k: v for k, v in GOOD.items() if k != lacking} for lacking in GOOD]
FILES = [b"", b"[{", b"\xff\xfe", b"{}", b"null"]
FILES += [json.dumps([GOOD, each]).encode() for each in WRONG]


@pytest.mark.parametrize("content", FILES)
def test_detections_that_are_none(content, run, tmp_path, refused):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "inference" / "coco_instances_results.json").write_bytes(content)
    words = [f"a={copy}", f"b={run}", "--receptive-fields", 0, "--output", tmp_path / "a.html"]
    said = refused("compare", *words)
    assert "coco_instances_results.json" in said and "--eval-only" in said


RUN = {"genotype": {"DEPTHS": [1, 1, 1, 1]}, "seed": 1, "AP": 1.0, "AP50": 1.0}
RUN |= {"macs": 1, "params": 1}
RUNS = [1, None, {**RUN, "pretraining": "x"}, {**RUN, "pretraining": {}}]
RUNS += [{**RUN, "pretraining": {"metric": "a", "score": "x"}}]
RUNS += [{k: v for k, v in RUN.items() if k != lacking} for lacking in RUN if lacking != "AP50"]
RUNS += [{**RUN, key: "x"} for key in RUN if key != "AP50"]
RUNS += [{**RUN, key: None} for key in ("genotype", "seed", "macs", "params")]
RUNS += [{**RUN, "AP": [1]}, {**RUN, "AP": True}, {**RUN, "genotype": {"DEPTHS": "x"}}]
SCORE = {"genotype": {"DEPTHS": [1, 1, 1, 1]}, "fitness": 1.0}
SCORES = [1, {**SCORE, "genotype": None}, {"fitness": 1.0}, {"genotype": SCORE["genotype"]}]
SCORES += [{**SCORE, "fitness": value} for value in ("x", None, [1])]


@pytest.mark.parametrize(
    ("key", "entry"), [*(("runs", each) for each in RUNS), *(("scores", each) for each in SCORES)]
)
def test_results_of_correlate_that_are_none(key, entry, tmp_path, refused):
    good, other = tmp_path / "good.json", tmp_path / "other.json"
    good.write_text(json.dumps({"command": "", "runs": [RUN]}))
    other.write_text(json.dumps({"command": "", key: [entry]}))
    files = [other] if key == "runs" else [good, other]
    said = refused("correlate", "report", *files, "--output", tmp_path / "a.svg")
    assert "other.json" in said or "GENOTYPE.DEPTHS is 'x'" in said


@pytest.mark.parametrize("value", ["x", None, 1.5, [1]])
def test_a_checkpoint_without_a_number_of_steps_is_no_finished_run(value, run, tmp_path, refused):
    copy = shutil.copytree(run, tmp_path / "run")
    content = torch.load(copy / "model_final.pth", weights_only=True)
    torch.save({**content, "iteration": value}, copy / "model_final.pth")
    words = ["--receptive-fields", 0, "--output", tmp_path / "a.html"]
    assert "holds an unfinished training" in refused("compare", f"a={copy}", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{results}/below/a.json", "--runs", "{runs}"], "RESULTS.json is .*is not a folder"),
        (["{runs}.json", "--runs", "{results}/below"], "--runs is .*is not a folder"),
    ],
)
def test_results_that_cannot_be_written_are_known_before_the_first_training(
    words, said, tmp_path, refused
):
    (tmp_path / "file").touch()
    places = {"results": tmp_path / "file", "runs": tmp_path / "runs"}
    found = refused(
        *("correlate", "train", *(word.format(**places) for word in words)),
        *("--config-file", toy.SEARCHED, "--networks", "CR-NAS/CR-R50"),
    )
    assert re.search(said, found), found
