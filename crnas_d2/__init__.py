"""Search better detection backbones at equal cost, inside Detectron2.

Importing this package registers its backbones and datasets with Detectron2.
"""

from . import data, modeling  # noqa: F401  (registration)
from .config import add_crnas_config
from .modeling import find_supernet
from .space import Choice, Genotype, SearchSpace, genotype_file

__version__ = "0.1.0"

__all__ = [
    "Choice",
    "Genotype",
    "SearchSpace",
    "add_crnas_config",
    "find_supernet",
    "genotype_file",
]
