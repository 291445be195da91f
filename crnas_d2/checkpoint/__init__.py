"""Weights: loading them, and matching those of one network to another."""

from .checkpointers import StrictCheckpointer, TrainingCheckpointer, newest_checkpoint
from .convention import describe_network
from .decoded_weights import decode_state_dict
from .files import FINAL, read_file, write_weights
from .matching import MatchedWeights, match_weights
from .subnet_weights import fixed_names, subnet_state_dict
from .weight_file import WeightFile, read_weights

__all__ = [
    "FINAL",
    "MatchedWeights",
    "StrictCheckpointer",
    "TrainingCheckpointer",
    "WeightFile",
    "decode_state_dict",
    "describe_network",
    "fixed_names",
    "match_weights",
    "newest_checkpoint",
    "read_file",
    "read_weights",
    "subnet_state_dict",
    "write_weights",
]
