#!/usr/bin/env python
"""Search the subnets of a trained supernet: ``crnas-d2 search``."""

from crnas_d2.verbs.main import run_verb


def main(arguments=None):
    run_verb("search", arguments, __file__)


if __name__ == "__main__":
    main()
