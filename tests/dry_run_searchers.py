"""A plugin for dry runs: a search of two candidates, whatever the space."""

from crnas_d2.search import SEARCHER_REGISTRY, Searcher, sample_genotypes


@SEARCHER_REGISTRY.register("two candidates")
class TwoCandidates(Searcher):
    """Two feasible networks and, where a greedy search is possible, a prefix before them."""

    def __init__(self, space, budgets=()):
        super().__init__(space, budgets)
        self.genotypes = sample_genotypes(space, budgets, 2, seed=0)
        if not budgets and not space.is_conditional:
            values = space.values(self.genotypes[0])
            first = dict(list(values.items())[:-1])
            self.genotypes.insert(0, space.genotype(first))
            self.num_prefixes = 1
        self.total = len(self.genotypes)

    def propose(self, candidates):
        done = {candidate.genotype for candidate in candidates}
        return [genotype for genotype in self.genotypes if genotype not in done]
