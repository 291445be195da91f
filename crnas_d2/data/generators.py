"""The global generators of random numbers, which augmentations use."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import numpy as np
import torch


@contextmanager
def generators_seeded(key: str) -> Iterator[None]:
    """Seed the global generators, which augmentations use, and restore them on exit."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = Random(key).getrandbits(32)
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
