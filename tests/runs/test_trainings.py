"""Networks trained by themselves: what makes two trainings the same, and results of two stages."""

import json
import re
from pathlib import Path

import pytest
import toy

from crnas_d2.checkpoint import write_weights
from crnas_d2.common.errors import JobError
from crnas_d2.config import load_config
from crnas_d2.runs.results import add_entry
from crnas_d2.runs.training import Training, common_settings, config_digest, finished_trainings
from crnas_d2.runs.trainings import check_trainings, train_all
from crnas_d2.space import Genotype
from crnas_d2.verbs.main import main

NETWORK = Genotype((1, 1, 2, 2))


def finish(run, metrics):
    """Leaves what a finished training would; its folder."""
    cfg = run.config()
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(cfg.dump())
    content = {"model": {}, "iteration": cfg.SOLVER.MAX_ITER - 1, "of": folder.name}
    write_weights(content, folder / "model_final.pth")
    entry = {"iteration": cfg.SOLVER.MAX_ITER, **metrics}
    (folder / "metrics.json").write_text(json.dumps(entry) + "\n")
    return folder


@pytest.fixture
def make(toy_datasets, tmp_path):
    """Makes a run of a toy detector, pretrained as a classifier if asked for."""
    folders = [["correlate_crops", str(tmp_path / "crops")]]
    tests = {"DATASETS.TEST": toy_datasets["DATASETS.ARCHVAL"]}
    options = tuple(toy.as_arguments(toy.TINY, toy_datasets, tests))
    classes = {
        **toy.TINY_CLASSIFIER,
        "DATASETS.IMAGE_FOLDERS": folders,
        **{f"DATASETS.{key}": ("correlate_crops",) for key in ("TRAIN", "TEST")},
        "DATASETS.ARCHVAL": (),
        "SOLVER.IMS_PER_BATCH": 6,
    }
    pretrain = tuple(toy.as_arguments(toy.TINY, classes))

    def make(genotype=NETWORK, seed=1, *, pretrained=False, root=tmp_path / "runs", **keywords):
        before = None
        if pretrained:
            if not (tmp_path / "crops").exists():
                toy.make_image_folder(tmp_path / "crops", per_class=2, seed=0)
            before = Training(genotype, seed, str(toy.PRETRAIN), pretrain, root)
        arguments = (genotype, seed, str(toy.SEARCHED), options, root)
        return Training(*arguments, pretraining=before, **keywords)

    make.options, make.pretrain = options, pretrain
    return make


def test_a_network_is_one_training_however_a_config_names_it(make, tmp_path):
    fragment = tmp_path / "genotype.yaml"
    NETWORK.to_yaml(fragment, family="resnet")
    written = tmp_path / "network.yaml"
    written.write_text(f'_BASE_: ["{toy.SEARCHED}", "genotype.yaml"]\nSEED: 1\n')
    expected = config_digest(make().config())
    named = load_config(str(written), make.options)
    assert named.MODEL.GENOTYPE.FAMILY == "resnet"
    assert config_digest(named) == expected
    assert config_digest(make(Genotype((1, 1, 2, 2), ops=(0,) * 6)).config()) == expected
    named.DATASETS.ARCHVAL = ("another",)
    assert config_digest(named) == expected
    named.SOLVER.BASE_LR *= 2
    assert config_digest(named) != expected
    # The one network of a supernet's config, which searches read otherwise.
    space = tuple(toy.as_arguments({"MODEL.SUPERNET.SPACE": "stage"}, toy.STAGE_SPACE))
    whole = Training(NETWORK, 1, str(toy.SEARCHED), (*make.options, *space), tmp_path / "runs")
    assert config_digest(whole.config()) == expected


def test_a_finished_training_elsewhere_is_taken(make, tmp_path):
    folder = finish(make(root=tmp_path / "earlier"), {"bbox/AP": 30.0, "bbox/AP50": 50.0})
    folder.rename(folder.with_name("my-network"))
    (tmp_path / "earlier" / "broken").mkdir()
    (tmp_path / "earlier" / "broken" / "model_final.pth").touch()
    elsewhere = finished_trainings([tmp_path / "earlier"])
    assert [path.name for path in elsewhere.values()] == ["my-network"]
    assert make(elsewhere=elsewhere).result()["AP"] == 30.0
    assert make().result() is None
    # One that was not evaluated is left alone: this network gets a folder of its own.
    (folder.with_name("my-network") / "metrics.json").unlink()
    own = make(elsewhere=elsewhere)
    assert own.result() is None and Path(own.config().OUTPUT_DIR).parent == own.root
    assert make(seed=2, elsewhere=elsewhere).result() is None
    with pytest.raises(ValueError, match=r"nowhere, in which trainings are .* no folder"):
        finished_trainings([tmp_path / "nowhere"])


def test_the_result_has_both_stages(make):
    run = make(pretrained=True)
    assert run.result() is None
    finish(run.pretraining, {"classification/top1": 40.0, "classification/top5": 90.0})
    assert run.result() is None
    weights = Path(run.pretraining.config().OUTPUT_DIR) / "model_final.pth"
    assert Path(run.config().MODEL.WEIGHTS) == weights
    finish(run, {"bbox/AP": 20.0, "bbox/AP50": 35.0})
    result = run.result()
    assert (result["AP"], result["AP50"]) == (20.0, 35.0)
    before = result["pretraining"]
    assert (before["metric"], before["score"]) == ("classification/top1", 40.0)
    assert result["config_digest"] != before["config_digest"]
    # Other weights make it another training.
    write_weights({"model": {}, "of": "another pretraining"}, weights)
    assert run.result() is None


def test_an_evaluation_in_the_middle_of_a_training_is_no_result(make):
    run = make()
    log = finish(run, {"bbox/AP": 50.0, "bbox/AP50": 70.0}) / "metrics.json"
    last, middle = log.read_text(), {"iteration": 0, "total_loss": 1.0, "bbox/AP": 40.0}
    log.write_text(json.dumps(middle) + "\n")
    assert run.result() is None
    log.write_text(log.read_text() + last)
    assert run.result()["AP"] == 50.0


def test_a_score_that_is_not_finite_is_none(make, tmp_path):
    run = make()
    finish(run, {"bbox/AP": float("nan"), "bbox/AP50": float("nan")})
    result = run.result()
    assert result["AP"] is None
    for _ in range(2):
        add_entry(tmp_path / "r.json", "runs", result, "command")
    assert len(json.loads((tmp_path / "r.json").read_text())["runs"]) == 1


def correlate(make, results, *arguments, opts=()):
    pairs = (zip(words[::2], words[1::2], strict=True) for words in (make.options, opts))
    options = toy.as_list(*map(dict, pairs))  # a key once
    runs = ("--runs", results.parent / "runs", "--opts", *options)
    command = ["correlate", "train", results, "--config-file", toy.SEARCHED, *arguments, *runs]
    main([str(argument) for argument in command])


def test_the_command_takes_results_that_are_there(make, tmp_path, capsys):
    results, listed = tmp_path / "results.json", tmp_path / "networks.yaml"
    listed.write_text("- {DEPTHS: [1, 1, 2, 2]}\n")
    run = make(pretrained=True, root=tmp_path / "earlier")
    finish(run.pretraining, {"classification/top1": 40.0})
    finish(run, {"bbox/AP": 20.0, "bbox/AP50": 35.0})
    finish(make(root=tmp_path / "earlier"), {"bbox/AP": 10.0, "bbox/AP50": 15.0})
    stages = ("--pretrain-config", toy.PRETRAIN, "--pretrain-opts", *make.pretrain)
    named = ("--genotypes", listed, "--reuse", tmp_path / "earlier")
    correlate(make, results, *named, *stages)
    printed = capsys.readouterr().out
    assert "depths=[1, 1, 2, 2] seed 1: bbox/AP 20.00, after classification/top1 40.0" in printed
    content = json.loads(results.read_text())
    assert "correlate.py train" in content["command"]
    assert content["runs"] == [json.loads(json.dumps(run.result()))]
    assert content["settings"]["pretraining: MODEL.META_ARCHITECTURE"] == "ImageClassifier"
    # Without pretraining it is another setup.
    with pytest.raises(SystemExit, match=r"with another setup.*pretraining: .* now not set"):
        correlate(make, results, *named)
    assert json.loads(results.read_text()) == content
    correlate(make, tmp_path / "plain.json", *named)
    assert json.loads((tmp_path / "plain.json").read_text())["runs"][0]["AP"] == 10.0
    with pytest.raises(SystemExit, match=r"setup.*SOLVER\.BASE_LR 0\.04, now 0\.5\. Use that"):
        correlate(make, tmp_path / "plain.json", *named, opts=("SOLVER.BASE_LR", 0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to train: give --networks, --genotypes, --space"),
        (["--networks", "DetNAS/ShuffleNetV2-20"], "family 'shufflenetv2'.* is 'resnet'"),
        (["--networks", "CR-NAS/CR-R49"], "No published genotype is named"),
        (["--space", toy.SEARCHED], "SPACE is 'none'.*nothing to sample from"),
        (["--space", toy.SUPERNET, "--number", 0], "--number: 0 is not a positive number"),
        (["--num-workers", 0], "--num-workers: 0 is not a positive"),
        (["--networks", "CR-NAS/CR-R50", "--pretrain-opts", "SEED", 1], "which is not given"),
        (["--networks", "CR-NAS/CR-R50", "--reuse", "nowhere"], "nowhere, in which trainings"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(make, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        correlate(make, tmp_path / "results.json", *arguments)
    assert re.search(message, f"{stopped.value} {capsys.readouterr().err}")
    assert not (tmp_path / "runs").exists() and not (tmp_path / "results.json").exists()


def test_all_networks_must_fit_the_config_and_be_tested(make, tmp_path):
    with pytest.raises(ValueError, match=r"DEPTHS"):
        check_trainings([make(), make(Genotype((1, 2)))], tmp_path / "results.json")
    options = (*make.options, "DATASETS.TEST", "()")
    untested = Training(NETWORK, 1, str(toy.SEARCHED), options, tmp_path)
    with pytest.raises(ValueError, match=r"DATASETS\.TEST of .*Base-letters\.yaml is \(\)"):
        check_trainings([untested], tmp_path / "results.json")


def test_a_file_of_an_earlier_version_or_of_something_else(make, tmp_path):
    file = tmp_path / "results.json"
    file.write_text('{"command": "", "runs": []}')
    check_trainings([make()], file)
    add_entry(file, "runs", {"genotype": {}}, "", common_settings(make()))
    assert "settings" not in json.loads(file.read_text())  # unknown for those that were there
    file.write_text("not JSON")
    with pytest.raises(ValueError, match="It is no file of results: choose another name"):
        check_trainings([make()], file)


@pytest.mark.slow
def test_two_stages_are_trained_resumed_and_outlive_a_failure(make, tmp_path):
    runs = [make(each, pretrained=True) for each in (NETWORK, Genotype((1, 1, 1, 1)))]
    # A file where the second network's folder would be: its training fails.
    blocked = Path(runs[1].pretraining.config().OUTPUT_DIR)
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    results, settings = tmp_path / "results.json", common_settings(runs[0])
    with pytest.raises(JobError, match=r"The training of .* failed"):
        list(train_all([runs[1], runs[0]], results, "command", 1, settings))
    [kept] = json.loads(results.read_text())["runs"]
    assert kept["genotype"] == NETWORK.to_config() and kept["pretraining"]["score"] >= 0
    blocked.unlink()
    assert len(list(train_all(runs, results, "command", 1, settings))) == 2
    log = (Path(runs[0].config().OUTPUT_DIR) / "log.txt").read_text()
    assert "classification" not in log  # each stage has a log of its own
