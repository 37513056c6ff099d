"""Name -> class for everything that a user can choose by name.

A registry covers one package (say `mbrl_agent.resampling`) and one base class. It imports every
module of the package and collects the subclasses that declare a `name`: adding a strategy is adding
one file. The command line, the agent and the contract tests all read their choices from here.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from functools import cached_property
from typing import Any, Generic, TypeVar

from mbrl_agent.options import to_plain

T = TypeVar("T")


def unknown_name(kind: str, given: str, known: list[str]) -> str:
    """The message for a name that nobody knows: what was given, what is allowed, the nearest."""
    nearest = difflib.get_close_matches(given, known, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown {kind} {given!r}: choose from {', '.join(known)}{hint}"


class Registry(Generic[T]):
    """The classes of one package that derive from `base` and declare a class attribute `name`.

    Args:
        kind: What the classes are, for messages and as the name of the command-line flag.
        package: Dotted name of the package whose modules are searched.
        base: The base class. Every registered class is a frozen dataclass whose fields are its
            options.
    """

    def __init__(self, kind: str, package: str, base: type[T]) -> None:
        self.kind = kind
        self._package = package
        self._base = base

    @cached_property
    def classes(self) -> dict[str, type[T]]:
        """All registered classes by name, in alphabetical order."""
        package = importlib.import_module(self._package)
        found: dict[str, type[T]] = {}
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{self._package}.{info.name}")
            for value in vars(module).values():
                if (
                    isinstance(value, type)
                    and issubclass(value, self._base)
                    and value.__module__ == module.__name__
                    and "name" in vars(value)
                ):
                    name = vars(value)["name"]
                    if name in found:
                        raise ValueError(
                            f"two {self.kind} classes are named {name!r}: {found[name]} and {value}"
                        )
                    found[name] = value
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        """The names of all registered classes."""
        return list(self.classes)

    def get(self, name: str) -> type[T]:
        """The class called `name`.

        Raises:
            ValueError: No class has this name; the message lists those that exist.
        """
        if name not in self.classes:
            raise ValueError(unknown_name(self.kind, name, self.names()))
        return self.classes[name]

    def resolve(self, choice: str | T) -> T:
        """An instance from a name (with default options) or an instance as it is.

        Raises:
            ValueError: Unknown name.
            TypeError: Neither a name nor an instance of the base class.
        """
        if isinstance(choice, str):
            return self.get(choice)()
        if isinstance(choice, self._base):
            return choice
        raise TypeError(
            f"{self.kind} must be a name ({', '.join(self.names())}) or an instance of "
            f"{self._base.__name__}, not {type(choice).__name__}"
        )

    def to_dict(self, instance: T) -> dict[str, Any]:
        """`{"name": ..., option: value, ...}`: plain data for a configuration file."""
        options = dataclasses.asdict(instance)  # type: ignore[call-overload]
        return {"name": instance.name, **to_plain(options)}  # type: ignore[attr-defined]
