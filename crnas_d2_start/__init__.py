"""What works before Detectron2 is there: the start of the command, and the installer."""

import sys

from . import install_detectron2

__all__ = ["main"]


def main() -> None:
    """Run the command ``crnas-d2``. Without Detectron2, its one verb is ``install-detectron2``."""
    if sys.argv[1:2] == ["install-detectron2"]:
        sys.exit(install_detectron2.main(sys.argv[2:], program="crnas-d2 install-detectron2"))
    if install_detectron2.find_detectron2() is None:
        sys.exit("crnas-d2: Detectron2 is not installed: run crnas-d2 install-detectron2.")
    # Here, because this package needs Detectron2.
    from crnas_d2.commands.main import main as run_command

    run_command()
