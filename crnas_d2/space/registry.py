"""The extension points of the package: registries whose entries a config names."""

from collections.abc import Callable, Sequence
from typing import Any

from fvcore.common.registry import Registry as _Registry

from .nearest import did_you_mean

__all__ = ["Registry"]


class Registry(_Registry):  # type: ignore[misc] # fvcore has no types
    """fvcore's registry, with names other than those of the classes.

    Registering a class sets its attribute ``name``.

    Args:
        name: of the registry.
        key: the config key whose values are the registered names, for messages.
        besides: further values of that key, for messages.
    """

    def __init__(self, name: str, key: str, besides: Sequence[str] = ()):
        super().__init__(name)
        self.key = key
        self.besides = tuple(besides)

    def register(self, name: str) -> Callable[[type], type]:
        """Return a class decorator that registers under ``name``.

        Raises:
            ValueError: another class has that name.
        """

        def decorate(cls: Any) -> Any:
            if name in self:
                raise ValueError(
                    f"{cls.__module__}.{cls.__qualname__} is registered as '{name}' in the "
                    f"registry {self._name}, where {self.get(name).__module__} has that name; "
                    "choose another."
                )
            self._do_register(name, cls)
            cls.name = name
            return cls

        return decorate

    def get(self, name: str, key: str = "") -> Any:
        """Return the class that is registered under a name.

        Args:
            key: for the message, if the name comes from another config key than usual.

        Raises:
            ValueError: an unknown name; the message lists the known ones.
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
