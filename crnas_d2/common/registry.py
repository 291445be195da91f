"""The extension points of the package: registries whose entries a config names."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from fvcore.common.registry import Registry as _Registry

from .errors import did_you_mean


class Registry(_Registry):  # type: ignore[misc] # fvcore has no types
    """fvcore's registry, with names other than those of the classes.

    Registering a class sets its attribute ``name``. The first look at any registry registers what
    comes with the package, so that registering needs neither torch nor Detectron2.

    Args:
        key: the config key whose values are the registered names, for messages.
        besides: further values of that key.
    """

    def __init__(self, name: str, key: str, besides: Sequence[str] = ()):
        super().__init__(name)
        self.key = key
        self.besides = tuple(besides)

    def register(self, name: str) -> Callable[[type], type]:
        """Return a class decorator that registers under a ``name``, which must be new."""

        def decorate(cls: Any) -> Any:
            if (other := self._obj_map.get(name)) is not None:
                where = f"registered as '{name}' in the registry {self._name}"
                why = f"where {other.__module__} has that name; choose another"
                raise ValueError(f"{cls.__module__}.{cls.__qualname__} is {where}, {why}.")
            self._do_register(name, cls)
            cls.name = name
            return cls

        return decorate

    def get(self, name: str, key: str = "") -> Any:
        """Return the class of a name; raise ValueError with the known ones for any other.

        ``key`` is for the message, if the name comes from another config key than usual.
        """
        if name not in self:
            raise ValueError(
                f"{key or self.key} is '{name}'; known: {', '.join((*self.besides, *self.names))}. "
                f"PLUGINS lists the modules that register others.{did_you_mean(name, self.names)}"
            )
        return super().get(name)

    @property
    def names(self) -> list[str]:
        """All registered names, in the order of their registration."""
        return [name for name, _ in self]

    def __contains__(self, name: str) -> bool:
        register_ours()
        return bool(super().__contains__(name))

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        register_ours()
        return iter(super().__iter__())


class EqualBySettings:
    """Makes objects of one class equal, with equal hashes, if their attributes are equal.

    Lists, mappings and sets count by their items, other values without a hash by their identity, so
    that objects which may differ are never equal.
    """

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return bool(_frozen(vars(self)) == _frozen(vars(other)))

    def __hash__(self) -> int:
        return hash((type(self), _frozen(vars(self))))


def _frozen(value: Any) -> Hashable:
    """Return what has a hash, and equals that of an equal value."""
    if isinstance(value, Mapping):
        return frozenset((_frozen(key), _frozen(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, set | frozenset):
        return frozenset(value)
    return value if isinstance(value, Hashable) else (type(value), id(value))


@cache
def register_ours() -> None:
    """Register what comes with the package: our backbones, families, spaces, costs, datasets."""
    import_module("crnas_d2").register()
