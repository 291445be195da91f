"""A searcher: from a random genotype to its best neighbour, until no neighbour is better."""

from crnas_d2 import SEARCHER_REGISTRY
from crnas_d2.search import Searcher, sample_genotypes


@SEARCHER_REGISTRY.register("hill_climbing")
class HillClimbing(Searcher):
    def __init__(self, space, budgets=(), *, seed=0):
        super().__init__(space, budgets)
        [self.start] = sample_genotypes(space, budgets, 1, seed)

    @classmethod
    def from_config(cls, cfg):
        return {"seed": max(cfg.SEED, 0)}

    def propose(self, candidates):
        fitness = {c.genotype: c.fitness or 0.0 for c in candidates}  # None: it has failed
        best, last = self.start, None
        while best != last:  # from the start each time: a searcher keeps no state
            around = [best, *filter(self.is_feasible, self.neighbours(self.space.values(best)))]
            if missing := [genotype for genotype in around if genotype not in fitness]:
                return missing
            best, last = max(around, key=fitness.get), best
        return []

    def neighbours(self, values):
        for choice in self.space.choices:
            yield from (self.space.genotype({**values, choice.name: o}) for o in choice.options)
