"""Candidates in reduced precision, and with channels last."""

import pytest
import torch
import toy

from crnas_d2 import run_search
from crnas_d2.common.errors import JobError
from crnas_d2.engine.scores import build_score
from crnas_d2.evaluation import check_precision, use_channels_last
from crnas_d2.space import Genotype

GENOTYPE = Genotype(depths=toy.ELIGIBLE[2])


@pytest.fixture
def build(trained, trained_supernet):
    """Builds the evaluator of a search, and notes what the backbone computes in it."""

    def build(**keys):
        cfg = trained.clone()
        cfg.SEARCH.update(keys)
        evaluate = build_score(cfg, trained_supernet)
        evaluate.seen = []

        def note(module, inputs, features):
            channels_last = features["p2"].is_contiguous(memory_format=torch.channels_last)
            inference = torch.is_inference_mode_enabled()
            evaluate.seen.append((features["p2"].dtype, channels_last, inference))

        trained_supernet.backbone.register_forward_hook(note)
        return evaluate

    return build


def test_predictions_are_in_bfloat16_and_the_calibration_in_float32(build, trained_supernet):
    full = build()(GENOTYPE)
    evaluate = build(PRECISION="bfloat16")
    reduced = evaluate(GENOTYPE)
    calibrations, predictions = evaluate.seen[:2], evaluate.seen[2:]  # batches of four images
    assert {dtype for dtype, *_ in calibrations} == {torch.float32}
    assert [dtype for dtype, *_ in predictions] == [torch.bfloat16] * 2
    assert reduced["bbox/AP"] != full["bbox/AP"]
    assert reduced["bbox/AP"] == pytest.approx(full["bbox/AP"], abs=3)
    types = {value.dtype for value in trained_supernet.state_dict().values()}
    assert types == {torch.float32, torch.int64}


def test_a_prefix_is_scored_in_bfloat16_too(build):
    evaluate = build(PRECISION="bfloat16")
    assert evaluate(Genotype(depths=(2, 1)))["bbox/AP"] > 0
    assert {dtype for dtype, *_ in evaluate.seen} == {torch.bfloat16}
    for buffer in evaluate.model.buffers():
        assert buffer.dtype in (torch.float32, torch.int64)


def test_channels_last_scores_the_same_to_rounding(build, trained_supernet):
    plain = build()
    expected = plain(GENOTYPE)
    assert not any(channels_last for _, channels_last, _ in plain.seen)
    assert all(inference for *_, inference in plain.seen)  # which costs less than no_grad()
    evaluate = build(CHANNELS_LAST=True)
    found = evaluate(GENOTYPE)
    assert len(evaluate.seen) == 4 and all(channels_last for _, channels_last, _ in evaluate.seen)
    assert found["bbox/AP"] == pytest.approx(expected["bbox/AP"], abs=0.5)


def test_channels_last_changes_no_weight(trained_supernet):
    with toy.unchanged(trained_supernet):
        use_channels_last(trained_supernet)


def test_what_a_device_does_not_offer_is_refused(monkeypatch):
    for name in ("float32", "bfloat16"):
        check_precision(name, "cpu")
    with pytest.raises(ValueError, match=r"'float16', which needs a GPU .* MODEL\.DEVICE is 'cpu'"):
        check_precision("float16", "cpu")

    def no_kernel(*_):
        raise RuntimeError("Current CUDA Device does not support bfloat16.\nmore")

    monkeypatch.setattr(torch.nn.functional, "conv2d", no_kernel)
    with pytest.raises(ValueError, match=r"not offer \(Current .* bfloat16\.\); use 'float32'"):
        check_precision("bfloat16", "cpu")


@pytest.mark.parametrize(
    ("value", "words"),
    [("float16", "needs a GPU"), ("bf16", "expected 'float32', 'bfloat16' or 'float16'|one of")],
)
def test_a_search_is_refused_before_it_starts(trained, tmp_path, value, words):
    cfg = trained.clone()
    cfg.SEARCH.PRECISION, cfg.OUTPUT_DIR = value, str(tmp_path / "search")
    with pytest.raises(JobError, match=rf"SEARCH\.PRECISION is '{value}'.*({words})"):
        run_search(cfg)
    assert not (tmp_path / "search").exists()
