#!/usr/bin/env python
"""Hold images out of a training set: ``crnas-d2 prepare-archval``."""

from crnas_d2.verbs.main import run_verb


def main(arguments=None):
    run_verb("prepare-archval", arguments, __file__)


if __name__ == "__main__":
    main()
