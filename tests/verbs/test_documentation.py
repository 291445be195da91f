"""docs/COMMANDS.md: an example of every verb, which its parser takes."""

import argparse
import re
import shlex
from importlib import import_module

import toy

from crnas_d2.verbs.main import VERBS

PAGE = (toy.ROOT / "docs" / "COMMANDS.md").read_text()
EXAMPLES = [shlex.split(line)[1:] for line in re.findall("^crnas-d2 .*", PAGE, re.MULTILINE)]


def test_every_verb_has_a_row_and_an_example():
    assert set(re.findall(r"^\| `([\w-]+)` ", PAGE, re.MULTILINE)) == set(VERBS)
    assert {verb for verb, *_ in EXAMPLES} == set(VERBS)


def test_the_examples_are_understood():
    for verb, *arguments in EXAMPLES:
        parser = argparse.ArgumentParser(exit_on_error=False)
        room = "crnas_d2.verbs"
        import_module(f"{room}.{verb.replace('-', '_')}").add_arguments(parser)
        parser.parse_args(arguments)


def test_the_scripts_are_those_of_the_clone():
    for script in re.findall(r"`((?:tools/)?\w+\.py)`", PAGE):
        assert (toy.ROOT / script).is_file(), script
