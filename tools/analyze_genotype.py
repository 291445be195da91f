#!/usr/bin/env python
"""Print the costs of a network, part by part: ``crnas-d2 analyze``."""

from crnas_d2.verbs.main import run_verb


def main(arguments=None):
    run_verb("analyze", arguments, __file__)


if __name__ == "__main__":
    main()
