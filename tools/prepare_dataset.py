#!/usr/bin/env python
"""Check your annotations, split them, write configs: ``crnas-d2 prepare``."""

from crnas_d2.verbs.main import run_verb


def main(arguments=None):
    run_verb("prepare", arguments, __file__)


if __name__ == "__main__":
    main()
