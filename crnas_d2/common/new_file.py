"""A file of results: checked before the work, so that nothing is lost after it."""

from collections.abc import Sequence
from pathlib import Path

from crnas_d2.common.output import check_output


def check_new_file(file: str, suffixes: Sequence[str], *, overwrite: bool) -> Path:
    """Check that ``--output`` can be written, and that it replaces nothing.

    Args:
        suffixes: of which the name has one, e.g. ``(".png", ".svg")``.

    Raises:
        ValueError: with the path and what to do.
    """
    output = Path(file)
    if output.suffix.lower() not in suffixes:
        known = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise ValueError(f"--output is {output}; expected a name that ends with {known}.")
    if output.exists() and not overwrite:
        raise ValueError(
            f"--output {output} exists already: choose another name, or replace it with "
            "--overwrite."
        )
    check_output(str(output.parent))
    return output
