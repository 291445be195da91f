"""Sample networks that satisfy SEARCH.BUDGET: the random baseline of a search."""

import argparse
from pathlib import Path
from random import Random

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.search import sample_genotypes
from crnas_d2.space import check_budgets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", required=True, metavar="FILE", help="config of a search")
    parser.add_argument("--number", type=int, default=5, metavar="N")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for random-1.yaml, ..."
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")


def sample(cfg, spec, number):
    """Sample different feasible genotypes.

    In the channel space all genotypes have the cost of the base network, so no budget is checked.
    """
    seed = max(cfg.SEED, 0)
    if spec.mode == "mixed":
        return [spec.space.sample(Random(f"{seed}/{index}")) for index in range(number)]
    budgets = build_budgets(cfg, build_costs(cfg, spec))
    print(*check_budgets(spec.space, budgets), sep="\n")
    return sample_genotypes(spec.space, budgets, number, seed)


def run(args: argparse.Namespace) -> None:
    if args.number < 1:
        raise ValueError(f"--number is {args.number}; expected at least 1.")
    cfg = load_config(args.config_file, args.opts)
    spec = NetworkSpec.from_config(cfg)
    if not spec.is_supernet:
        raise ValueError("MODEL.SUPERNET.SPACE is 'none': there is nothing to sample from.")
    genotypes = sample(cfg, spec, args.number)
    args.output.mkdir(parents=True, exist_ok=True)
    files = [args.output / f"random-{number + 1}.yaml" for number in range(args.number)]
    if existing := [str(file) for file in files if file.exists()]:
        raise ValueError(f"{', '.join(existing)} already exist; choose another --output.")
    meaning = spec.space.to_config() if spec.mode == "mixed" else None
    for file, genotype in zip(files, genotypes, strict=True):
        comment = f"{genotype}, sampled at random (SEED {max(cfg.SEED, 0)})"
        genotype.to_yaml(file, family=cfg.MODEL.SUPERNET.FAMILY, comment=comment, channel=meaning)
        print(f"{file}: {genotype}")
