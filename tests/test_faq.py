"""docs/FAQ.md quotes messages as the code prints them."""

import re
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import toy

from crnas_d2 import Genotype, load_config
from crnas_d2.checkpoint import StrictCheckpointer, describe_network, write_weights
from crnas_d2.common.errors import JobError, one_line_errors
from crnas_d2.config.checks import check_model
from crnas_d2.engine import Trainer, detects
from crnas_d2.engine.checks import check_resumable, check_search, check_training
from crnas_d2.engine.log import training_summary
from crnas_d2.engine.peak_memory import _explain
from crnas_d2.evaluation import FitnessNoise, SubnetEvaluator
from crnas_d2.report.search_report import describe_noise
from crnas_d2.runs.search_result import SearchResult
from crnas_d2.search import Candidate
from crnas_d2.space import Choice, SearchSpace
from crnas_d2.verbs.search.from_detector import set_data
from crnas_d2.verbs.search.search import _check_finished

FAQ = (toy.ROOT / "docs" / "FAQ.md").read_text()
QUOTED = re.findall(r"^```console\n(.*?)\n```", FAQ, flags=re.MULTILINE | re.DOTALL)
CONFIGS = toy.ROOT / "configs" / "letters"
PAPERS = toy.ROOT / "projects" / "CR-NAS" / "configs"


def config(name, *overrides):
    return load_config(str(CONFIGS / f"{name}.yaml"), list(overrides))


def published(name):
    return load_config(str(PAPERS / f"{name}.yaml"), [])


def another_run():
    cfg = config("baseline")
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True)
    (folder / "last_checkpoint").write_text("model_0000499.pth")
    cfg.DATASETS.TRAIN = ("letters_archtrain",)
    check_training(cfg)


def own_keys():
    Path("config.yaml").write_text("MY_PROJECT: {ALPHA: 3}")
    load_config("config.yaml", [])


def own_datasets():
    cfg = config("baseline", "DATASETS.TRAIN", '("cells_train",)')
    set_data(cfg, {"ARCHVAL": ["letters_archval"]}, "run")


def full_gpu():
    with one_line_errors("x"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def too_small_gpu():
    class Memory:
        peak, total, of_others = (lambda self, n=n: n * 2**30 for n in (21.9, 24.0, 0.6))

    images = "16 images of 800x1333 pixels"
    path = "the most expensive path, depths=[3, 4, 6, 3],"
    raise ValueError(_explain(config("supernet-stage"), path, images, 16, Memory()))


def other_classes():
    detector = config("baseline", "MODEL.GENOTYPE.DEPTHS", "[1, 1, 1, 1]")
    write_weights({"model": Trainer.build_model(detector).state_dict()}, "model_final.pth")
    detector.MODEL.ROI_HEADS.NUM_CLASSES = 3
    StrictCheckpointer(Trainer.build_model(detector)).load("model_final.pth")


def other_pixels():
    detector = config("baseline", "MODEL.GENOTYPE.DEPTHS", "[1, 1, 1, 1]", "INPUT.FORMAT", "RGB")
    model = Trainer.build_model(detector)
    content = {"model": model.state_dict(), "network": describe_network(detector)}
    write_weights(content, "model_final.pth")
    detector.INPUT.FORMAT = "BGR"
    StrictCheckpointer(model, network=describe_network(detector)).load("model_final.pth")


def no_finite_fitness():
    candidate = Candidate(Genotype(depths=(1, 1)), None, failure="bbox/AP is nan")
    _check_finished(Namespace(searcher=Asked(), metric="bbox/AP"), [candidate])


class Asked:
    def propose(self, candidates):
        return []

    def may_ask(self, candidates, num_running):
        return False


FIXED = ("MODEL.GENOTYPE.DEPTHS", "[3, 4, 1, 1]", "MODEL.SUPERNET.PATH_SAMPLER", "fixed")
ERRORS = {
    "freeze": lambda: check_model(config("supernet-stage", "MODEL.BACKBONE.FREEZE_AT", "2")),
    "frozen BN": lambda: check_model(config("supernet-stage", "MODEL.RESNETS.NORM", "FrozenBN")),
    "no ImageNet": lambda: check_training(published("pretrain/CR-R50")),
    "no pretraining": lambda: check_training(published("searched/faster_rcnn_CR-R50_FPN_1x")),
    "nothing to resume": lambda: check_resumable(config("baseline")),
    "nothing to search": lambda: check_search(config("supernet-inherit", *FIXED)),
    **{f.__name__: f for f in (another_run, full_gpu, too_small_gpu, other_classes)},
    **{f.__name__: f for f in (other_pixels, no_finite_fitness, own_keys, own_datasets)},
}


@pytest.mark.parametrize("fails", ERRORS.values(), ids=ERRORS)
def test_an_error_is_quoted_as_it_is_printed(fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, JobError, SystemExit)) as raised:
        fails()
    assert str(raised.value).removeprefix("x: ") in QUOTED


def test_the_warning_about_weights_that_detect_nothing_is_quoted(monkeypatch):
    class Nothing(SubnetEvaluator):
        def __init__(self, *args):
            pass

        def __call__(self, genotype):
            return {"bbox/AP": 0.04}

    images = [{"image_id": number} for number in range(100)]
    monkeypatch.setattr(detects, "SubnetEvaluator", Nothing)
    monkeypatch.setattr(detects, "build_fixed_batches", lambda *args, **kwargs: [images])
    monkeypatch.setattr(detects, "build_evaluator", lambda *args, **kwargs: None)
    monkeypatch.setattr(detects, "calibration", lambda cfg: None)
    cfg = config("supernet-inherit")
    assert detects.check_detects(cfg, None, Genotype(depths=(3, 4, 6, 3))) in QUOTED


def test_the_line_about_other_gpus_is_quoted():
    cfg = published("searched/faster_rcnn_CR-R50_FPN_1x")
    lines = training_summary(cfg, Trainer.auto_scale_workers(cfg, 1), None)
    assert lines[-1] in QUOTED


def test_the_line_about_no_gpu_is_quoted(caplog):
    load_config("", ["MODEL.DEVICE", "cuda"])
    assert torch.cuda.is_available() or caplog.messages[-1] in QUOTED


def test_the_sentence_about_equal_candidates_is_quoted():
    best, *others = (Genotype(depths=(number,)) for number in range(1, 33))
    behind = {other: (-1.0, 1.0) for other in others}
    noise = FitnessNoise(best, {}, behind, num_images=58, spread=1.7)
    candidates = [Candidate(genotype, 30.0) for genotype in (best, *others)]
    space = SearchSpace("stage", (Choice("res2.depth", tuple(range(1, 33)), "depths"),))
    result = SearchResult(space, candidates, {}, "bbox/AP", "backbone body", noise=noise)
    sentence = describe_noise(result)[0]
    assert sentence.partition(" (depths")[0] in QUOTED
