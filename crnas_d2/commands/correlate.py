"""Measure how well a supernet ranks networks, against their own trainings.

train: train a list of networks, or random ones of a search space, with several seeds (the truth).
score: score the same networks in a supernet.
report: print the noise of seeds, the spread and the rank correlations of the two.

Results are kept in JSON files: a second call resumes where the first stopped, repeats nothing, and
adds networks, seeds or scores. Each training has one thread and a folder that is named after the
digest of its config, so any number of workers can share the work.
"""

import argparse
from pathlib import Path

from crnas_d2.config import NetworkSpec, load_config, spell
from crnas_d2.cost import build_budgets, build_costs
from crnas_d2.jobs import StandAloneRun, score_networks, train_networks
from crnas_d2.report import describe_ranking
from crnas_d2.search import sample_genotypes
from crnas_d2.space import Genotype, read_yaml

STOPPED = "Stopped; the same command resumes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    jobs = parser.add_subparsers(dest="job", required=True)
    train = jobs.add_parser("train", help="train networks stand-alone")
    train.add_argument("results", type=Path, metavar="RESULTS.json")
    train.add_argument("--config-file", required=True, help="how each network is trained")
    train.add_argument("--genotypes", type=Path, metavar="FILE", help="YAML list of MODEL.GENOTYPE")
    train.add_argument("--space", metavar="FILE", help="config of a search to sample from")
    train.add_argument("--number", type=int, default=24, help="networks to sample from --space")
    train.add_argument("--seeds", type=int, nargs="+", default=[1])
    train.add_argument("--runs", type=Path, required=True, metavar="DIR", help="for the trainings")
    train.add_argument("--num-workers", type=int, default=1, help="trainings at a time")
    train.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides")
    score = jobs.add_parser("score", help="score the networks of RESULTS.json in a supernet")
    score.add_argument("results", type=Path, metavar="RESULTS.json")
    score.add_argument("scores", type=Path, metavar="SCORES.json")
    score.add_argument("--config-file", required=True, help="of the search")
    score.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides")
    report = jobs.add_parser("report", help="seeds, spread and rank correlations")
    report.add_argument("results", type=Path, metavar="RESULTS.json")
    report.add_argument("scores", type=Path, nargs="*", metavar="SCORES.json")


def networks(args):
    """Return the networks to train: listed ones, then sampled ones, without duplicates."""
    found = []
    if args.genotypes:
        listed = read_yaml(args.genotypes)
        if not isinstance(listed, list):
            raise ValueError(f"{args.genotypes} holds no list; expected one of MODEL.GENOTYPE.")
        found += [Genotype.from_config(node) for node in listed]
    if args.space:
        cfg = load_config(args.space, [])
        spec = NetworkSpec.from_config(cfg)
        budgets = build_budgets(cfg, build_costs(cfg, spec))
        found += sample_genotypes(spec.space, budgets, args.number, max(cfg.SEED, 0))
    if not found:
        raise ValueError("There is nothing to train: give --genotypes, --space, or both.")
    return list(dict.fromkeys(found))


def train(args, command):
    genotypes = networks(args)
    runs = [
        StandAloneRun(genotype, seed, args.config_file, tuple(args.opts), args.runs)
        for seed in args.seeds  # all networks with one seed first
        for genotype in genotypes
    ]
    for result in train_networks(runs, args.results, command, args.num_workers):
        print(f"{result['genotype']} seed {result['seed']}: AP {result['AP']:.2f}")


def run(args: argparse.Namespace) -> None:
    command = spell("correlate", *args.arguments)
    if args.job == "train":
        train(args, command)
    elif args.job == "score":
        cfg = load_config(args.config_file, args.opts)
        for line in score_networks(cfg, args.results, args.scores, command):
            print(line)
    else:
        print(describe_ranking(args.results, args.scores))
