"""The blocks of a backbone, stage by stage: choices in a supernet, plain blocks elsewhere."""

from collections.abc import Callable, Sequence

from detectron2.layers import CNNBlockBase

from crnas_d2.layers import (
    BranchDepthChoice,
    ChoiceBlock,
    DilationChoice,
    OperationChoice,
    PrefixDepthChoice,
)
from crnas_d2.space import (
    DILATIONS,
    SearchSpace,
    build_family,
    build_genotype,
    build_search_space,
    is_supernet,
)

__all__ = ["StageBuilder", "check_supernet", "new_stage_builder"]

# By MODEL.SUPERNET.SPACE, the values of SHARING.
_SHARINGS = {
    "stage": ("none", "prefix"),
    "operation": ("none", "weight"),
    "channel": ("none", "weight"),
}


class StageBuilder:
    """Makes the stages of the supernet, or of the one network, that a config describes.

    Args:
        space: the choices that stay open; ``None`` for one network.
        ops: by name of each stage, the operations of its blocks in the one network, or those that
            do not vary in the supernet.
        sharing: which weights the options of a choice share, ``MODEL.SUPERNET.SHARING``.

    Attributes:
        space: the choices that stay open.
        choice_blocks: by name of the choice, the modules made so far that carry it out. A choice
            of a single option has none.
    """

    def __init__(
        self, space: SearchSpace | None, ops: dict[str, tuple[int, ...]], sharing: str = "none"
    ):
        self.space = space
        self.options = {choice.name: choice.options for choice in space.choices} if space else {}
        self.ops = ops
        self.sharing = sharing
        self.choice_blocks: dict[str, ChoiceBlock] = {}

    def __call__(
        self, stage: str, make_blocks: Callable[[Sequence[int]], list[CNNBlockBase]]
    ) -> list[CNNBlockBase]:
        """The blocks of one stage.

        Args:
            make_blocks: from the operation of each block to new blocks.
        """
        if f"{stage}.depth" in self.options:
            return self._depth_choice(f"{stage}.depth", make_blocks)
        blocks = make_blocks(self.ops[stage])
        names = [f"{stage}.{index}.op" for index in range(len(blocks))]
        if len(self.options.get(names[0], ())) < 2:
            return blocks
        return self._operation_choices(names, blocks, make_blocks)

    def _depth_choice(self, name, make_blocks):
        depths = self.options[name]
        if len(depths) == 1:
            return make_blocks((0,) * depths[0])
        if self.sharing == "prefix":
            choice = PrefixDepthChoice(make_blocks((0,) * max(depths)), depths)
        else:
            choice = BranchDepthChoice({depth: make_blocks((0,) * depth) for depth in depths})
        self.choice_blocks[name] = choice
        return [choice]

    def _operation_choices(self, names, blocks, make_blocks):
        ops = self.options[names[0]]
        if self.sharing == "weight":
            choices = [DilationChoice(block, DILATIONS) for block in blocks]
        else:
            candidates = [make_blocks((op,) * len(names)) for op in ops]
            choices = [
                OperationChoice(dict(zip(ops, column, strict=True)))
                for column in zip(*candidates, strict=True)
            ]
        self.choice_blocks.update(zip(names, choices, strict=True))
        return choices


def new_stage_builder(cfg) -> StageBuilder:
    """The builder for ``MODEL.SUPERNET`` and ``MODEL.GENOTYPE``.

    The channel space leaves no choice open here: it varies the convolutions of one network.
    """
    space = build_search_space(cfg) if is_supernet(cfg) else None
    genotype = build_genotype(cfg) if space is None else space.base
    if space is not None and space.kind == "channel":
        space = None
    ops = {}
    if genotype.depths:
        ops = dict(zip(build_family(cfg).stages, genotype.ops_of_stages(), strict=True))
    return StageBuilder(space, ops, cfg.MODEL.SUPERNET.SHARING)


def check_supernet(cfg, norm_key: str, norm: str) -> None:
    """Refuses settings that no supernet can honour.

    Args:
        norm_key: the config key of ``norm``, the norm of the body.
    """
    if not is_supernet(cfg):
        return
    # The space is built first, for it knows whether there is one of this kind.
    kind, sharing = build_search_space(cfg).kind, cfg.MODEL.SUPERNET.SHARING
    if sharing not in _SHARINGS[kind]:
        raise ValueError(
            f"MODEL.SUPERNET.SHARING is '{sharing}'; expected one of {_SHARINGS[kind]} in the "
            f"{kind} space."
        )
    if kind == "channel":
        return  # all of it runs in every step, as one network: what follows is about paths
    family = build_family(cfg)
    if sharing == "weight" and not family.shares_weights:
        raise ValueError(
            f"MODEL.SUPERNET.SHARING is 'weight', but the operations of the family "
            f"'{cfg.MODEL.SUPERNET.FAMILY}' ({', '.join(family.operations)}) have weights of "
            "different shapes, unlike dilations, so that they have none to share. Set it to 'none'."
        )
    if cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {cfg.MODEL.BACKBONE.FREEZE_AT}: a supernet cannot be "
            "frozen in part, for the frozen stages hold choices that have yet to be trained. "
            "Set it to 0."
        )
    if norm == "FrozenBN":
        raise ValueError(
            f"{norm_key} is 'FrozenBN': each path of a supernet needs statistics of its own, which "
            "frozen ones cannot follow. Use 'BN' or 'SyncBN'."
        )
