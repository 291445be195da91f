"""Install Detectron2, from a wheel on the package index or from its repository."""

import argparse
import sys

from crnas_d2_start import install_detectron2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    install_detectron2.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    sys.exit(install_detectron2.run(args))
