"""What a job shows on the terminal, and what it only writes to ``log.txt``."""

import logging
import re
import sys
from argparse import Namespace

from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from crnas_d2.search import hide_password

_LOGGERS = ("detectron2", "fvcore", "crnas_d2")
# Beginnings of messages of a hundred lines and more.
_LONG = ("Environment info:", "Running with full config:", "Model:")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def set_up(cfg, arguments: Namespace, *, terminal_level: int = logging.INFO) -> None:
    """Run Detectron2's ``default_setup``, with the long texts in ``log.txt`` only.

    The file has no colours, nor has an output that is no terminal.

    Args:
        arguments: of the command line, for the log.
        terminal_level: of the messages that are shown.
    """
    rank = comm.get_rank()
    # First, in the same words as default_setup(), so that it finds the handlers as they are here.
    for name in ("fvcore", "crnas_d2"):
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name=name)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)
    for name in _LOGGERS:
        _arrange(logging.getLogger(name), terminal_level)
    default_setup(hide_password(cfg), arguments)


def _arrange(logger: logging.Logger, terminal_level: int) -> None:
    streams = [h for h in logger.handlers if isinstance(h, logging.StreamHandler)]
    shown = [handler for handler in streams if handler.stream in (sys.stdout, sys.__stdout__)]
    for handler in shown[:-1]:  # of an earlier job in this process: each line would come twice
        logger.removeHandler(handler)
    for handler in shown[-1:]:
        handler.setLevel(terminal_level)
        handler.addFilter(_is_short)
    for handler in streams:
        has_colours = handler in shown and handler.stream.isatty()
        if not has_colours and not isinstance(handler.formatter, _Plain):
            handler.setFormatter(_Plain(handler.formatter))


def _is_short(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_LONG)


class _Plain(logging.Formatter):
    """Formats as another formatter does, without colours."""

    def __init__(self, formatter: logging.Formatter):
        super().__init__()
        self.formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return _COLOURS.sub("", self.formatter.format(record))
