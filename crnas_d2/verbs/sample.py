"""Sample networks that satisfy SEARCH.BUDGET: the random baseline of a search."""

import argparse
from pathlib import Path

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.config.image_size import image_sections
from crnas_d2.engine.sampled_networks import SAMPLINGS, sample_networks
from crnas_d2.space import ChannelSpace
from crnas_d2.verbs.arguments import add_config_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--number", type=int, default=5, metavar="N")
    text = "stratified: evenly over the range of MACs; default: %(default)s"
    parser.add_argument("--sampling", choices=SAMPLINGS, default="random", help=text)
    text = "folder for random-1.yaml, ..."
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=text)
    add_config_file(parser, "config of a search")


def run(args: argparse.Namespace) -> None:
    cfg = load_config(args.config_file, args.opts)
    genotypes = sample_networks(cfg, args.number, args.sampling)
    space = NetworkSpec.from_config(cfg).space
    args.output.mkdir(parents=True, exist_ok=True)
    files = [args.output / f"random-{number + 1}.yaml" for number in range(args.number)]
    if existing := [str(file) for file in files if file.exists()]:
        raise ValueError(f"{', '.join(existing)} already exist; choose another --output.")
    meaning = space.to_config() if isinstance(space, ChannelSpace) else None
    family, seed = cfg.MODEL.SUPERNET.FAMILY, max(cfg.SEED, 0)
    try:
        for file, genotype in zip(files, genotypes, strict=True):
            comment = f"{genotype}, sampled at random (SEED {seed})"
            images = image_sections(cfg, genotype.image_size)
            genotype.to_yaml(file, family=family, comment=comment, channel=meaning, images=images)
    except BaseException:
        for file in files:  # all or none, so that the same command can be run again
            file.unlink(missing_ok=True)
        raise
    for file, genotype in zip(files, genotypes, strict=True):
        print(f"{file}: {genotype}")
