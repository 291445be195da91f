#!/usr/bin/env python
"""Sample networks that satisfy SEARCH.BUDGET: ``crnas-d2 sample``."""

from crnas_d2.verbs.main import run_verb


def main(arguments=None):
    run_verb("sample", arguments, __file__)


if __name__ == "__main__":
    main()
