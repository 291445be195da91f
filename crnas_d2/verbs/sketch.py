"""Draw the blocks, operations and dilations of networks, as PNG or SVG.

A square is a block; its colour and its number are those of its operation, e.g. its dilation. Of a
network with decoded channels, a bar for each convolution has the shares of the dilations.
"""

import argparse

from crnas_d2.common.files import check_new_file
from crnas_d2.report import draw_networks
from crnas_d2.runs.named_genotype import find_genotype

_FORMATS = (".png", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "networks",
        nargs="+",
        metavar="[NAME=]NETWORK",
        help="a published network (CR-NAS/CR-R50), a genotype.yaml or config, or the folder of a "
        "search, training or export",
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="the picture to write: .png or .svg"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file")


def run(args: argparse.Namespace) -> None:
    output = check_new_file(args.output, _FORMATS, overwrite=args.overwrite)
    networks = {}
    for text in args.networks:
        network = find_genotype(text)
        if network.name in networks:
            raise ValueError(
                f"Two networks have the name {network.name}: name one of them, NAME={text}."
            )
        networks[network.name] = network
    figure = draw_networks(
        {name: network.genotype for name, network in networks.items()},
        {name: network.family for name, network in networks.items()},
        {name: network.channels for name, network in networks.items() if network.channels},
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150, facecolor="white")
    print(output)
