"""Install Detectron2, from a wheel on the package index or from its repository."""

import sys

from crnas_d2_start import install_detectron2


def add_arguments(parser):
    install_detectron2.add_arguments(parser)


def run(args):
    sys.exit(install_detectron2.run(args))
