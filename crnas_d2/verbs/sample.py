"""Sample networks that satisfy SEARCH.BUDGET: the random baseline of a search."""

import argparse
from pathlib import Path

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.engine.sampled_networks import SAMPLINGS, sample_networks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", required=True, metavar="FILE", help="config of a search")
    parser.add_argument("--number", type=int, default=5, metavar="N")
    parser.add_argument(
        "--sampling",
        choices=SAMPLINGS,
        default="random",
        help="stratified: evenly over the range of MACs; default: %(default)s",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for random-1.yaml, ..."
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")


def run(args: argparse.Namespace) -> None:
    cfg = load_config(args.config_file, args.opts)
    genotypes = sample_networks(cfg, args.number, args.sampling)
    spec = NetworkSpec.from_config(cfg)
    args.output.mkdir(parents=True, exist_ok=True)
    files = [args.output / f"random-{number + 1}.yaml" for number in range(args.number)]
    if existing := [str(file) for file in files if file.exists()]:
        raise ValueError(f"{', '.join(existing)} already exist; choose another --output.")
    meaning = spec.space.to_config() if spec.is_searched_in_training else None
    for file, genotype in zip(files, genotypes, strict=True):
        comment = f"{genotype}, sampled at random (SEED {max(cfg.SEED, 0)})"
        genotype.to_yaml(file, family=cfg.MODEL.SUPERNET.FAMILY, comment=comment, channel=meaning)
        print(f"{file}: {genotype}")
