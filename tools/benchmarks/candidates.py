"""See :func:`candidates`."""

import contextlib
import io
import itertools
import logging
import time

from ._letters import search_of_letters
from ._sides import Benchmark, Sides

# Of the training before, so that there are detections to score.
ITERATIONS = 200


def candidates(device: str) -> Sides:
    """Scoring a candidate of a search, over doing it with Detectron2's parts and pycocotools.

    Theirs builds the network of each candidate, loads its weights from the file, calibrates BN on
    images from disk, and evaluates it with Detectron2's test loader (one image at a time) and
    COCOEvaluator. Before anything is timed, both have to give the same AP on the same batches.
    """
    logging.disable(logging.WARNING)
    from detectron2.data import DatasetCatalog

    from crnas_d2 import NetworkSpec
    from crnas_d2.cost import build_budgets, build_costs
    from crnas_d2.engine.scores import build_score
    from crnas_d2.engine.subnets import load_supernet
    from crnas_d2.search import sample_genotypes

    cfg = search_of_letters(device, ITERATIONS)
    (archval,) = cfg.DATASETS.ARCHVAL
    DatasetCatalog.get(archval)  # made once

    evaluate = build_score(cfg, load_supernet(cfg))
    spec = NetworkSpec.from_config(cfg)
    genotypes = sample_genotypes(spec.space, build_budgets(cfg, build_costs(cfg, spec)), 20, 0)
    first = genotypes[0]
    ours, theirs = evaluate(first)["bbox/AP"], plain_score(cfg, first, cfg.SEARCH.IMS_PER_BATCH)
    if abs(ours - theirs) > 1e-6:
        raise RuntimeError(f"The two sides disagree: AP {ours} and {theirs}.")
    print(f"AP of {first}: {ours:.4f} on both sides. {parts(evaluate, first)}")

    def seconds(score) -> float:
        start = time.perf_counter()
        score()
        return time.perf_counter() - start

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
        batch_size=cfg.SEARCH.IMS_PER_BATCH,
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
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def forward() -> None:
        with torch.inference_mode():
            for batch in evaluate.batches:
                evaluate.model(batch)

    def calibrate() -> None:
        with evaluate.calibrate(evaluate.model):
            pass

    evaluate.model.eval()
    evaluate.supernet.set_path(genotype)
    passes, calibration = seconds(forward), seconds(calibrate)
    rest = seconds(lambda: evaluate(genotype)) - passes - calibration
    evaluate.supernet.set_path(genotype)
    inside = {
        name: f"{share:.0%}" for name, share in module_shares(evaluate.model, forward).items()
    }
    return (
        f"Of ours, the forward passes over archval take {passes:.2f} s, the calibration "
        f"{calibration:.2f} s, all else {rest:.2f} s. Of the forward passes, the backbone takes "
        f"{inside['backbone']}, RPN {inside['proposal_generator']}, ROI heads "
        f"{inside['roi_heads']}; the rest normalizes images and scales boxes."
    )


def module_shares(model, forward) -> dict[str, float]:
    """Return which share of the time of ``forward`` the parts of a detector take."""
    import torch

    def now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    names = ("backbone", "proposal_generator", "roi_heads")
    spent, handles = dict.fromkeys(names, 0.0), []
    for name in names:

        def begin(_module, _inputs, name=name) -> None:
            spent[name] -= now()

        def end(_module, _inputs, _outputs, name=name) -> None:
            spent[name] += now()

        module = getattr(model, name)
        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    start = now()
    forward()
    total = now() - start
    for handle in handles:
        handle.remove()
    return {name: value / total for name, value in spent.items()}


BENCHMARK = Benchmark(candidates, goal=0.2, keys=("candidate_s", "plain_candidate_s"), repeats=5)
