#!/usr/bin/env python
"""Train or evaluate a detector or a classifier: ``crnas-d2 train``."""

from crnas_d2.verbs.main import run_verb


def main(arguments=None):
    run_verb("train", arguments, __file__)


if __name__ == "__main__":
    main()
