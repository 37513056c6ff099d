"""Name -> class for everything that a user can choose by name.

A registry covers one package (say `mbrl_agent.resampling`) and one base class. It imports every
module of the package and collects the subclasses that declare a `name`: adding a strategy is adding
one file. The command line, the agent and the contract tests all read their choices from here.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import pkgutil
from functools import cached_property
from typing import Any, Generic, TypeVar

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
        self.base = base

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
                    and issubclass(value, self.base)
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

    def has(self, cls: type) -> bool:
        """Whether a class is one of the package's, and not another of the same name."""
        return cls in self.classes.values()

    def resolve(self, choice: str | T) -> T:
        """An instance from a name (with default options) or an instance as it is.

        Raises:
            ValueError: Unknown name.
            TypeError: Neither a name nor an instance of the base class, or of a class of the user's own
                that could not be saved and made again.
        """
        if isinstance(choice, str):
            return self.get(choice)()
        if isinstance(choice, self.base):
            self._check_class(type(choice))
            return choice
        given = f"the class {choice.__name__}" if isinstance(choice, type) else type(choice).__name__
        raise TypeError(
            f"{self.kind} must be a name ({', '.join(self.names())}) or an instance of "
            f"{self.base.__name__}, not {given}"
        )

    def _check_class(self, cls: type) -> None:
        """Raise TypeError unless a class declares what the base asks for, and its fields are its options."""
        for attribute, hint in inspect.get_annotations(self.base).items():
            if "ClassVar" in str(hint) and not hasattr(cls, attribute):
                raise TypeError(
                    f"{self.kind} {cls.__name__} has no class attribute {attribute!r}: declare "
                    f"`{attribute}: ClassVar[...] = ...` in the class"
                )
        if not isinstance(cls.name, str) or not cls.name:  # type: ignore[attr-defined]
            raise TypeError(f"the attribute 'name' of {self.kind} {cls.__name__} must be text")
        for own in cls.__mro__:
            if "__dataclass_params__" in vars(own):
                if own.__dataclass_params__.init:  # type: ignore[attr-defined]
                    return
            elif "__init__" not in vars(own) and not _has_fields(own):
                continue  # it takes over the options of the class that it derives from
            break
        raise TypeError(
            f"{self.kind} {cls.__name__} must be a dataclass whose fields are its options, without an "
            "__init__ of its own: write @dataclass(frozen=True) above the class"
        )

    def to_dict(self, instance: T) -> dict[str, Any]:
        """`{"name": ..., option: value, ...}`: plain data for a configuration file.

        Raises:
            ValueError: It is not of a class of the package: its name would stand for another, or for none.
        """
        if not self.has(type(instance)):
            raise ValueError(
                f"{self.kind} {type(instance).__name__} is a class of your own, and a configuration can only "
                f"name the package's ({', '.join(self.names())}): pass it to ParticlePILCO"
            )
        options = dataclasses.asdict(instance)  # type: ignore[call-overload]
        return {"name": instance.name, **options}  # type: ignore[attr-defined]


def _has_fields(cls: type) -> bool:
    """Whether a class body declares attributes that a dataclass would take for fields."""
    return any("ClassVar" not in str(hint) for hint in inspect.get_annotations(cls).values())
