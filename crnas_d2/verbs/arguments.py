"""Arguments that several verbs have, and their types."""

import argparse
from argparse import ArgumentParser

_MOST = 10**6
_EXAMPLE = "MODEL.WEIGHTS model_0000499.pth"


def positive_int(text: str) -> int:
    """Return a whole number of at least 1, not absurdly large: the ``type`` of an argument."""
    if not (text.isascii() and text.isdigit()) or int(text[:9]) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number; expected 1, 2, ...")
    if len(text) > 9 or int(text) > _MOST:
        raise argparse.ArgumentTypeError(f"{text} is too large; expected at most {_MOST}")
    return int(text)


def positive_float(text: str) -> float:
    """Return a finite number above 0: the ``type`` of an argument."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def add_config_file(parser: ArgumentParser, help: str = "path to config file") -> None:
    """Add ``--config-file FILE``, and overrides that follow all other arguments."""
    parser.add_argument("--config-file", required=True, metavar="FILE", help=help)
    add_trailing_overrides(parser)


def add_trailing_overrides(parser: ArgumentParser) -> None:
    """Add ``KEY VALUE ...`` after all other arguments, as ``args.opts``."""
    rest, text = argparse.REMAINDER, "overrides of the config"
    parser.add_argument("opts", nargs=rest, metavar="KEY VALUE", help=text)


def add_overrides(parser: ArgumentParser, of: str = "the config", example: str = _EXAMPLE) -> None:
    """Add ``--opts KEY VALUE ...`` for a verb that takes other arguments without a name."""
    rest, text = argparse.REMAINDER, f"overrides of {of}, at the end, e.g. --opts {example}"
    parser.add_argument("--opts", nargs=rest, default=[], metavar="KEY VALUE", help=text)


def add_device(parser: ArgumentParser) -> None:
    parser.add_argument("--device", metavar="DEVICE", help="cpu or cuda; default: the config's")


def add_overwrite(parser: ArgumentParser, what: str = "the file") -> None:
    parser.add_argument("--overwrite", action="store_true", help=f"replace {what}")


def add_input_size(parser: ArgumentParser, of: str = "the image") -> None:
    names, text = ("HEIGHT", "WIDTH"), "in pixels; default: the config's SEARCH.COST_INPUT_SIZE"
    parser.add_argument(
        "--input-size", nargs=2, type=positive_int, metavar=names, help=f"of {of}, {text}"
    )


def add_plugins(parser: ArgumentParser) -> None:
    """Add ``--plugins``: modules that are imported at the start, for verbs that only read runs."""
    text = "modules that the runs name in PLUGINS, if you trust them; they must be importable"
    parser.add_argument("--plugins", nargs="+", default=[], metavar="MODULE", help=text)


def add_trained_network(parser: ArgumentParser) -> None:
    """Add the arguments that name a trained network."""
    text = "OUTPUT_DIR of a finished training, or a folder that export has written"
    parser.add_argument("--run", metavar="FOLDER", help=text)
    text = "instead of --run; the weights are MODEL.WEIGHTS"
    parser.add_argument("--config-file", metavar="FILE", help=text)
    add_plugins(parser)
    add_device(parser)
    add_overrides(parser)
