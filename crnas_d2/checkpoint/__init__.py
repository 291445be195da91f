"""Weights: loading them, and matching those of one network to another."""

from .checkpointers import StrictCheckpointer, TrainingCheckpointer
from .decoded_weights import decode_state_dict
from .matching import MatchedWeights, match_weights
from .subnet_weights import fixed_names, subnet_state_dict

__all__ = [
    "MatchedWeights",
    "StrictCheckpointer",
    "TrainingCheckpointer",
    "decode_state_dict",
    "fixed_names",
    "match_weights",
    "subnet_state_dict",
]
