"""The genotype: which subnet of a supernet is meant."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

__all__ = ["Genotype"]


@dataclass(frozen=True, order=True)
class Genotype:
    """One architecture as plain, hashable data.

    Attributes:
        depths: number of blocks of each stage, from the highest resolution to the lowest.
    """

    depths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", _positive_ints("DEPTHS", self.depths))

    @classmethod
    def from_config(cls, node: Mapping) -> "Genotype":
        """Reads a ``MODEL.GENOTYPE`` mapping (its keys are the field names in upper case)."""
        unknown = sorted(set(node) - {"DEPTHS"})
        if unknown:
            raise ValueError(f"MODEL.GENOTYPE has unknown keys {unknown}; known keys: ['DEPTHS'].")
        return cls(depths=node.get("DEPTHS", ()))

    def to_config(self) -> dict:
        """The content of ``MODEL.GENOTYPE``: plain lists, empty fields left out."""
        return {name.upper(): list(value) for name, value in asdict(self).items() if value}

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Genotype":
        """Reads a ``genotype.yaml``.

        Raises:
            ValueError: the file names no genotype.
        """
        config = yaml.safe_load(Path(path).read_text()) or {}
        node = config.get("MODEL", {}).get("GENOTYPE")
        if not node:
            raise ValueError(f"{path} holds no MODEL.GENOTYPE, so it names no network.")
        return cls.from_config(node)

    def to_yaml(self, path: str | Path, *, family: str, comment: str = "") -> None:
        """Writes a config fragment; ``_BASE_: [Base.yaml, genotype.yaml]`` builds the network.

        Args:
            family: the family whose blocks the numbers count, ``MODEL.SUPERNET.FAMILY``.
            comment: lines for the head of the file.
        """
        config = {
            "MODEL": {
                "SUPERNET": {"FAMILY": family, "PATH_SAMPLER": "fixed"},
                "GENOTYPE": self.to_config(),
            }
        }
        head = "".join(f"# {line}\n" for line in comment.splitlines())
        body = yaml.safe_dump(config, default_flow_style=None, sort_keys=False)
        Path(path).write_text(head + body)

    def __str__(self) -> str:
        return " ".join(f"{name}={list(value)}" for name, value in asdict(self).items() if value)


def _positive_ints(name: str, values: Sequence) -> tuple[int, ...]:
    # bool is an int in Python, but "True blocks" is a typing mistake in a config.
    if not all(isinstance(value, int) and value is not True and value >= 1 for value in values):
        raise ValueError(
            f"MODEL.GENOTYPE.{name} is {list(values)}; expected whole numbers of at least 1, "
            "one per stage."
        )
    return tuple(values)
