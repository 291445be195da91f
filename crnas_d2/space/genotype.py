"""The genotype: one architecture, e.g. one subnet of a supernet."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from crnas_d2.common.errors import invalid
from crnas_d2.common.files import write_file
from crnas_d2.common.plain_yaml import is_list, read_yaml, without_tuples

_MOST_BLOCKS = 10_000  # more is a mistake, with which nothing would come to an end


@dataclass(frozen=True, order=True)
class Genotype:
    """One architecture as plain, hashable data.

    Attributes:
        depths: number of blocks of each stage, from the highest resolution to the lowest.
        ops: index of the operation of each block, in the order in which the blocks run; empty:
            the first operation everywhere. In a partial genotype, a prefix that a greedy search
            extends, only the first blocks have one.
        channels: for each searched convolution, in the order in which they run, the index of the
            dilation of each channel group (NATS section 3.3); empty: the dilations of ``ops``.
        image_size: the shorter side of its images in pixels, of one entry; empty: not searched.
    """

    depths: tuple[int, ...] = ()
    ops: tuple[int, ...] = ()
    channels: tuple[tuple[int, ...], ...] = ()
    image_size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        depths = _whole_numbers("DEPTHS", self.depths, least=1, each="one per stage")
        ops = _whole_numbers("OPS", self.ops, least=0, each="one per block")
        size = _whole_numbers("IMAGE_SIZE", self.image_size, least=1, each="one at most")
        if sum(depths) > _MOST_BLOCKS:
            raise invalid("MODEL.GENOTYPE.DEPTHS", depths, f"at most {_MOST_BLOCKS} blocks in all")
        if len(size) > 1:
            raise invalid("MODEL.GENOTYPE.IMAGE_SIZE", list(size), "[shorter side], pixels, or []")
        object.__setattr__(self, "image_size", size)
        object.__setattr__(self, "depths", depths)
        object.__setattr__(self, "ops", ops)
        object.__setattr__(self, "channels", _lists_of_indices(self.channels))

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> "Genotype":
        """Read a ``MODEL.GENOTYPE`` mapping (its keys are the field names in upper case).

        Raise ValueError for an unknown key, or a malformed value.
        """
        known = [field.name.upper() for field in fields(cls)]
        if not isinstance(node, Mapping):
            raise ValueError(f"A genotype is {node!r}; expected a mapping with keys of {known}.")
        unknown = sorted(set(node) - {*known, "FAMILY"})
        if unknown:
            names = [*known, "FAMILY"]
            raise ValueError(f"MODEL.GENOTYPE has unknown keys {unknown}; known keys: {names}.")
        return cls(**{name.lower(): node[name] for name in known if name in node})

    def ops_of_stages(self) -> tuple[tuple[int, ...], ...]:
        """Return the operations of the blocks, stage by stage."""
        ops = self.ops or (0,) * sum(self.depths)
        ends = list(accumulate(self.depths))
        assert len(ops) == ends[-1], self
        return tuple(ops[end - depth : end] for end, depth in zip(ends, self.depths, strict=True))

    def to_config(self) -> dict[str, Any]:
        """Return the content of ``MODEL.GENOTYPE``: plain lists, without empty fields."""
        fields = asdict(self).items()
        return {name.upper(): without_tuples(value) for name, value in fields if value}

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Genotype":
        """Read a ``genotype.yaml``; raise ValueError for a file without one."""
        node = read_yaml(path)
        for section in ("MODEL", "GENOTYPE"):
            node = node.get(section) if isinstance(node, dict) else None
        if not isinstance(node, dict) or not node:
            expected = "expected a genotype.yaml of a search"
            raise ValueError(f"{path} holds no MODEL.GENOTYPE; {expected}.")
        return cls.from_config(node)

    def to_yaml(
        self,
        path: str | Path,
        *,
        family: str,
        comment: str = "",
        channel: Mapping[str, object] | None = None,
        images: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a config fragment; ``_BASE_: [Base.yaml, genotype.yaml]`` builds the network.

        Args:
            family: ``MODEL.SUPERNET.FAMILY``; a config of another family rejects the file.
            comment: lines for the head of the file.
            channel: what gives ``channels`` their meaning, see :meth:`ChannelSpace.to_config`.
            images: sections with the settings of ``image_size``, see
                :func:`crnas_d2.config.image_size.image_sections`.
        """
        supernet = {"PATH_SAMPLER": "fixed", **({"CHANNEL": dict(channel)} if channel else {})}
        model = {"SUPERNET": supernet, "GENOTYPE": {"FAMILY": family, **self.to_config()}}
        settings = images or {}
        config = {**settings, "MODEL": {**settings.get("MODEL", {}), **model}}
        head = "".join(f"# {line}\n" for line in comment.splitlines())
        body = yaml.safe_dump(config, default_flow_style=None, sort_keys=False)
        write_file(path, head + body)

    def __str__(self) -> str:
        fields = asdict(self).items()
        return " ".join(f"{name}={without_tuples(value)}" for name, value in fields if value)


def genotype_file(name: str) -> str:
    """Return the path of a published genotype, e.g. ``CR-NAS/CR-R50``, for ``_BASE_``.

    Raise ValueError, with the known names, for another.
    """
    folder = Path(__file__).resolve().parent.parent / "genotypes"
    known = sorted(f"{file.parent.name}/{file.stem}" for file in folder.glob("*/*.yaml"))
    if name not in known:
        raise ValueError(f"No published genotype is named '{name}'; known: {', '.join(known)}.")
    return str(folder / f"{name}.yaml")


def _whole_numbers(name: str, values: Sequence[Any], *, least: int, each: str) -> tuple[int, ...]:
    # bool is an int in Python, but "True blocks" is a mistake in a config.
    if not is_list(values) or not all(type(value) is int and value >= least for value in values):
        expected = f"whole numbers of at least {least}, {each}"
        raise invalid(f"MODEL.GENOTYPE.{name}", without_tuples(values), expected)
    return tuple(values)


def _lists_of_indices(values: Sequence[Sequence[Any]]) -> tuple[tuple[int, ...], ...]:
    for indices in values if is_list(values) else [values]:
        if not is_list(indices) or not indices:
            given = f"MODEL.GENOTYPE.CHANNELS is {without_tuples(values)}, with {indices!r}"
            each = "with the index of a dilation per channel group"
            raise ValueError(f"{given}; expected a list for each searched convolution, {each}.")
    each = "one per channel group"
    return tuple(_whole_numbers("CHANNELS", indices, least=0, each=each) for indices in values)
