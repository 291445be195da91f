"""Warnings of Detectron2 and torch that no user can act on, silenced one by one.

Importing this module does it. Each has its text and the module that gives it. Options of the user
come first: with ``python -W error`` or ``-W default`` these warnings are there again.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Category, beginning of the text, and module: Detectron2 calls what torch calls old by now.
_WARNINGS = (
    (FutureWarning, r"`torch\.jit\.script` is deprecated", r"torch\.jit\._script"),
    (DeprecationWarning, r"`torch\.jit\.script` is deprecated", r"torch\.jit\._script"),
    (FutureWarning, r"`torch\.cuda\.amp\.", r"detectron2\."),
    (UserWarning, r"torch\.meshgrid: in an upcoming release", r"torch\.functional"),
    (UserWarning, r"Palette images with Transparency expressed in bytes", r"PIL\."),
    (UserWarning, r"pkg_resources is deprecated as an API", r"(detectron2|fvcore|iopath)\b"),
)
# Logger and part of the text: Detectron2 asks torch about tracing, and about a compiler; ids of
# categories are mapped as they should be; a genotype.yaml is no config of a version.
_RECORDS = (
    ("torch.fx._symbolic_trace", "is_fx_tracing will return true"),
    ("detectron2.data.datasets.coco", "Category ids in annotations are not in"),
    ("detectron2.config.config", "has no VERSION"),
    ("torch.utils.cpp_extension", "No CUDA runtime is found"),
)


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Keep the messages of a logger below errors from being logged within this context."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _without(text: str) -> Callable[[logging.LogRecord], bool]:
    return lambda record: text not in record.getMessage()


for _category, _text, _module in _WARNINGS:
    # At the end of the list, so that any other filter wins.
    warnings.filterwarnings("ignore", _text, _category, _module, append=True)
for _logger, _text in _RECORDS:
    logging.getLogger(_logger).addFilter(_without(_text))
