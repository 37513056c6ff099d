"""A choice, a class picked by its name with options of its own, and the text that stands for it.

    NAME                       gaussian
    NAME:VALUE,...             interpolated:0.25, mixture:3,3: values in the order of the fields
    NAME:OPTION=VALUE,...      ensemble:members=7,hidden=64x64
    both                       mixture:5,em-iterations=1: the values without a name come first

The command line, config.yaml, the constructors and the studies read and write a choice in this way. In the
name of an option a dash does for an underscore. The items of a list of numbers are joined by `x`; `hidden=`
is the empty list. Inside a value a comma is written %2C, an equals sign %3D and a percent sign %25.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, ClassVar

from mbrl_agent.options.errors import OptionError
from mbrl_agent.options.fields import NUMBERS, options_of, to_text

SYNTAX = "NAME, NAME:VALUE,... or NAME:OPTION=VALUE,... (lists as 64x64)"
ESCAPES = {"%": "%25", ",": "%2C", "=": "%3D"}
"""What stands for a separator inside a value; the percent sign is the first to be replaced."""


class Choice:
    """Base class of whatever is chosen by name; its subclasses are frozen dataclasses of their options."""

    name: ClassVar[str]
    """Name on the command line."""

    @classmethod
    def other_names(cls) -> tuple[str, ...]:
        """List the names that it answers to besides `name`."""
        return ()

    def __str__(self) -> str:
        """Spell the choice with the options that are not the default: `mixture:components=5`."""
        options = {key.replace("_", "-"): to_spelling(value) for key, value in changed_options(self).items()}
        words = ",".join(f"{key}={value}" for key, value in options.items())
        name = getattr(self, "name", type(self).__name__)
        return f"{name}:{words}" if words else str(name)


def changed_options(choice: Any) -> dict[str, Any]:
    """Return the options of an instance that are not the default, in the order of the fields."""
    found = {}
    for field in dataclasses.fields(choice):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        value = getattr(choice, field.name)
        if field.init and (default is dataclasses.MISSING or value != default):
            found[field.name] = value
    return found


def directory_name(choice: Any) -> str:
    """Return a choice as a part of a directory's name: `interpolated-ratio-0.25`."""
    words = [str(choice.name)]
    for key, value in changed_options(choice).items():
        words += [key, to_text(value)]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(words))


def to_spelling(value: object) -> str:
    """Write the text of a value inside a spelled choice."""
    text = to_text(value)
    if isinstance(value, list | tuple) and all(type(item) in NUMBERS for item in value):
        return text.replace(",", "x")
    for separator, escape in ESCAPES.items():
        text = text.replace(separator, escape)
    return text


def from_spelling(text: str) -> str:
    """Return the inverse of `to_spelling`, up to the `x` of a list, which `convert` reads."""
    for separator, escape in reversed(ESCAPES.items()):
        text = text.replace(escape, separator)
    return text


def split_spelling(text: str) -> tuple[str, list[str]]:
    """Return the name of a spelled choice, and the words after the colon, one a value."""
    name, colon, rest = text.partition(":")
    return name, rest.split(",") if colon else []


def name_values(cls: Any, kind: str, words: list[str]) -> dict[str, str]:
    """Return the texts of a spelled choice's values, by their option.

    Args:
        cls: The class that was chosen.
        kind: What it is, the path of the errors.
        words: What `split_spelling` returned.

    Raises:
        OptionError: A value cannot be given to an option, or an option is given twice.
    """
    names = list(options_of(cls))
    values: dict[str, str] = {}
    named = False
    for position, word in enumerate(words):
        key, equals, value = word.partition("=")
        named = named or bool(equals)
        if not word or (not equals and (named or position >= len(names))):
            raise OptionError((kind,), f"cannot read {word!r}; write {SYNTAX}; {_options(cls)}")
        key, value = (key.strip().replace("-", "_"), value) if equals else (names[position], word)
        if key in values:
            raise OptionError((kind, key), "is given twice")
        values[key] = from_spelling(value)
    return values


def _options(cls: Any) -> str:
    """Write the options of a class, for a message."""
    names = ", ".join(options_of(cls)).replace("_", "-")
    return f"{cls.name} has {'the options ' + names if names else 'no options'}"
