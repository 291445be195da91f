"""When the choice blocks of a supernet begin and end while it runs."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from crnas_d2.modeling import Supernet, find_supernet
from crnas_d2.space import SearchSpace


def single_path(body: nn.Module) -> tuple[Supernet, SearchSpace]:
    """Return the single-path supernet of a body, and its space."""
    supernet = find_supernet(body)
    assert supernet is not None and supernet.has_paths, "the body is not a single-path supernet"
    assert isinstance(supernet.space, SearchSpace)
    return supernet, supernet.space


class BlockEvents:
    """A context in which ``mark`` is called where a choice block begins and where it ends.

    Attributes:
        shapes: by name of a choice, the shapes of its block's input and output.
    """

    def __init__(self, supernet: Supernet, mark: Callable[[], None]):
        self.supernet = supernet
        self.mark = mark
        self.shapes: dict[str, tuple[torch.Size, torch.Size]] = {}
        self._choices: list[str] = []  # by event: that whose block begins, or "" where one ends
        self._hooks = ExitStack()

    def __enter__(self) -> "BlockEvents":
        for name, blocks in self.supernet.choice_blocks.items():
            for block in blocks:
                begins, ends = partial(self._begin, name), partial(self._end, name)
                self._hooks.callback(block.register_forward_pre_hook(begins).remove)
                self._hooks.callback(block.register_forward_hook(ends).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _begin(self, name: str, *_: Any) -> None:
        self._choices.append(name)
        self.mark()

    def _end(self, name: str, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.shapes[name] = inputs[0].shape, output.shape
        self._choices.append("")
        self.mark()

    def own_parts(self, readings: Sequence[float]) -> dict[str, float]:
        """Return how much a meter rose in the block of each choice, without inner choices.

        Args:
            readings: of the meter, at each call of ``mark``.
        """
        own: dict[str, float] = {}
        running: list[tuple[str, float]] = []  # a branch of blocks contains inner choices
        inner: list[float] = [0]
        for name, reading in zip(self._choices, readings, strict=True):
            if name:
                running.append((name, reading))
                inner.append(0)
                continue
            name, before = running.pop()
            own[name] = reading - before - inner.pop()
            inner[-1] += reading - before
        return own
