"""What ``crnas-d2 plan`` says of configs, against the papers and against real steps."""

import json

import pytest
import torch
import toy
from detectron2.data import DatasetCatalog
from detectron2.utils.events import EventStorage

from crnas_d2.config import load_config
from crnas_d2.data import DatasetSizes
from crnas_d2.engine import Trainer
from crnas_d2.engine.counted_speed import CountedNetwork, random_batch
from crnas_d2.engine.estimate import search_work, training_work
from crnas_d2.verbs.main import main
from crnas_d2.verbs.plan.planner import Planner, given_pace, is_search, macs_pace
from crnas_d2.verbs.plan.table import cells, total

PROJECTS = toy.ROOT / "projects"
LETTERS = toy.ROOT / "configs" / "letters"
CPU = ["MODEL.DEVICE", "cpu"]
ONE_SECOND = given_pace(1.0)


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """A working directory without results, whose datasets are those of a machine without any."""
    monkeypatch.chdir(tmp_path)


def project(name, *overrides):
    return load_config(str(PROJECTS / name), [*CPU, *overrides], skipped=[])


def plan(file, *overrides, pace=ONE_SECOND, **settings):
    searches = settings.pop("searches", False)
    planner = Planner(pace, DatasetSizes(), **settings)
    return planner.plan(str(file), [*CPU, *overrides], searches=searches)


@pytest.mark.parametrize(
    ("name", "candidates", "passes"),
    [
        # 153 allocations; 5,000 images of archval and 200 of the calibration.
        ("CR-NAS/configs/search/stage-R50.yaml", 153, 795_600),
        # 129 prefixes with the statistics of the mini-batch, and 9 whole networks.
        ("CR-NAS/configs/search/operation-R50.yaml", 138, 691_800),
        # 20 generations of 50; 4,000 images of the calibration. Without the costs of the limit,
        # which do not change the number.
        ("DetNAS/configs/search/P-FPN-COCO.yaml", 1_000, 9_000_000),
    ],
)
def test_the_searches_of_the_papers_pass_as_many_images_as_they_say(name, candidates, passes):
    cfg = project(name, "SEARCH.BUDGET.MACS", "[]")
    archval = DatasetSizes().count(cfg, "ARCHVAL")
    found = search_work(cfg, archval)
    assert (archval, found.candidates, found.passes) == (5_000, candidates, passes)


def test_nats_takes_the_steps_of_both_halves():
    found = training_work(project("NATS/configs/search/R50-G16.yaml"))
    assert found.steps == 258_697 + 155_218
    assert found.trained == 8 * found.steps
    assert "258,697 iterations of 8 images, 155,218 of them" in str(found)


def test_sizes_are_given_or_counted_or_published(toy_datasets, no_data):
    cfg = toy.supernet_config(toy_datasets)
    assert DatasetSizes().count(cfg, "ARCHVAL") == len(DatasetCatalog.get("toy_archval"))
    assert DatasetSizes({"toy_archval": 70}).count(cfg, "ARCHVAL") == 70
    cfg.DATASETS.TEST = ("voc_2007_test", "coco_2017_val")
    assert DatasetSizes().count(cfg, "TEST") == 4_952 + 5_000
    cfg.DATASETS.TEST = ("birds",)
    with pytest.raises(ValueError, match=r"^DATASETS\.TEST names 'birds', .*--images birds=NUMB"):
        DatasetSizes().count(cfg, "TEST")


def test_a_search_is_told_from_the_training_of_its_supernet():
    def found(name):
        file = PROJECTS / name if "/" in name else LETTERS / name
        return is_search(str(file), load_config(str(file), CPU))

    assert found("CR-NAS/configs/search/stage-R50.yaml")
    assert found("DetNAS/configs/search/ClsNASNet.yaml")
    assert found("entropy-shufflenetv2.yaml")
    for name in ("CR-NAS/configs/supernet/stage-R50", "DetNAS/configs/supernet/S-FPN-COCO"):
        assert not found(f"{name}.yaml"), name
    assert not found("NATS/configs/search/R50-G16.yaml")  # whose training is the search
    assert not found("supernet-stage.yaml")


def test_a_detector_is_counted_as_the_paper_counts_it(no_data):
    file = PROJECTS / "CR-NAS/configs/baseline/faster_rcnn_R50_FPN_1x.yaml"
    found = plan(file, pace=macs_pace(5e12))
    cfg = load_config(str(file), CPU)
    assert found.macs.counted == sum(toy.detector_macs(cfg).values())
    # 512 regions in training and 1,000 in inference are less than the paper's 2,000.
    per_region = (found.macs.inference - found.macs.training) / (1000 - 512)
    assert found.macs.counted == pytest.approx(found.macs.training + 1488 * per_region)
    images = 96_108 * 16
    seconds = (3 * images * found.macs.training + 5_000 * found.macs.inference) / 5e12
    assert found.estimate.seconds == pytest.approx(seconds)
    assert (found.verb, found.num_processes, found.notes) == ("train", 8, ())


def test_fewer_gpus_take_the_images_in_more_steps(no_data):
    file = PROJECTS / "CR-NAS/configs/baseline/faster_rcnn_R18_FPN_1x.yaml"
    eight, two = plan(file), plan(file, num_processes=2)
    assert two.estimate.work.steps == 4 * eight.estimate.work.steps
    assert two.estimate.work.trained == eight.estimate.work.trained
    assert two.gpu_hours == pytest.approx(eight.gpu_hours)
    assert two.estimate.memory == eight.estimate.memory  # as many images per GPU


def test_a_network_that_no_search_has_found_yet_is_planned_as_its_base(no_data):
    folder = PROJECTS / "NATS/configs"
    found = plan(folder / "searched/faster_rcnn_R50-G16_FPN_1x.yaml")
    base = plan(folder / "baseline/faster_rcnn_R50_FPN_1x.yaml")
    assert (found.estimate, found.macs) == (base.estimate, base.macs)
    [note] = found.notes
    assert "search/R50-G16/genotype.yaml is not there yet" in note


def test_a_supernet_counts_the_mean_path_and_a_search_its_candidates():
    file = LETTERS / "supernet-stage.yaml"
    options = toy.as_arguments(toy.TINY, toy.STAGE_SPACE)
    trained = plan(file, *options)
    searched = plan(file, *options, searches=True)
    networks = [
        sum(
            toy.detector_macs(
                toy.network_config({"MODEL.GENOTYPE.DEPTHS": depths}), (toy.SIZE, toy.SIZE)
            ).values()
        )
        for depths in toy.ELIGIBLE
    ]
    assert searched.macs.counted == pytest.approx(sum(networks) / len(networks))
    # Two options of each choice, so the mean of all paths is that of the extremes.
    ends = [toy.network_config({"MODEL.GENOTYPE.DEPTHS": d}) for d in ((1, 1, 2, 2), (2, 2, 3, 3))]
    means = [sum(toy.detector_macs(cfg, (toy.SIZE, toy.SIZE)).values()) for cfg in ends]
    assert trained.macs.counted == pytest.approx(sum(means) / 2)


def test_the_total_adds_up(no_data):
    plans = [plan(LETTERS / f"{name}.yaml") for name in ("baseline", "finetune")]
    last = dict(zip(("hours", "steps"), (total(plans)[5], total(plans)[3]), strict=True))
    steps = sum(p.estimate.work.steps for p in plans)
    assert last["steps"] == f"{steps:,}"
    assert float(last["hours"].replace(",", "")) == pytest.approx(
        sum(p.gpu_hours for p in plans), 0.1
    )
    assert cells(plans[0])[3] == f"{plans[0].estimate.work.steps:,}"


def test_the_verb_prints_a_table_or_numbers_without_data_or_weights(no_data, capsys):
    files = [f"crnas_d2://configs/letters/{name}.yaml" for name in ("baseline", "finetune")]
    main(["plan", *files, "--seconds-per-image", "0.5", "0.1", "--json"])
    numbers = json.loads(capsys.readouterr().out)
    [first, _] = numbers
    assert (first["verb"], first["steps"], first["images_scored"]) == ("train", 3000, 1500)
    assert first["gpu_hours"] == pytest.approx((0.5 * 48_000 + 0.1 * 1500) / 3600)
    main(["plan", *files, "--seconds-per-image", "0.5", "--markdown"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].split()[0] for line in lines[2:5]] == ["train", "train", "all"]
    assert any(line.startswith("GPU hours: at 0.5 seconds per image") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name at least one config"),
        (["x.yaml", "--num-gpus", "-1"], "--num-gpus: -1 is not a positive number"),
        (["x.yaml", "--num-gpus", "0"], "--num-gpus: 0 is not a positive number"),
        (["x.yaml", "--tmacs-per-second", "0"], "0 is not a positive number"),
        (["x.yaml", "--images", "a=1", "--images", "a=2"], "--images gives a two numbers"),
        (["x.yaml", "--images", "coco"], "coco is not of the form NAME=NUMBER"),
        (["x.yaml", "--seconds-per-image", "1", "2", "3"], "has 3 numbers"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, words, capsys):
    with pytest.raises(SystemExit):
        main(["plan", *arguments])
    assert words in capsys.readouterr().err


def test_a_size_of_no_dataset_is_refused(no_data):
    files = [f"crnas_d2://configs/letters/{name}.yaml" for name in ("baseline", "finetune")]
    main(["plan", *files, "--images", "letters_test=9", "--images", "letters_train=9"])
    words = r"--images names 'leters_test', but the configs name .*Did you mean letters_test"
    with pytest.raises(SystemExit, match=words):
        main(["plan", *files, "--images", "leters_test=9"])


def test_a_config_without_a_supernet_is_not_searched(no_data):
    with pytest.raises(ValueError, match=r"baseline\.yaml has no supernet to search"):
        plan(LETTERS / "baseline.yaml", searches=True)


def test_a_plan_for_a_cpu_counts_its_hours(no_data, capsys):
    file = str(LETTERS / "baseline.yaml")
    main(["plan", file, "--images", "letters_test=9", "--opts", "MODEL.DEVICE", "cpu"])
    printed = capsys.readouterr().out
    assert "CPU hours" in printed and "GPU" not in printed and "--measure times it" in printed


def test_measured_steps_need_no_data(no_data, capsys):
    options = toy.as_arguments(toy.TINY, {"MODEL.MASK_ON": True})
    file = str(LETTERS / "baseline.yaml")
    main(["plan", file, "--measure", "--json", "--images", "letters_test=9", "--opts", *options])
    [found] = json.loads(capsys.readouterr().out)
    assert 0 < found["gpu_hours"] < 0.1 and found["images_scored"] == 9


def test_a_classifier_is_measured_too(no_data, capsys):
    file = str(LETTERS / "pretrain-stage.yaml")
    options = toy.as_arguments(toy.TINY, toy.STAGE_SPACE)
    main(["plan", file, "--measure", "--json", "--opts", *options])
    [found] = json.loads(capsys.readouterr().out)
    assert found["gpu_hours"] > 0 and found["macs"] > 0


def test_the_memory_of_a_step_is_about_that_of_a_real_one():
    images = 32  # so that activations are more than weights and gradients
    cfg = toy.network_config({"MODEL.RESNETS.RES2_OUT_CHANNELS": 16})
    speed = CountedNetwork(cfg).training_speed(images)
    model = Trainer.build_model(cfg).train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = {}  # for the backward pass; kept, so that no two have one address

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with EventStorage(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model(random_batch(cfg, images))
    assert losses
    real = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
    assert 0.9 < images * speed.per_image / real < 1.6
    trained = [p for p in model.parameters() if p.requires_grad]
    assert speed.checkpoint == speed.weights + sum(p.nbytes for p in trained)
    assert speed.base == speed.checkpoint  # weights and momentum
    two = CountedNetwork(cfg).training_speed(images, num_processes=2)
    assert two.base == speed.base + sum(p.nbytes for p in trained)  # DDP's copy of the gradients


def test_all_detections_are_not_fewer_than_any_limit(no_data):
    file, masks = toy.ROOT / "configs" / "Base-RCNN-FPN.yaml", ("MODEL.MASK_ON", "True")
    pace, limits = macs_pace(1e12), ("1", "100", "2000", "-1")
    macs = [
        plan(file, *masks, "TEST.DETECTIONS_PER_IMAGE", limit, pace=pace).macs.inference
        for limit in limits
    ]
    assert macs[0] < macs[1] < macs[2] == macs[3]


def test_images_of_an_unknown_size_are_not_planned(no_data):
    file = toy.ROOT / "configs" / "Base-RCNN-FPN.yaml"
    with pytest.raises(ValueError, match=r"INPUT\.MIN_SIZE_TEST is 0, but.*expected at least 1"):
        plan(file, "INPUT.MIN_SIZE_TEST", "0")
