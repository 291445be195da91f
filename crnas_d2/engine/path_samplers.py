"""Which subnet of a supernet runs in a training step."""

from random import Random

from crnas_d2.space import Genotype, SearchSpace

__all__ = ["UniformPathSampler"]


class UniformPathSampler:
    """Single-path one-shot sampling: an option is sampled uniformly per choice (CR-NAS 3.3.1).

    A sample depends only on the seed and the iteration. So all ranks sample the same path without
    communication, and a resumed run samples the same paths as an uninterrupted one.
    """

    def __init__(self, space: SearchSpace, seed: int):
        self.space = space
        self.seed = seed

    def __call__(self, iteration: int) -> Genotype:
        # A string seed goes through SHA-512: neighbouring iterations get unrelated streams.
        random = Random(f"{self.seed}/{iteration}")
        return self.space.sample(random)
