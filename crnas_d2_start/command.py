"""The command ``crnas-d2``: its verbs, in the order of their use."""

import ast
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from . import install_detectron2

__all__ = ["VERBS", "main"]

# Each but the last is a module of crnas_d2/commands, with a dash for _. Its docstring is its help,
# the first line alone in the list of verbs; it has ``add_arguments(parser)`` and ``run(args)``, and
# ``STOPPED`` if an interrupted run can be continued.
VERBS = (
    "demo",
    "prepare",
    "plan",
    "train",
    "search",
    "compare",
    "analyze",
    "sketch",
    "receptive-field",
    "correlate",
    "sample",
    "predict",
    "export",
    "prepare-archval",
    "install-detectron2",
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
    elif verb == "install-detectron2":
        sys.exit(install_detectron2.main(arguments, program))
    elif verb not in (*VERBS, "--version"):
        near = get_close_matches(verb, VERBS)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        sys.exit(f"crnas-d2: '{verb}' is no verb.{hint} crnas-d2 --help lists all.")
    elif install_detectron2.find_detectron2() is None:
        sys.exit("crnas-d2: Detectron2 is not installed: run crnas-d2 install-detectron2.")
    else:
        # Here, because the package needs Detectron2, and seconds.
        import crnas_d2
        from crnas_d2.commands.main import run_verb

        if verb == "--version":
            print(f"crnas-d2 {crnas_d2.__version__}")
        else:
            run_verb(verb, arguments, program)


def overview() -> str:
    """Return the list of verbs, each with its help."""
    width = max(map(len, VERBS))
    package = Path(find_spec("crnas_d2").origin)  # found and read, not imported
    commands = package.parent / "commands"
    files = {verb: commands / f"{verb.replace('-', '_')}.py" for verb in VERBS}
    files["install-detectron2"] = Path(install_detectron2.__file__)
    lines = [f"  {verb:{width}}  {_first_line(file)}" for verb, file in files.items()]
    return "\n".join(
        [
            "usage: crnas-d2 VERB ...\n",
            f"{_first_line(package)}\n",
            "verbs:",
            *lines,
            "\ncrnas-d2 VERB --help says more about one; crnas-d2 --version has the version.",
        ]
    )


def _first_line(file: Path) -> str:
    """Return the first line of a module's docstring."""
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))).splitlines()[0]
