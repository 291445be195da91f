"""The networks that the papers publish, as config fragments inside the package."""

from importlib.resources import files


def genotype_file(name: str) -> str:
    """Return the path of a published genotype, for ``_BASE_`` or ``cfg.merge_from_file``.

    Args:
        name: paper and network, e.g. ``CR-NAS/CR-R50``.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    known = {
        f"{paper.name}/{file.name.removesuffix('.yaml')}": file
        for paper in (files("crnas_d2") / "genotypes").iterdir()
        if paper.is_dir()
        for file in paper.iterdir()
        if file.name.endswith(".yaml")
    }
    if name not in known:
        raise ValueError(
            f"No published genotype is named '{name}'; known: {', '.join(sorted(known))}."
        )
    return str(known[name])
