"""The command ``crnas-d2``: its verbs, in the order of their use."""

import argparse
import ast
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType

from crnas_d2.common.errors import did_you_mean, one_line_errors
from crnas_d2.common.garbage import without_garbage_collection

from . import install_detectron2

# Each is a module or a folder beside this file, with a dash for _. Its docstring is its help, the
# first line alone in the list of verbs; it has ``add_arguments(parser)`` and ``run(args)``, and
# ``STOPPED`` if an interrupted run can be continued.
VERBS = (
    *("demo", "prepare", "plan", "train", "search", "compare", "analyze", "sketch"),
    *("receptive-field", "correlate", "sample", "predict", "export"),
    *("prepare-archval", "install-detectron2"),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``crnas-d2 VERB ...``; without Detectron2, the one verb is ``install-detectron2``.

    Args:
        argv: what follows ``crnas-d2``; default: the arguments of this process.
    """
    verb, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    program = f"crnas-d2 {verb}"
    if verb in ("-h", "--help"):
        print(overview())
    elif verb == "--version":
        import crnas_d2

        print(f"crnas-d2 {crnas_d2.__version__}")
    elif verb == "install-detectron2":
        sys.exit(install_detectron2.main(arguments, program))
    elif verb not in VERBS:
        near = did_you_mean(verb, VERBS)
        sys.exit(f"crnas-d2: '{verb}' is no verb.{near} crnas-d2 --help lists all.")
    elif install_detectron2.find_detectron2() is None:
        sys.exit("crnas-d2: Detectron2 is not installed: run crnas-d2 install-detectron2.")
    else:
        run_verb(verb, arguments, program)


def run_verb(verb: str, arguments: Sequence[str] | None, program: str) -> None:
    """Parse the arguments of a verb and run it; an expected error ends it with one line.

    Args:
        arguments: of the verb; default: those of this process.
        program: the name by which the user called it: ``crnas-d2 train``, ``train_net.py``.
    """
    program = os.path.basename(program)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with without_garbage_collection():
        module = import_module(f"crnas_d2.verbs.{verb.replace('-', '_')}")
        gc.freeze()
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(program, description=module.__doc__, formatter_class=layout)
    module.add_arguments(parser)
    # For a process that a verb starts, a check of several arguments, and a record of the command.
    parser.set_defaults(program=program, refuse=parser.error, arguments=arguments)
    stopped = getattr(module, "STOPPED", "Stopped.")
    with one_line_errors(program, stopped), _ended_as_by_ctrl_c():
        args = parser.parse_args(arguments)
        for name in ("opts", "pretrain_opts"):
            _check_overrides(getattr(args, name, None) or [])
        if getattr(args, "plugins", []):
            from crnas_d2.config import import_plugins

            import_plugins(args.plugins)
        module.run(args)


def _check_overrides(overrides: Sequence[str]) -> None:
    """Raise ValueError if ``KEY VALUE ...`` give one key two values."""
    values: dict[str, str] = {}
    for key, value in zip(overrides[::2], overrides[1::2], strict=False):
        if values.setdefault(key, value) != value:
            both = f"{values[key]} and {value}"
            raise ValueError(f"The override {key} is given twice, as {both}: leave out one.")


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the body as Ctrl-C does, so that it leaves nothing half done."""
    process = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        if os.getpid() == process:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)  # in a fork, e.g. one that reads images
        os.kill(os.getpid(), number)

    is_main = threading.current_thread() is threading.main_thread()  # which alone may do that
    numbers = (signal.SIGTERM, signal.SIGHUP) if is_main else ()
    taken = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def overview() -> str:
    """Return the list of verbs, each with the first line of its docstring."""
    lines = [
        "usage: crnas-d2 VERB ...\n",
        "Search better detection backbones at equal cost, inside Detectron2.\n",
        "verbs:",
    ]
    for verb in VERBS:
        # Read, not imported: importing all verbs takes seconds.
        folder = Path(__file__).with_name(verb.replace("-", "_"))
        file = folder.with_suffix(".py")
        file = file if file.exists() else folder / "__init__.py"
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        summary = docstring.partition("\n")[0]
        lines.append(f"  {verb:{max(map(len, VERBS))}}  {summary}")
    more = "crnas-d2 VERB --help says more about one; crnas-d2 --version has the version."
    return "\n".join([*lines, f"\n{more}"])
