"""Train many networks: AP against FLOPs and accuracy, and what ranks them.

train: train a list of networks, or random ones of a search space, with several seeds; with
--pretrain-config each is pretrained first, e.g. as a classifier, whose accuracy is kept, too.
score: score the same networks in a supernet.
report: print the noise of seeds, the spread and the rank correlations; draw them.

Results are kept in JSON files: a second call resumes where the first stopped, repeats nothing, and
adds networks, seeds or scores. Each training has one thread and a folder that is named after the
digest of its config, so any number of workers can share the work.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

from detectron2.config import CfgNode

from crnas_d2.common.files import check_new_file
from crnas_d2.common.plain_yaml import read_yaml
from crnas_d2.config import load_config, spell
from crnas_d2.engine.checks import check_config, check_search
from crnas_d2.engine.sampled_networks import SAMPLINGS, sample_networks
from crnas_d2.engine.scores import SCORE_REGISTRY, build_score
from crnas_d2.report import describe_ranking, write_ranking
from crnas_d2.runs.named_genotype import find_genotype
from crnas_d2.runs.ranking import read_ranking
from crnas_d2.runs.results import add_entry, read_entries, score_of
from crnas_d2.runs.training import Training, common_settings, finished_trainings
from crnas_d2.runs.trainings import check_trainings, train_all
from crnas_d2.search import Stopped, public_arguments
from crnas_d2.space import Genotype
from crnas_d2.verbs.arguments import add_overwrite, add_plugins, positive_int

STOPPED = "Stopped; the same command resumes."
_FORMATS = (".html", ".png", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    jobs = parser.add_subparsers(dest="job", required=True)
    train = jobs.add_parser("train", help="train networks stand-alone")
    add = train.add_argument
    add("results", type=Path, metavar="RESULTS.json")
    add("--config-file", required=True, help="how each network is trained")
    text = "train each network with this config first; --config-file starts from its weights"
    add("--pretrain-config", metavar="FILE", help=text)
    text = "published networks, genotype.yaml files, configs, folders of runs and searches"
    add("--networks", nargs="+", default=[], metavar="NETWORK", help=text)
    add("--genotypes", type=Path, metavar="FILE", help="YAML list of MODEL.GENOTYPE")
    add("--space", metavar="FILE", help="config of a search to sample from")
    add("--number", type=positive_int, default=24, help="networks to sample from --space")
    text = "stratified: evenly over the range of MACs; default: %(default)s, which a larger "
    add("--sampling", choices=SAMPLINGS, default="random", help=f"{text}--number adds to")
    add("--seeds", type=int, nargs="+", default=[1])
    add("--runs", type=Path, required=True, metavar="DIR", help="for the trainings")
    text = "folders with finished trainings; one with the same config is not trained again"
    add("--reuse", type=Path, nargs="+", default=[], metavar="DIR", help=text)
    add("--num-workers", type=positive_int, default=1, help="trainings at a time")
    add("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides")
    text = "overrides of --pretrain-config"
    add("--pretrain-opts", nargs="+", default=[], metavar="KEY VALUE", help=text)

    score = jobs.add_parser("score", help="score the networks of RESULTS.json in a supernet")
    add = score.add_argument
    add("results", type=Path, metavar="RESULTS.json")
    add("scores", type=Path, metavar="SCORES.json")
    add("--config-file", required=True, help="of the search")
    add("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides")

    report = jobs.add_parser("report", help="seeds, spread and rank correlations")
    add = report.add_argument
    add("results", type=Path, metavar="RESULTS.json")
    text = "scores, or other trainings, of the same networks"
    add("others", type=Path, nargs="*", metavar="OTHER.json", help=text)
    add("--output", metavar="FILE", help="to write: .html (a page), .png or .svg")
    text = "networks to name in the figures, e.g. the baseline and the found one"
    add("--mark", nargs="+", default=[], metavar="NAME=NETWORK", help=text)
    add_overwrite(report, "the file of --output")
    for job in (train, report):  # which read networks of other runs
        add_plugins(job)


def run(args: argparse.Namespace) -> None:
    command = spell("correlate", *public_arguments(args.arguments))
    if args.job == "train":
        train(args, command)
    elif args.job == "score":
        cfg = load_config(args.config_file, args.opts)
        for line in score_networks(cfg, args.results, args.scores, command):
            print(line)
    else:
        report(args)


def train(args: argparse.Namespace, command: str) -> None:
    if args.pretrain_opts and not args.pretrain_config:
        raise ValueError("--pretrain-opts are overrides of --pretrain-config, which is not given.")
    family = load_config(args.config_file, args.opts).MODEL.SUPERNET.FAMILY
    genotypes = find_genotypes(args, family)
    where = {"root": args.runs, "elsewhere": finished_trainings(args.reuse)}
    first, second = tuple(args.pretrain_opts), tuple(args.opts)
    trainings = []
    # All with one seed first.
    for seed, genotype in itertools.product(dict.fromkeys(args.seeds), genotypes):
        network, before = (genotype, seed), None
        if args.pretrain_config:
            before = Training(*network, args.pretrain_config, first, **where)
        trainings.append(Training(*network, args.config_file, second, pretraining=before, **where))
    check_trainings(trainings, args.results)
    settings, metric, done = common_settings(trainings[0]), trainings[0].main_metric, 0
    for result in train_all(trainings, args.results, command, args.num_workers, settings):
        done += 1
        genotype, score = Genotype.from_config(result["genotype"]), score_of(result, metric)
        stage = result.get("pretraining")
        after = f", after {stage['metric']} {stage['score']}" if stage else ""
        print(f"{genotype} seed {result['seed']}: {metric} {score:.2f}{after}")
    if done < len(trainings):
        print(f"{len(trainings) - done} of {len(trainings)} are trained by other processes.")


def find_genotypes(args: argparse.Namespace, family: str) -> list[Genotype]:
    """Return networks of a family to train: named, listed, then sampled ones, each once."""

    def check_family(source: str, found: str) -> None:
        if found != family:
            raise ValueError(
                f"{source} has networks of the family '{found}', but MODEL.SUPERNET.FAMILY of "
                f"--config-file is '{family}': name a config of the same family."
            )

    found = []
    for text in args.networks:
        network = find_genotype(text)
        check_family(text, network.family.name)
        found.append(network.genotype)
    if args.genotypes:
        listed = read_yaml(args.genotypes)
        if not isinstance(listed, list):
            raise ValueError(f"{args.genotypes} holds no list; expected one of MODEL.GENOTYPE.")
        found += [Genotype.from_config(node) for node in listed]
    if args.space:
        cfg = load_config(args.space, [])
        check_family(args.space, cfg.MODEL.SUPERNET.FAMILY)
        found += sample_networks(cfg, args.number, args.sampling)
    if not found:
        raise ValueError("Nothing to train: give --networks, --genotypes, --space, or several.")
    return list(dict.fromkeys(found))


def score_networks(cfg: CfgNode, results: Path, scores: Path, command: str) -> Iterator[str]:
    """Score the networks of stand-alone trainings with the weights of a supernet.

    Args:
        cfg: of a search. Only the networks to score are others.
        results: of :func:`~crnas_d2.runs.trainings.train_all`.
        scores: a JSON file, ``{"command": ..., "scores": [...]}``, to which genotypes are added.
    """
    score = SCORE_REGISTRY.get(cfg.SEARCH.SCORE)
    check_config(cfg, ["TRAIN", "ARCHVAL"] if score.uses_supernet else [])
    check_search(cfg)
    runs = read_entries(results, "runs")
    known = read_entries(scores, "scores") if scores.exists() else []
    wanted, done = (
        dict.fromkeys(Genotype.from_config(entry["genotype"]) for entry in entries)
        for entries in (runs, known)
    )
    evaluate = build_score(cfg)
    for genotype in wanted:
        if genotype in done:
            continue
        metrics = evaluate(genotype)
        assert not isinstance(metrics, Stopped)  # without a race
        fitness = metrics[score.metric(cfg)]
        entry = {"genotype": genotype.to_config(), "fitness": fitness}
        add_entry(scores, "scores", entry, command)
        yield f"{genotype}: {fitness:.4g}"


def report(args: argparse.Namespace) -> None:
    output = None
    if args.output:
        output = check_new_file(args.output, _FORMATS, overwrite=args.overwrite)
    elif args.mark:
        raise ValueError("--mark names networks in the figures: add --output FILE.")
    marks = {network.name: network.genotype for network in map(find_genotype, args.mark)}
    ranking = read_ranking(args.results, args.others)
    print(describe_ranking(ranking))
    if output is not None:
        write_ranking(ranking, marks, output)
        print(f"\n{output}")
