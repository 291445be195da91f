"""See :func:`gradient_exchange`."""

from functools import partial
from random import Random

from ._sides import ROOT, Benchmark, Sides

CONFIG = ROOT / "projects" / "CR-NAS" / "configs" / "supernet" / "stage-R50.yaml"


def gradient_exchange(device: str, config: str = str(CONFIG)) -> Sides:
    """Gradients that a process all-reduces in a step of the R50 stage supernet, over plain DDP.

    Both sides count the bytes that they hand to all_reduce in a backward pass of the same sampled
    path. One process is enough to count them; each further one sends as many.
    """
    import torch
    import torch.distributed as dist
    from detectron2.utils.events import EventStorage
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
    from torch.nn.parallel import DistributedDataParallel

    from crnas_d2.config import load_config
    from crnas_d2.data.images.random_images import random_images
    from crnas_d2.engine import GradientExchange, Trainer, path_parameters
    from crnas_d2.modeling import find_supernet

    images = ["INPUT.MIN_SIZE_TRAIN", (128,), "SOLVER.IMS_PER_BATCH", 1]
    images += ["SOLVER.REFERENCE_WORLD_SIZE", 0]
    cfg = load_config(config, ["MODEL.DEVICE", device, *images])
    if not dist.is_initialized():
        backend = "nccl" if device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    model = Trainer.build_model(cfg)
    supernet = find_supernet(model)
    exchange = GradientExchange(path_parameters(model, supernet))
    state = {"is_ours": True, "bytes": 0}

    def hook(_, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        if state["is_ours"]:
            return exchange.average(bucket)
        state["bytes"] += bucket.buffer().nbytes
        return allreduce_hook(None, bucket)

    parallel = DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=True)
    parallel.register_comm_hook(None, hook)
    batch = random_images(cfg, 1, (128, 128), objects=6)
    randoms = {is_ours: Random(0) for is_ours in (True, False)}

    def sent(is_ours: bool) -> float:
        supernet.set_path(supernet.space.sample(randoms[is_ours]))
        exchange.sent, state["is_ours"], state["bytes"] = 0, is_ours, 0
        parallel.zero_grad(set_to_none=True)
        with EventStorage():  # in which the model notes its losses
            sum(parallel(batch).values()).backward()
        return (exchange.sent if is_ours else state["bytes"]) / 2**20

    return partial(sent, True), partial(sent, False)


BENCHMARK = Benchmark(
    gradient_exchange, goal=0.3, keys=("path_mib", "whole_mib"), repeats=10, warm_up=0
)
