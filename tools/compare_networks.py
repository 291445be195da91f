#!/usr/bin/env python
"""Compare trained networks: ``crnas-d2 compare``."""

from crnas_d2.verbs.main import run_verb


def main(arguments=None):
    run_verb("compare", arguments, __file__)


if __name__ == "__main__":
    main()
