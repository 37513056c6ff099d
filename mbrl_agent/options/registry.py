"""Name -> class for everything that a user can choose by name.

A registry covers one package (say `mbrl_agent.resampling`) and one base class. It imports every
module of the package and collects the subclasses that declare a `name`: adding a strategy is adding
one file. Classes outside the package come by plug-ins (`plugins.py`). The command line, the agent and the
contract tests all read their choices from here.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

from mbrl_agent.options import to_plain
from mbrl_agent.options.choice import name_values, split_spelling
from mbrl_agent.options.errors import OptionError
from mbrl_agent.options.fields import build, check_options, options_of, shown
from mbrl_agent.options.plugins import add_kind, load_entry_points, plugin_of

T = TypeVar("T")
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""What a choice may be called: no sign that the spelling of a choice uses."""


def unknown_name(kind: str, given: str, known: list[str], others: Iterable[str] = ()) -> str:
    """Return the message for a name that nobody knows: what was given, what is allowed, the nearest.

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
        self.base = base
        self._added: dict[str, type[T]] = {}
        add_kind(self)

    @property
    def classes(self) -> dict[str, type[T]]:
        """All classes by name, those of plug-ins included, in alphabetical order."""
        load_entry_points()
        return dict(sorted((self.own | self._added).items()))

    @cached_property
    def own(self) -> dict[str, type[T]]:
        """The classes of the package alone, in alphabetical order."""
        package = importlib.import_module(self._package)
        found: dict[str, type[T]] = {}
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{self._package}.{info.name}")
            for value in vars(module).values():
                if (
                    isinstance(value, type)
                    and issubclass(value, self.base)
                    and value.__module__ == module.__name__
                    and not value.__name__.startswith("_")
                    and "name" in vars(value)
                ):
                    name = vars(value)["name"]
                    if name in found:
                        raise ValueError(
                            f"two {self.kind} classes are named {name!r}: {found[name]} and {value}"
                        )
                    found[name] = value
        return dict(sorted(found.items()))

    @property
    def own_classes(self) -> dict[str, type[T]]:
        """The classes of the package by their names in Python, for the `__getattr__` of a module.

        With it a new file is enough: nobody has to import its class anywhere.
        """
        return {cls.__name__: cls for cls in self.own.values()}

    def names(self) -> list[str]:
        """Return the names of all registered classes."""
        return list(self.classes)

    def get(self, name: str) -> type[T]:
        """Return the class called `name`.

        Raises:
            ValueError: No class has this name; the message lists those that exist.
        """
        others = {other: cls for cls in self.classes.values() for other in _other_names(cls)}
        if name not in self.classes | others:
            raise OptionError((self.kind,), unknown_name(self.kind, name, self.names(), others))
        return self.classes.get(name) or others[name]

    def has(self, cls: type) -> bool:
        """Tell whether a class is one of the package's or of a plug-in, and not another of the same name."""
        return cls in self.classes.values()

    def is_own(self, cls: type) -> bool:
        """Tell whether a class is one of the package's."""
        return cls in self.own.values()

    @property
    def added(self) -> list[type[T]]:
        """The classes of plug-ins."""
        load_entry_points()
        return list(self._added.values())

    def add(self, cls: type[T]) -> None:
        """Add the class of a plug-in.

        Raises:
            ValueError: Its name is taken, or cannot be written on a command line.
            TypeError: It is not what a choice must be.
        """
        label = f"{self.kind} class {cls.__qualname__}"
        self._check_class(cls)
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(vars(cls)["__abstractmethods__"]))
            raise TypeError(f"{label} lacks what {self.base.__name__} asks for: {missing}")
        check_options(cls)
        name: str = cls.name  # type: ignore[attr-defined]
        if not re.fullmatch(NAME, name):
            raise ValueError(
                f"{label} is named {name!r}: a name is made of letters, digits, '-', '_' and '.'"
            )
        for other in [*self.own.values(), *self._added.values()]:
            for own in (name, *_other_names(cls)):
                if other is not cls and own in (other.name, *_other_names(other)):  # type: ignore[attr-defined]
                    whose = plugin_of(other)
                    owner = f"of the plug-in {whose!r}" if whose else f"({other.__module__})"
                    raise ValueError(
                        f"{label} is named {own!r}, as {other.__qualname__} {owner}: give it another name"
                    )
        self._added[name] = cls

    def remove(self, cls: type[T]) -> None:
        """Undo `add`."""
        self._added = {name: other for name, other in self._added.items() if other is not cls}

    def resolve(self, choice: str | T) -> T:
        """Make an instance from a spelled choice (`interpolated:0.25`), or an instance as it is.

        Raises:
            ValueError: Unknown name or option, or a value that the option cannot take.
            TypeError: Neither text nor an instance of the base class, or of a class of the user's own
                that could not be saved and made again.
        """
        if isinstance(choice, str):
            try:
                return self.build(self.read(choice))
            except OptionError as error:
                where = f" (in {shown(choice)})" if ":" in choice else ""
                raise type(error)(error.path, f"{error.reason}{where}") from error
        if isinstance(choice, self.base):
            self._check_class(type(choice))
            return choice
        other: Any = choice
        is_class = isinstance(other, type) and issubclass(other, self.base)
        given = f"the class: write {other.__name__}()" if is_class else type(other).__name__
        raise TypeError(
            f"{self.kind} must be a name ({', '.join(self.names())}) or an instance of "
            f"{self.base.__name__}, not {given}"
        )

    def _check_class(self, cls: type) -> None:
        """Raise TypeError unless a class declares what the base asks for, and its fields are its options."""
        options = {field.name for field in dataclasses.fields(cls)}
        for attribute, hint in inspect.get_annotations(self.base).items():
            if "ClassVar" not in str(hint):
                continue
            if not hasattr(cls, attribute):
                lacks = f"has no class attribute {attribute!r}"
            elif attribute in options:
                lacks = f"declares {attribute!r} as an option, and it is a class attribute"
            else:
                continue
            raise TypeError(
                f"{self.kind} {cls.__name__} {lacks}: declare `{attribute}: ClassVar[...] = ...` in the class"
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

    def read(self, text: str) -> dict[str, Any]:
        """Return a spelled choice as data for `build`: `{"name": ..., option: text of its value, ...}`.

        Raises:
            OptionError: Unknown name, or a value that belongs to no option.
        """
        name, words = split_spelling(text)
        cls = self.get(name)
        return {"name": cls.name, **name_values(cls, self.kind, words)}  # type: ignore[attr-defined]

    def build(self, data: Mapping[str, Any]) -> T:
        """Return the inverse of `to_dict`; a value may also be text, and what is missing takes its default.

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
        """Return `{"name": ..., option: value, ...}`: plain data for a configuration file.

        Raises:
            ValueError: It is of a class that is not registered: its name would stand for another or none.
        """
        if not self.has(type(instance)):
            raise ValueError(
                f"{self.kind} {type(instance).__name__} is a class of your own, and a configuration can only "
                f"name the package's ({', '.join(self.names())}) and those of plug-ins: pass it to "
                "ParticlePILCO, or load its module as a plug-in"
            )
        options = dataclasses.asdict(instance)  # type: ignore[call-overload]
        return {"name": instance.name, **to_plain(options)}  # type: ignore[attr-defined]


def _other_names(cls: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = cls.other_names() if hasattr(cls, "other_names") else ()
    return names


def _has_fields(cls: type) -> bool:
    """Tell whether a class body declares attributes that a dataclass would take for fields."""
    return any("ClassVar" not in str(hint) for hint in inspect.get_annotations(cls).values())
