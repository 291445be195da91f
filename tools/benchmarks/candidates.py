"""See :func:`candidates`."""

import contextlib
import gc
import io
import itertools
import logging
import time

from ._letters import search_of_letters
from ._sides import Benchmark, Sides

# Of the training before, so that there are detections to score.
ITERATIONS = 200


def candidates(device: str) -> Sides:
    """CPU time of scoring a candidate of a search, over Detectron2's parts and pycocotools.

    Theirs builds the network of each candidate, loads its weights from the file, calibrates BN on
    images from disk, and evaluates it with Detectron2's test loader (one image at a time) and
    COCOEvaluator. Before anything is timed, both have to give the same AP (1e-3).
    """
    logging.disable(logging.WARNING)
    from detectron2.data import DatasetCatalog

    from crnas_d2 import NetworkSpec
    from crnas_d2.cost import build_budgets, build_costs
    from crnas_d2.engine.scores import build_score
    from crnas_d2.engine.subnets import load_supernet
    from crnas_d2.search import sample_genotypes

    cfg = search_of_letters(device, ITERATIONS)
    cfg.SEARCH.IMS_PER_BATCH, cfg.SEARCH.CHANNELS_LAST = 32, True
    cfg.SEARCH.BN_CALIBRATION.IMS_PER_BATCH = 8
    (archval,) = cfg.DATASETS.ARCHVAL
    DatasetCatalog.get(archval)  # made once

    evaluate = build_score(cfg, load_supernet(cfg))
    gc.collect()
    gc.freeze()  # as a search does once it is built
    spec = NetworkSpec.from_config(cfg)
    genotypes = sample_genotypes(spec.space, build_budgets(cfg, build_costs(cfg, spec)), 20, 0)
    first = genotypes[0]
    ours, theirs = evaluate(first)["bbox/AP"], plain_score(cfg, first, cfg.SEARCH.IMS_PER_BATCH)
    if abs(ours - theirs) > 1e-3:
        raise RuntimeError(f"The two sides disagree: AP {ours} and {theirs}.")
    print(f"AP of {first}: {ours:.6f} and {theirs:.6f}. {parts(evaluate, first)}")

    def seconds(score) -> float:
        start = time.process_time()
        score()
        return time.process_time() - start

    ours, theirs = itertools.cycle(genotypes), itertools.cycle(genotypes)
    return (
        lambda: seconds(lambda: evaluate(next(ours))),
        lambda: seconds(lambda: plain_score(cfg, next(theirs), 1)),
    )


def plain_score(cfg, genotype, images_per_batch: int) -> float:
    """Return the AP of a network, without anything that is kept between candidates."""
    from detectron2.data import build_detection_test_loader
    from detectron2.evaluation import COCOEvaluator, inference_on_dataset
    from detectron2.modeling import build_model

    from crnas_d2.checkpoint import TrainingCheckpointer
    from crnas_d2.data import fixed_images
    from crnas_d2.data.loaders.mappers import build_fixed_mapper
    from crnas_d2.evaluation import calibrated

    cfg = cfg.clone()
    cfg.MODEL.SUPERNET.PATH_SAMPLER = "fixed"
    cfg.MODEL.GENOTYPE.DEPTHS = list(genotype.depths)
    model = build_model(cfg)
    TrainingCheckpointer(model, inherit=True).load(cfg.MODEL.WEIGHTS)
    calibration = build_detection_test_loader(
        fixed_images(
            cfg,
            cfg.DATASETS.TRAIN,
            num_images=cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES,
            with_annotations=True,
        ),
        mapper=build_fixed_mapper(cfg, cfg.DATASETS.TRAIN, with_annotations=True),
        batch_size=cfg.SEARCH.BN_CALIBRATION.IMS_PER_BATCH,
    )
    (archval,) = cfg.DATASETS.ARCHVAL
    loader = build_detection_test_loader(cfg, archval, batch_size=images_per_batch)
    evaluator = COCOEvaluator(archval, ("bbox",), False, use_fast_impl=False)
    with calibrated(model, calibration), contextlib.redirect_stdout(io.StringIO()):
        return inference_on_dataset(model, loader, evaluator)["bbox"]["AP"]


def parts(evaluate, genotype) -> str:
    """Say how long the forward passes of a candidate take, and how long all of it."""
    import torch

    def seconds(work) -> float:
        work()
        start = time.process_time()
        work()
        return time.process_time() - start

    def forward() -> None:
        with torch.inference_mode():
            for batch in evaluate.batches:
                evaluate.predict(batch)

    def calibrate() -> None:
        with evaluate.calibrate(evaluate.model):
            pass

    evaluate.model.eval()
    evaluate.supernet.set_path(genotype)
    passes, calibration = seconds(forward), seconds(calibrate)
    rest = seconds(lambda: evaluate(genotype)) - passes - calibration
    return (
        f"Of ours, the forward passes over archval take {passes:.2f} s, the calibration "
        f"{calibration:.2f} s, all else {rest:.2f} s."
    )


BENCHMARK = Benchmark(candidates, goal=0.16, keys=("candidate_s", "plain_candidate_s"), repeats=5)
