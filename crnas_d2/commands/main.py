"""Runs a verb: for the command, which ``crnas_d2_start`` starts, and for the scripts of a clone."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from crnas_d2.jobs import one_line_errors
from crnas_d2_start.command import VERBS, main

__all__ = ["VERBS", "main", "run_verb"]


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
