#!/usr/bin/env python
"""Measure how well a supernet ranks networks: ``crnas-d2 correlate``."""

from crnas_d2.verbs.main import run_verb


def main(arguments=None):
    run_verb("correlate", arguments, __file__)


if __name__ == "__main__":
    main()
