"""``search --from``: a detector of plain Detectron2 or of this project, in one command."""

import re
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
import toy
import yaml
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import COCOEvaluator
from detectron2.modeling import BACKBONE_REGISTRY, build_model
from detectron2.modeling.backbone.resnet import build_resnet_backbone
from detectron2.utils.env import seed_all_rng
from scripts import read_candidates

from crnas_d2 import run_training
from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.config.image_size import at_image_size
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.engine.subnets import load_supernet
from crnas_d2.space import Genotype, feasible_genotypes
from crnas_d2.verbs.main import run_verb
from crnas_d2.verbs.search.trained_detector import thaw

ZOO = {"rcnn": "faster_rcnn_R_50_FPN_1x", "retinanet": "retinanet_R_50_FPN_1x"}
FAMILIES = {**toy.SMALL_BODIES, "efficientnet_lite": {}}
COCO = "DATASETS.COCO_FORMAT"
# Nothing that a narrow, hardly trained detector finds is left out.
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 8,
    "MODEL.ROI_HEADS.NUM_CLASSES": 2,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "MODEL.RETINANET.NUM_CLASSES": 2,
    "MODEL.RETINANET.SCORE_THRESH_TEST": 0.0,
    "MODEL.RETINANET.NUM_CONVS": 1,
    "INPUT.MIN_SIZE_TRAIN": (toy.SIZE,),
    "INPUT.MIN_SIZE_TEST": toy.SIZE,
    "INPUT.MAX_SIZE_TEST": toy.SIZE,
    "SOLVER.MAX_ITER": 12,
    "SOLVER.STEPS": (8,),
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.BASE_LR": 0.01,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.CLIP_GRADIENTS.ENABLED": True,
    "DATALOADER.NUM_WORKERS": 0,
    "DATASETS.TRAIN": ("toy_archtrain",),
    "DATASETS.TEST": ("toy_archval",),
    "SEED": 1,
}


def plain_config(name="rcnn", *overrides):
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file(f"COCO-Detection/{ZOO[name]}.yaml"))
    cfg.merge_from_list(toy.as_list(SMALL, *overrides))
    return cfg


class PlainTrainer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        return COCOEvaluator(dataset_name, output_dir=cfg.OUTPUT_DIR)


@pytest.fixture(scope="module", params=ZOO)
def plain(request, toy_datasets, tmp_path_factory):
    """The folder of a training by Detectron2 alone: BGR, std 1, FREEZE_AT 2, FrozenBN; its AP."""
    folder = tmp_path_factory.mktemp(request.param)
    cfg = plain_config(request.param, {"OUTPUT_DIR": str(folder)})
    resnets = cfg.MODEL.RESNETS
    assert (resnets.NORM, resnets.STRIDE_IN_1X1) == ("FrozenBN", True)
    assert cfg.MODEL.BACKBONE.FREEZE_AT == 2
    seed_all_rng(1)
    trainer = PlainTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    (folder / "config.yaml").write_text(cfg.dump())
    return folder, trainer.test(cfg, trainer.model)["bbox"]["AP"]


@pytest.fixture
def search(capsys):
    """Runs the verb; returns what it printed."""

    def run(*arguments):
        run_verb("search", list(map(str, arguments)), "crnas-d2")
        return capsys.readouterr().out

    return run


def refusal(*arguments):
    with pytest.raises(SystemExit) as stopped:
        run_verb("search", list(map(str, arguments)), "crnas-d2")
    return stopped.value.code


FEW = ["SEARCH.BN_CALIBRATION.NUM_IMAGES", "0", "MODEL.SUPERNET.STAGE_OPTIONS"]


def test_the_whole_detector_scores_what_detectron2_measured(plain, search, tmp_path):
    folder, expected = plain
    opts = [*FEW, "[[3], [4], [5, 6], [3]]", "SEARCH.BUDGET.MACS", "[]"]
    output = tmp_path / "out"
    flags = ["--from", folder, "--archval", "toy_archval", "--output", output]
    printed = search(*flags, *opts)
    assert "FREEZE_AT 2 has no effect; FrozenBN becomes BN" in printed
    assert "archval is in DATASETS.TEST" in printed
    scores = {row["res4.depth"]: float(row["fitness"]) for row in read_candidates(output)}
    assert set(scores) == {"5", "6"}
    assert scores["6"] == pytest.approx(expected, abs=1e-9) and expected > 0

    # Both commands continue it, and have nothing left to do.
    before = read_candidates(output)
    assert "(baseline)" in (output / "report.html").read_text()
    for command in ([*flags, "--resume", *opts], ["--config-file", output / "search.yaml"]):
        assert "found.yaml" in search(*command, *(() if "--resume" in command else ["--resume"]))
        assert read_candidates(output) == before

    # What follows it: BN is trained, because it was frozen.
    for name in ("finetuned", "found"):
        cfg = load_config(str(output / f"{name}.yaml"), [])
        assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR) == (6, (4,), 0.005)
        assert (cfg.MODEL.BACKBONE.FREEZE_AT, cfg.MODEL.RESNETS.NORM) == (0, "SyncBN")
        assert cfg.DATASETS.TEST == ("toy_archval",)
    assert "frozen" in (output / "finetuned.yaml").read_text()
    best = max(scores, key=scores.get)
    assert list(cfg.MODEL.GENOTYPE.DEPTHS) == [3, 4, int(best), 3]
    # Its weights are those that were scored.
    cfg.OUTPUT_DIR = str(tmp_path / "evaluated")
    assert run_training(cfg, eval_only=True)["bbox"]["AP"] == pytest.approx(scores[best], abs=1e-6)


def test_what_the_detector_scores_stands_beside_what_was_found(plain, search, tmp_path, capsys):
    folder, expected = plain
    output, again = tmp_path / "out", tmp_path / "again.html"
    flags = ["--from", folder, "--archval", "toy_archval", "--output", output, "--budget", "0.97"]
    search(*flags, *FEW, "[[3], [4], [4, 5, 6], [3]]")
    rows = read_candidates(output)
    assert {row["res4.depth"] for row in rows} <= {"4", "5"}  # the detector has 6
    report = (output / "report.html").read_text()
    said = (
        f"has bbox/AP {expected:.2f}, scored in the same way: without further training, the found"
    )
    assert said in report and "95 % interval of the difference" in report
    assert "<td>no candidate</td>" in report

    # The folder is enough to render the report again.
    run_verb("compare", ["--search", str(output), "--output", str(again)], "crnas-d2")
    page = re.compile(r"<p>Found: .*?</div>|<td>.*?</td>")
    assert page.findall(again.read_text()) == page.findall(report)
    with pytest.raises(SystemExit):
        run_verb("compare", ["--output", str(again), "--overwrite"], "crnas-d2")
    assert "name finished trainings, or a search with --search" in capsys.readouterr().err


def test_a_module_of_the_user_registers_the_datasets(plain, search, tmp_path, monkeypatch):
    folder, _ = plain
    entries = {name: f"mine_{name.partition('_')[2]}" for name in ("toy_archtrain", "toy_archval")}
    lines = ["from detectron2.data.datasets import register_coco_instances as register"]
    for name, mine in entries.items():
        data = MetadataCatalog.get(name)
        lines.append(f"register({mine!r}, {{}}, {data.json_file!r}, {data.image_root!r})")
    lines += ["def add_config(cfg):", "    cfg.MY_KEY = 0"]
    (tmp_path / "my_datasets.py").write_text("\n".join(lines))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"MY_KEY": 3, "OUTPUT_DIR": str(tmp_path / "out")}
    config["DATASETS"] |= {"TRAIN": ["mine_archtrain"], "TEST": ["gone"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.syspath_prepend(str(tmp_path))
    weights = ["--weights", folder / "model_final.pth", "--archval", "mine_archval"]
    assert "PLUGINS (add_config)" in refusal("--from", tmp_path / "config.yaml", *weights)
    few = [*FEW, "[[3], [4], [5, 6], [3]]", "SEARCH.BUDGET.MACS", "[]"]
    flags = ["--from", tmp_path / "config.yaml", *weights, "PLUGINS", '["my_datasets"]', *few]
    try:
        printed = search(*flags)
        assert "DATASETS.TEST gone is not registered here" in printed
        assert "finetuned.yaml, one dataset.)" in printed  # there is nothing to compare on
    finally:
        sys.modules.pop("my_datasets", None)
        for mine in entries.values():
            DatasetCatalog.remove(mine)
            MetadataCatalog.remove(mine)
    found = yaml.safe_load((tmp_path / "out" / "search" / "finetuned.yaml").read_text())
    assert found["PLUGINS"] == ["my_datasets"]


@pytest.fixture
def jobs(monkeypatch):
    """The configs of searches that were not run."""
    found = []

    def keep(cfg, **_):
        found.append(cfg)
        return SimpleNamespace(genotype=None, fitness=0.0)

    monkeypatch.setattr("crnas_d2.verbs.search.run_search", keep)
    return found


@BACKBONE_REGISTRY.register()
def plain_body(cfg, input_shape):
    """A builder that this package does not know."""
    return build_resnet_backbone(cfg, input_shape)


def leave_run(folder, cfg):
    """Leaves what an untrained detector would; returns the folder."""
    folder.mkdir(exist_ok=True)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model_final.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder


OURS = {
    **{name: toy.RESNETS[name] for name in ("basic", "resnext")},
    **{family: {**small, "MODEL.SUPERNET.FAMILY": family} for family, small in FAMILIES.items()},
}


@pytest.mark.parametrize("name", OURS)
def test_any_family_is_searched(name, jobs, toy_datasets, tmp_path):
    depths = (
        {} if "MODEL.SUPERNET.FAMILY" in OURS[name] else {"MODEL.GENOTYPE.DEPTHS": [1, 3, 2, 1]}
    )
    cfg = toy.network_config(toy_datasets, OURS[name], depths, {"MODEL.WEIGHTS": ""})
    depths = NetworkSpec.from_config(cfg).genotype.depths
    run = leave_run(tmp_path / "run", cfg)
    run_verb("search", ["--from", str(run), "--budget", "0.95"], "crnas-d2")
    [job] = jobs
    assert [list(range(1, n + 1)) for n in depths] == job.MODEL.SUPERNET.STAGE_OPTIONS
    spec = NetworkSpec.from_config(job)
    [budget] = build_budgets(job, build_costs(job, spec))
    assert budget.high == round(0.95 * budget.cost.range[1]) and budget.cost.range[0] < budget.high
    # Each network of the space has its weights.
    load_supernet(job)


def test_the_image_size_of_a_detector_is_searched_too(jobs, toy_datasets, tmp_path):
    shallow = {"MODEL.GENOTYPE.DEPTHS": [1, 2, 2, 1], "MODEL.WEIGHTS": ""}
    run = leave_run(tmp_path / "run", toy.network_config(toy_datasets, shallow))
    words = ["--from", run, "--budget", 0.5, "SEARCH.IMAGE_SIZES", "[64, 32]"]
    run_verb("search", list(map(str, words)), "crnas-d2")
    [job] = jobs
    [budget] = build_budgets(job, build_costs(job, NetworkSpec.from_config(job)))
    whole = budget.cost(Genotype((1, 2, 2, 1), image_size=(64,)))
    assert budget.high == round(0.5 * whole)
    feasible = feasible_genotypes(budget.cost.space, [budget])
    assert feasible and {genotype.image_size for genotype in feasible} == {(32,)}
    # What is found is searched again, at its own size.
    found = at_image_size(toy.network_config(toy_datasets, shallow), 32)
    again = leave_run(tmp_path / "again", found)
    run_verb("search", ["--from", str(again), "--budget", "0.95"], "crnas-d2")
    base = NetworkSpec.from_config(jobs[1]).space.base
    assert base == Genotype(image_size=(32,)) and jobs[1].SEARCH.COST_INPUT_SIZE == [32, 32]


def test_files_are_named_as_they_are_and_overrides_win(jobs, toy_datasets, tmp_path):
    cfg = plain_config("rcnn", {"MODEL.RESNETS.DEPTH": 152, "DATASETS.TRAIN": ("mine",)})
    run = leave_run(tmp_path / "run", cfg)
    files = {name: (json_file, root) for name, json_file, root in toy_datasets[COCO]}
    flags = ["--from", run, "--train", *files["toy_archtrain"], "--archval", *files["toy_archval"]]
    flags += ["--test", "toy_test"]
    opts = ["SEARCH.EVOLUTION.GENERATIONS", 3, "SOLVER.MAX_ITER", 7, "INPUT.MIN_SIZE_TEST", 32]
    run_verb("search", list(map(str, [*flags, *opts])), "crnas-d2")
    [job] = jobs
    assert str(run / "search") == job.OUTPUT_DIR
    assert job.DATASETS.ARCHVAL == ("toy_archval_archval",)
    assert [tuple(entry[1:]) for entry in job.DATASETS.COCO_FORMAT] == list(files.values())[1::-1]
    assert (job.SEARCH.ALGORITHM, job.SEARCH.EVOLUTION.POPULATION) == ("evolution", 20)
    assert (job.SEARCH.EVOLUTION.GENERATIONS, job.SEARCH.COST_INPUT_SIZE) == (3, [32, toy.SIZE])
    tuned = load_config(str(run / "search" / "finetuned.yaml"), [])
    assert (tuned.SOLVER.MAX_ITER, tuned.INPUT.MIN_SIZE_TEST) == (7, 32)
    assert tuned.DATASETS.TEST == job.DATASETS.TEST == ("toy_test",)


def test_a_search_may_have_frozen_parts_but_no_training_of_a_supernet():
    cfg = toy.supernet_config({"MODEL.BACKBONE.FREEZE_AT": 2, "MODEL.RESNETS.NORM": "FrozenBN"})
    with pytest.raises(ValueError, match="FREEZE_AT is 2"):
        NetworkSpec.from_config(cfg)
    assert "FREEZE_AT 2 has no effect; FrozenBN becomes BN" in thaw(cfg)
    assert thaw(cfg) == "" and NetworkSpec.from_config(cfg).is_supernet


SUPERNET = {
    "MODEL.SUPERNET.SPACE": "stage",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.NORM": "BN",
}
# What is changed in config.yaml, the words after --from RUN, and a part of the message.
REFUSED = [
    # The weights first, before data is asked for.
    ({"MODEL.ROI_HEADS.NUM_CLASSES": 3}, (), "do not fit this model.*differ in shape"),
    ({"MODEL.RESNETS.RES2_OUT_CHANNELS": 16}, (), "do not fit this model"),
    ({"MODEL.RESNETS.DEPTH": 101}, (), "that the model needs, the file lacks: .*res4"),
    ({"MODEL.ROI_HEADS.NAME": "Res5ROIHeads"}, (), r"\(C4\) builds res5 itself"),
    ({"MODEL.RESNETS.RES5_DILATION": 2}, (), r"\(DC5\).* cannot be searched"),
    ({"MODEL.BACKBONE.NAME": "build_vit"}, (), "build_vit', which is not registered"),
    ({"MODEL.BACKBONE.NAME": "plain_body"}, (), "blocks of other bodies only"),
    ({"MODEL.NEW.KEY": 1}, (), r"MODEL\.NEW\.KEY is unknown\..*PLUGINS \(add_config\)"),
    ({"model._target_": "R50"}, (), "This is a LazyConfig"),
    (SUPERNET, (), "is a supernet .*--config-file"),
    ({"MODEL.GENOTYPE.OPS": [1] * 16}, (), "operations of their own"),
    ({}, ("--weights", "none.pth"), "none.pth, which does not exist"),
    ({}, ("--budget", 2), "--budget is 2.0; expected a share above 0"),
    ({}, ("--budget", 0.1, "--archval", "toy_archval"), r"--budget is 0.1; expected at least 0\.5"),
    ({}, ("SEARCH.METRIC",), "odd number of words"),
    ({}, (), "--archval is missing: .*was not trained on.*prepare.*archtrain"),
    ({}, ("--archval", "toy_archtrain"), "toy_archtrain is DATASETS.TRAIN .*was not trained on"),
    ({}, ("--archval", "mine"), "ARCHVAL is mine, .*--archval FILE.json IMAGES.*PLUGINS"),
    ({"DATASETS.TRAIN": ["mine"]}, ("--archval", "toy_archval"), "TRAIN is mine, .*--train FILE"),
    ({"DATASETS.TRAIN": []}, ("--archval", "toy_archval"), "names no DATASETS.TRAIN: add --train"),
    ({}, ("--archval", "a.json", "b"), "a.json does not exist"),
]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return leave_run(tmp_path_factory.mktemp("untrained"), plain_config())


@pytest.mark.parametrize(("changes", "words", "message"), REFUSED)
def test_what_cannot_be_searched_is_refused(changes, words, message, untrained, tmp_path):
    content = yaml.safe_load((untrained / "config.yaml").read_text())
    for key, value in changes.items():
        *sections, name = key.split(".")
        node = content
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "model_final.pth").symlink_to(untrained / "model_final.pth")
    assert re.search(message, refusal("--from", tmp_path, *words))
    assert not (tmp_path / "search").exists()


def test_a_run_needs_a_config_and_weights(untrained, tmp_path):
    assert "has no config.yaml" in refusal("--from", tmp_path)
    shutil.copy(untrained / "config.yaml", tmp_path)
    opts = ["OUTPUT_DIR", tmp_path]
    assert "does not exist. Name the checkpoint" in refusal("--from", tmp_path, *opts)
    for words in (["--archval", "toy_archval"], ["--from", "run", "--config-file", "x.yaml"]):
        with pytest.raises(SystemExit) as stopped:
            run_verb("search", words, "crnas-d2")
        assert stopped.value.code == 2
