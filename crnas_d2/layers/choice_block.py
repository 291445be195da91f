"""Choice blocks: places of a supernet where one of several options runs."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from detectron2.layers import CNNBlockBase
from torch import nn

from crnas_d2.space import Operation


class ChoiceBlock(CNNBlockBase):
    """A block with one active option; the others neither run nor change.

    Detectron2's own backbones are built with it, as with any block.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, options: Iterable[int]):
        super().__init__(in_channels, out_channels, stride)
        self.options = tuple(options)
        self.chosen: int | None = None

    def choose(self, option: int) -> None:
        assert option in self.options, (option, self.options)
        self.chosen = option

    @abstractmethod
    def active_children(self) -> Sequence[nn.Module]:
        """The child modules that run, in order."""

    @abstractmethod
    def fixed_name(self, name: str) -> tuple[int, str]:
        """Map the name of a tensor of this block to the one in a fixed network.

        ``(k, rest)`` is ``rest`` of the k-th block, counted from this block's place in its stage. A
        choice inside a single block has ``k = 0``.
        """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        if self.chosen is None:
            raise RuntimeError(
                "The supernet has no active path: call set_path(genotype) of it first."
            )
        for module in self.active_children():
            x = module(x)
        return x


class BranchDepthChoice(ChoiceBlock):
    """A stage whose branches, one per number of blocks, own their blocks (CR-NAS section 3.2.1)."""

    def __init__(self, branches: Mapping[int, Sequence[CNNBlockBase]]):
        # The first block of any branch changes stride and channels.
        first = next(iter(branches.values()))[0]
        super().__init__(first.in_channels, first.out_channels, first.stride, branches)
        self.branches = nn.ModuleDict(
            {str(depth): nn.Sequential(*blocks) for depth, blocks in branches.items()}
        )

    def active_children(self) -> Sequence[nn.Module]:
        return [self.branches[str(self.chosen)]]

    def fixed_name(self, name: str) -> tuple[int, str]:
        _branches, _depth, index, rest = name.split(".", 3)
        return int(index), rest


class PrefixDepthChoice(ChoiceBlock):
    """A stage in which ``k`` blocks are the first ``k`` of the deepest branch, to save memory."""

    def __init__(self, blocks: Sequence[CNNBlockBase], options: Sequence[int]):
        assert max(options) == len(blocks), (options, len(blocks))
        super().__init__(blocks[0].in_channels, blocks[0].out_channels, blocks[0].stride, options)
        self.blocks = nn.ModuleList(blocks)

    def active_children(self) -> Sequence[nn.Module]:
        return list(self.blocks[: self.chosen])

    def fixed_name(self, name: str) -> tuple[int, str]:
        _blocks, index, rest = name.split(".", 2)
        return int(index), rest


class OperationChoice(ChoiceBlock):
    """Blocks of equal shapes, one per operation and keyed by its index, with weights of their own.

    The choice block of single-path one-shot supernets (Guo et al. 2019, section 3.2).
    """

    def __init__(self, candidates: Mapping[int, CNNBlockBase]):
        first = next(iter(candidates.values()))
        super().__init__(first.in_channels, first.out_channels, first.stride, candidates)
        self.candidates = nn.ModuleDict({str(op): block for op, block in candidates.items()})

    def active_children(self) -> Sequence[nn.Module]:
        return [self.candidates[str(self.chosen)]]

    def fixed_name(self, name: str) -> tuple[int, str]:
        _candidates, _op, rest = name.split(".", 2)
        return 0, rest


class SharedWeightChoice(ChoiceBlock):
    """A block that each operation, keyed by index, changes in place; all use its weights."""

    def __init__(self, block: CNNBlockBase, operations: Mapping[int, Operation]):
        super().__init__(block.in_channels, block.out_channels, block.stride, operations)
        self.block = block
        self.operations = dict(operations)

    def choose(self, option: int) -> None:
        super().choose(option)
        self.operations[option].change(self.block)  # type: ignore[misc]

    def active_children(self) -> Sequence[nn.Module]:
        return [self.block]

    def fixed_name(self, name: str) -> tuple[int, str]:
        return 0, name.removeprefix("block.")


def active_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield ``module.modules()``, except the modules off the active path."""
    yield module
    children = module.active_children() if isinstance(module, ChoiceBlock) else module.children()
    for child in children:
        yield from active_modules(child)
