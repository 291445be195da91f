"""Convert weights of a base network, or of a channel supernet, for a decoded network."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from crnas_d2.common.formats import format_few
from crnas_d2.layers import ChannelMixedConv2d, DecodedConv2d, decoded_weights

logger = logging.getLogger(__name__)


def decode_state_dict(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split and reorder weights for the decoded convolutions of ``model``.

    NATS section 3.4: the base weight, or the replica of the chosen dilation, is split along its
    output channels. The new order of the channels is folded into the layers around the
    convolution: its norm and the inputs of the next convolution; and, if it is a grouped one, the
    outputs of the convolution before it and their norm.

    Weights are by name in ``model`` or, where the names differ, in its base network or supernet.
    The network's own weights, and those of a model without decoded convolutions, stay unchanged.

    Raises ValueError if they belong to another genotype, or to a search over other dilations; warns
    if that search chose otherwise.
    """
    decoded = dict(weights)
    _check_owner(model, decoded)
    convs = {n: part for n, part in model.named_modules() if hasattr(part, "dilation_choice")}
    searched = {n: conv for n, conv in convs.items() if f"{n}.alpha" in decoded}
    others = [
        name
        for name, conv in searched.items()
        if tuple(decoded[f"{name}.alpha"].argmax(dim=1).tolist()) != conv.dilation_choice
    ]
    if others:
        logger.warning(
            "MODEL.WEIGHTS are those of a search whose dilation choices differ from MODEL.GENOTYPE "
            "in %d of %d convolutions (%s).",
            *(len(others), len(searched), format_few(others)),
        )
    for name, conv in convs.items():
        _decode_conv(name, conv, decoded)
    return decoded


def _decode_conv(name: str, conv: Any, weights: dict[str, Tensor]) -> None:
    """Replace the weight of one convolution, and reorder its neighbours; ``weights`` is changed."""
    keys = [f"{name}.weight"]
    if f"{name}.alpha" in weights:  # a mixed convolution
        keys = [f"{name}.weights.{index}" for index in range(len(weights[f"{name}.dilation_set"]))]
    replicas = {key: weights[key] for key in keys if key in weights}
    if not replicas:
        return  # the weights are decoded already
    shape = (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel_size)
    if any(replica.shape != shape for replica in replicas.values()):
        return  # of another base network, which the loader reports
    for key in (*replicas, f"{name}.alpha", f"{name}.dilation_set"):
        weights.pop(key, None)
    # From one (out, in / groups, k, k) per dilation to the parts of the sub-convolutions.
    parts = decoded_weights(list(replicas.values()), conv.dilation_choice)
    weights.update({f"{name}.{part}": tensor for part, tensor in parts.items()})
    if hasattr(conv, "group_dilations"):
        weights[f"{name}.group_dilations"] = conv.group_dilations
    if not isinstance(conv, DecodedConv2d):
        return  # a single dilation: the channels keep their order
    block, _, own = name.rpartition(".conv")  # a block's convolutions are conv1, conv2, ...
    before, after = f"{block}.conv{int(own) - 1}", f"{block}.conv{int(own) + 1}"
    # NATS section 3.4: the neighbours absorb the new order of the channels. The norms and the
    # convolution before are indexed by (out,), the convolution after by (out, in).
    for key, tensor in weights.items():
        if not tensor.dim():
            continue  # num_batches_tracked of a BN
        if key.startswith(f"{name}.norm."):
            weights[key] = tensor[list(conv.output_order)]
        elif key == f"{after}.weight":
            weights[key] = tensor[:, list(conv.output_order)]
        elif conv.groups > 1 and key.startswith((f"{before}.weight", f"{before}.norm.")):
            weights[key] = tensor[list(conv.input_order)]


def _check_owner(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError for weights that were trained with other dilations than the model's."""
    modules = dict(model.named_modules())
    for key, found in weights.items():
        name, _, kind = key.rpartition(".")
        conv: Any = modules.get(name)
        is_mixed = isinstance(conv, ChannelMixedConv2d)
        expected: Any = None
        if kind == "group_dilations":
            expected = getattr(conv, "group_dilations", None)
            fix = "MODEL.GENOTYPE.CHANNELS must be the genotype with which they were trained."
        elif kind == "dilation_set" and is_mixed:
            expected = conv.dilation_set
            fix = "MODEL.SUPERNET.CHANNEL and MODEL.GENOTYPE must be those of that search."
        elif kind == "dilation_set" and hasattr(conv, "dilation_choice"):
            # (dilations, 2) to (channel groups, 2): the dilation of each group.
            indices = list(conv.dilation_choice)
            found = found[indices] if max(indices) < len(found) else found
            if isinstance(conv, DecodedConv2d):
                expected = conv.group_dilations
            else:
                expected = torch.tensor([conv.dilation] * len(indices))
            fix = "MODEL.SUPERNET.CHANNEL must name the dilations of the search that found it."
        else:
            if kind == "alpha" and is_mixed and found.shape != conv.alpha.shape:
                what = f"{key} has the shape {tuple(found.shape)}, (channel groups, dilations)"
                raise ValueError(
                    f"MODEL.WEIGHTS are those of another search: {what}; expected "
                    f"{tuple(conv.alpha.shape)}. MODEL.SUPERNET.CHANNEL must be that of the search."
                )
            continue
        if expected is None or not torch.equal(found.cpu(), expected.cpu()):
            wanted = "none" if expected is None else expected.tolist()
            what = f"{name} has {found.tolist()}; expected {wanted}. {fix}"
            raise ValueError(f"MODEL.WEIGHTS are those of other dilations: {what}")
