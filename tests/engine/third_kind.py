"""A third kind of supernet, with its own path sampler, in one file: a plug-in of the tests.

It varies the depth of the last stage. The path sampler tries the depths in turn and notes their
losses, so the training finds the depth with the lowest one.
"""

from detectron2.engine import HookBase

from crnas_d2.engine import PATH_SAMPLER_REGISTRY, PathSampler
from crnas_d2.layers import PrefixDepthChoice
from crnas_d2.modeling import Supernet
from crnas_d2.space import SPACE_REGISTRY, Choice, SearchSpace, SpaceKind

OPTIONS = (2, 1)


class LastStage(Supernet):
    has_paths = True

    def __init__(self, space, choice_blocks):
        self.space, self.choice_blocks = space, choice_blocks
        self.losses = {}

    def set_path(self, genotype):
        [[block]] = self.choice_blocks.values()
        block.choose(genotype.depths[-1])
        self.path = genotype

    def decode(self):
        return min(self.losses, key=self.losses.get, default=None)

    def summary(self):
        return {f"loss_of_depth_{path.depths[-1]}": loss for path, loss in self.losses.items()}


@SPACE_REGISTRY.register("last stage")
class LastStageKind(SpaceKind):
    fields = ("depths",)
    path_samplers = ("in turn",)
    is_searched_in_training = True

    def build_space(self, family, genotype):
        depths = [(1,)] * (len(family.stages) - 1) + [OPTIONS]
        pairs = zip(family.stages, depths, strict=True)
        choices = [Choice(f"{stage}.depth", d, field="depths", stage=stage) for stage, d in pairs]
        return SearchSpace(self.name, tuple(choices))

    def check_training(self, cfg):
        if len(OPTIONS) > cfg.SOLVER.MAX_ITER:
            raise ValueError("SOLVER.MAX_ITER is too small to try each depth")

    def build_stages(self, family, space, sharing):
        *rest, last = family.stages
        stages = {stage: family.make_stage(stage, family.operations[:1]) for stage in rest}
        blocks = family.make_stage(last, family.operations[:1] * max(OPTIONS))
        choice = PrefixDepthChoice(blocks, OPTIONS)
        return {**stages, last: [choice]}, {f"{last}.depth": [choice]}

    def build_supernet(self, body, space, parts):
        return LastStage(space, parts)


@PATH_SAMPLER_REGISTRY.register("in turn")
class InTurn(PathSampler):
    def __call__(self, iteration):
        paths = list(self.space)
        return paths[iteration % len(paths)]

    def build_hooks(self, cfg, supernet):
        return [*super().build_hooks(cfg, supernet), NotedLosses(supernet)]


class NotedLosses(HookBase):
    def __init__(self, supernet):
        self.supernet = supernet

    def after_step(self):
        loss = self.trainer.storage.latest()["total_loss"][0]
        self.supernet.losses[self.supernet.path] = loss
