"""Print the costs of a network, part by part, and its receptive fields.

Takes any detector or classifier config of a single network; nothing is trained, loaded or computed.
"""

import argparse
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from tabulate import tabulate

from crnas_d2.config import load_config
from crnas_d2.config.checks import check_model
from crnas_d2.cost import NetworkCost, detector_cost, find_body, meta_network, runnable_size
from crnas_d2.evaluation.receptive_field import receptive_fields

from .arguments import add_config_file, add_input_size, add_plugins, positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_input_size(parser)
    text = "regions of the box head, in each stage of a cascade; default: %(default)s"
    parser.add_argument("--num-proposals", type=positive_int, default=2000, help=text)
    text = "regions of the mask head; default: %(default)s"
    parser.add_argument("--num-mask-rois", type=positive_int, default=100, help=text)
    add_plugins(parser)
    add_config_file(parser)


def run(args: argparse.Namespace) -> None:
    # The CPU, because load_config would warn about a missing GPU.
    cfg = load_config(args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"], is_read_only=True)
    cfg.MODEL.WEIGHTS = ""  # none are loaded
    spec = check_model(cfg)
    model: Any = meta_network(cfg)
    stated = tuple(args.input_size or cfg.SEARCH.COST_INPUT_SIZE)
    size = runnable_size(model, stated)
    costs = detector_cost(model, size, args.num_proposals, args.num_mask_rois)
    total = sum(costs.values(), NetworkCost(0, 0))
    cost_rows = [
        [part, f"{cost.macs / 1e9:#.4g} G", f"{cost.parameters / 1e6:#.4g} M"]
        for part, cost in [*costs.items(), ("total", total)]
    ]
    try:
        fields = receptive_fields(find_body(model), len(cfg.MODEL.PIXEL_MEAN))
        rows = [[name, f.stride, "{} x {}".format(*f.size)] for name, f in fields.items()]
        field_text = _table(["level", "stride", "receptive field"], rows)
    except ValueError as error:
        field_text = f"Receptive fields cannot be told: {error}"
    print(f"{args.config_file}: {type(model).__name__}, {cfg.MODEL.BACKBONE.NAME}")
    print(f"genotype: {spec.genotype if spec else 'none'}\n")
    print(_table(["part", "MACs", "parameters"], cost_rows), end="\n\n")
    print(field_text, end="\n\n")
    print(*_scope(model.backbone.size_divisibility, costs, stated, size, args), sep="\n")


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    align = ("left", *["right"] * (len(head) - 1))
    return tabulate(rows, headers=head, disable_numparse=True, colalign=align)


def _scope(
    step: int,
    parts: Collection[str],
    stated: tuple[int, int],
    size: tuple[int, int],
    args: argparse.Namespace,
) -> Iterator[str]:
    """Yield sentences that say what the numbers count; ``step``: of the sides of images."""
    image = "an image of {}x{} pixels".format(*stated)
    if size != stated:
        image += " (padded to {}x{}, as the neck needs)".format(*size)
    yield f"MACs: multiply-adds, the papers' FLOPs, for {image}."
    if step > 1 and any(side % step for side in size):
        yield f"The network itself pads its images to multiples of {step} pixels: not counted."
    yield "Counted: convolutions and linear layers; not ROIAlign, norms and activations."
    if "box head" in parts:
        yield f"Box head: {args.num_proposals} proposals (in each stage of a cascade)."
    if "mask head" in parts:
        where = "its transposed convolution counted at its output size, as in CR-NAS"
        yield f"Mask head: {args.num_mask_rois} regions, {where}."
    yield "Receptive field: height x width in pixels, theoretical, of the body's features."
