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
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

from mbrl_agent.options import to_plain
from mbrl_agent.options.choice import name_values, split_spelling
from mbrl_agent.options.errors import OptionError
from mbrl_agent.options.fields import build, options_of, shown

T = TypeVar("T")


def unknown_name(kind: str, given: str, known: list[str], others: Iterable[str] = ()) -> str:
    """The message for a name that nobody knows: what was given, what is allowed, the nearest.

    Args:
        kind: What it should be the name of.
        given: The name.
        known: All names.
        others: More names, which are not listed.
    """
    nearest = difflib.get_close_matches(given, [*known, *others], n=1)
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
        others = {other: cls for cls in self.classes.values() for other in _other_names(cls)}
        if name not in self.classes | others:
            raise OptionError((self.kind,), unknown_name(self.kind, name, self.names(), others))
        return self.classes.get(name) or others[name]

    def resolve(self, choice: str | T) -> T:
        """An instance from a spelled choice (`interpolated:0.25`), or an instance as it is.

        Raises:
            ValueError: Unknown name or option, or a value that the option cannot take.
            TypeError: Neither text nor an instance of the base class.
        """
        if isinstance(choice, str):
            try:
                return self.build(self.read(choice))
            except OptionError as error:
                where = f" (in {shown(choice)})" if ":" in choice else ""
                raise type(error)(error.path, f"{error.reason}{where}") from error
        if isinstance(choice, self._base):
            return choice
        other: Any = choice
        is_class = isinstance(other, type) and issubclass(other, self._base)
        given = f"the class: write {other.__name__}()" if is_class else type(other).__name__
        raise TypeError(
            f"{self.kind} must be a name ({', '.join(self.names())}) or an instance of "
            f"{self._base.__name__}, not {given}"
        )

    def read(self, text: str) -> dict[str, Any]:
        """A spelled choice as data for `build`: `{"name": ..., option: text of its value, ...}`.

        Raises:
            OptionError: Unknown name, or a value that belongs to no option.
        """
        name, words = split_spelling(text)
        cls = self.get(name)
        return {"name": cls.name, **name_values(cls, self.kind, words)}  # type: ignore[attr-defined]

    def build(self, data: Mapping[str, Any]) -> T:
        """The inverse of `to_dict`; a value may also be text, and what is missing takes its default.

        Raises:
            OptionError: Unknown name or option, or a value that the option cannot take.
        """
        name = data.get("name")
        if not isinstance(name, str):
            raise OptionError((self.kind,), f"expected one of {', '.join(self.names())}, got {shown(name)}")
        cls: Any = self.get(name)
        options = {key: value for key, value in data.items() if key != "name"}
        for key in options:
            owners = [other for other, owner in self.classes.items() if key in options_of(owner)]
            if owners and key not in options_of(cls):
                reason = f"{self.kind} {cls.name!r} has no option {key!r}; it belongs to: {', '.join(owners)}"
                raise OptionError((self.kind, key), reason)
        instance: T = build(cls, self.kind, f"{self.kind} {cls.name!r}", options)
        return instance

    def to_dict(self, instance: T) -> dict[str, Any]:
        """`{"name": ..., option: value, ...}`: plain data for a configuration file."""
        options = dataclasses.asdict(instance)  # type: ignore[call-overload]
        return {"name": instance.name, **to_plain(options)}  # type: ignore[attr-defined]


def _other_names(cls: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = cls.other_names() if hasattr(cls, "other_names") else ()
    return names
