"""The losses of a detector on fixed images with their annotations, without any training."""

from collections import defaultdict
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from .bn_calibration import Batches, restored
from .precision import Precision


def subnet_losses(model: Any, batches: Batches, precision: Precision) -> dict[str, float]:
    """Return the losses of the active path by their names in training, and their sum, ``loss``.

    Each is the mean over the batches, with the number of images as weight. The BN statistics are
    fixed and nothing is dropped. Boxes and proposals are sampled as in training, with the same seed
    in the same batch, so a network always has the same losses. On exit, everything is as before.

    Args:
        model: a Detectron2 model, which returns its losses in training.
        batches: inputs as in training, with ``instances``.
    """
    sums, images = defaultdict[str, float](float), 0
    with restored(model), torch.random.fork_rng(), EventStorage(), torch.no_grad():
        attributes = dict(vars(model))  # RetinaNet keeps a running mean for its next loss
        model.train()
        for module in (model.backbone, *model.modules()):
            if module is model.backbone or isinstance(module, (_BatchNorm, _DropoutNd)):
                module.eval()
        try:
            for number, batch in enumerate(batches):
                torch.manual_seed(number)
                with precision():
                    losses = model(batch)
                images += len(batch)
                for name, loss in losses.items():
                    sums[name] += len(batch) * float(loss)
        finally:
            vars(model).clear()
            vars(model).update(attributes)
    means = {name: total / images for name, total in sums.items()}
    return means | {"loss": sum(means.values())}
