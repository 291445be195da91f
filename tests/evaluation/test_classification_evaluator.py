import math

import pytest
import torch
from detectron2.engine import launch
from detectron2.utils import comm

from crnas_d2.evaluation import ClassificationEvaluator

# Scores of 7 classes, the true class, and whether it is among the 1 and among the 5 highest.
COUNTED = [
    ([7, 6, 5, 4, 3, 2, 1], 0, True, True),
    ([7, 6, 5, 4, 3, 2, 1], 1, False, True),
    ([7, 6, 5, 4, 3, 2, 1], 4, False, True),
    ([7, 6, 5, 4, 3, 2, 1], 5, False, False),
    ([1, 1, 1, 1, 1, 1, 1], 0, False, False),  # says nothing, so it is not right
    ([math.nan] * 7, 0, False, False),
    ([0, 0, 9, 0, 0, 0, 0], 2, True, True),
    ([0, 8, 9, 0, 0, 0, 0], 1, False, True),
]


def process(evaluator, cases):
    scores = [torch.tensor(scores, dtype=torch.float32) for scores, *_ in cases]
    inputs = [{"label": case[1]} for case in cases]
    evaluator.process(inputs, [{"scores": s} for s in scores])


def test_accuracies_are_those_counted_by_hand():
    evaluator = ClassificationEvaluator(distributed=False)
    for _ in range(2):
        evaluator.reset()
        process(evaluator, COUNTED[:3])
        process(evaluator, COUNTED[3:])
        results = evaluator.evaluate()
    top1, top5 = (100 * sum(case[i] for case in COUNTED) / len(COUNTED) for i in (2, 3))
    assert results == {"classification": {"top1": top1, "top5": top5}}


def test_no_images_give_nan_and_not_zero():
    results = ClassificationEvaluator().evaluate()["classification"]
    assert all(map(math.isnan, results.values()))


def count_on_a_rank(folder):
    evaluator = ClassificationEvaluator()
    process(evaluator, COUNTED[:3] if comm.get_rank() == 0 else COUNTED[3:])
    torch.save(evaluator.evaluate(), f"{folder}/rank{comm.get_rank()}.pth")
    # A process that ends with gloo's threads at work may be aborted.
    comm.synchronize()
    torch.distributed.destroy_process_group()


def test_the_images_of_all_ranks_are_counted_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launch(count_on_a_rank, 2, dist_url="auto", args=(str(tmp_path),))
    whole = ClassificationEvaluator(distributed=False)
    process(whole, COUNTED)
    first, second = (torch.load(tmp_path / f"rank{rank}.pth") for rank in range(2))
    assert first == whole.evaluate() and second == {}
    assert first["classification"]["top1"] == pytest.approx(25)
