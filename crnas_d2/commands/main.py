"""The command ``crnas-d2``: its verbs, in the order of their use."""

import argparse
import ast
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import crnas_d2
from crnas_d2.jobs import one_line_errors
from crnas_d2.space import did_you_mean

__all__ = ["VERBS", "main", "run_verb"]

# Each is a module of this folder, with a dash for _. Its docstring is the help of the verb, the
# first line alone in the list of verbs; it has ``add_arguments(parser)`` and ``run(args)``, and
# ``STOPPED`` if an interrupted run can be continued.
VERBS = (
    "demo",
    "prepare",
    "train",
    "search",
    "compare",
    "analyze",
    "correlate",
    "sample",
    "prepare-archval",
    "install-detectron2",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``crnas-d2 VERB ...``.

    Args:
        argv: what follows ``crnas-d2``; default: the arguments of this process.
    """
    verb, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        print(overview())
    elif verb == "--version":
        print(f"crnas-d2 {crnas_d2.__version__}")
    elif verb not in VERBS:
        near = did_you_mean(verb, VERBS)
        sys.exit(f"crnas-d2: '{verb}' is no verb.{near} crnas-d2 --help lists all.")
    else:
        run_verb(verb, arguments, f"crnas-d2 {verb}")


def run_verb(verb: str, arguments: Sequence[str] | None, program: str) -> None:
    """Parse the arguments of a verb and run it; an expected error ends it with one line.

    Args:
        arguments: of the verb; default: those of this process.
        program: the name by which the user called it: ``crnas-d2 train``, ``train_net.py``.
    """
    program = os.path.basename(program)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    module = import_module(f"crnas_d2.commands.{verb.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=program,
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    # For a process that a verb starts, a check of several arguments, and a record of the command.
    parser.set_defaults(program=program, refuse=parser.error, arguments=arguments)
    with one_line_errors(program, getattr(module, "STOPPED", "Stopped.")):
        module.run(parser.parse_args(arguments))


def overview() -> str:
    """Return the list of verbs, each with its help."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {_help(verb)}" for verb in VERBS]
    return "\n".join(
        [
            "usage: crnas-d2 VERB ...\n",
            f"{crnas_d2.__doc__.splitlines()[0]}\n",
            "verbs:",
            *lines,
            "\ncrnas-d2 VERB --help says more about one; crnas-d2 --version has the version.",
        ]
    )


def _help(verb: str) -> str:
    """Return the first line of a verb's docstring; read, because importing all takes seconds."""
    file = Path(__file__).with_name(f"{verb.replace('-', '_')}.py")
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))).splitlines()[0]
