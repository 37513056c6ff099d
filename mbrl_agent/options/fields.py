"""The fields of an options dataclass as the command line and the configuration file see them.

A field is declared once, with its type, default and docstring; this module reads the declaration and
converts values to its type, from the text of a flag or from the plain data of a YAML file. Types:
int, float, str, bool, Path, Literal, tuple[X, ...] (as text: 64,64 or, of numbers, 64x64) and X | None.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser
import numpy as np

from mbrl_agent.options.errors import OptionError

NUMBERS = {int: "a whole number", float: "a number"}
_SHOWN = 200
TRUTH = {"true": True, "false": False}
REQUIRED: Final = dataclasses.MISSING
"""The default of an option that has none: it must be given."""


@dataclass(frozen=True)
class Option:
    """One field of an options dataclass."""

    name: str
    """Name of the field."""
    hint: Any
    """Type, resolved."""
    default: Any
    """Default value, or `REQUIRED`."""
    help: str
    """The field's docstring, on one line."""


def options_of(cls: Any) -> dict[str, Option]:
    """Return the fields of a dataclass by name, in the order of declaration."""
    return _read_options(cls)


@functools.cache
def _read_options(cls: Any) -> dict[str, Option]:
    documentation: dict[str, str] = {}
    for base in filter(dataclasses.is_dataclass, reversed(cls.__mro__)):
        for entry in docstring_parser.parse_from_object(base).params:
            documentation[entry.arg_name] = " ".join((entry.description or "").split())
    hints = get_type_hints(cls)
    return {
        f.name: Option(f.name, hints[f.name], _default(f), documentation.get(f.name, ""))
        for f in dataclasses.fields(cls)
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def summary(cls: type) -> str:
    """Return the first sentence of a class's own docstring."""
    return docstring_parser.parse(cls.__doc__ or "").short_description or ""


def convert(value: object, hint: Any) -> Any:
    """Convert text or plain data to the type of a field.

    Text is accepted for every type, because YAML reads `1e-3` as text.

    Args:
        value: The text of a flag, or a value from a YAML file.
        hint: The field's type.

    Raises:
        ValueError: The value does not have this type and is not the text of such a value.
        TypeError: The type itself is not supported.
    """
    if isinstance(value, np.generic):
        value = value.item()
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        found = [choice for choice in arguments if str(value) == str(choice)]
    elif origin in (Union, types.UnionType):
        found = [None] if value is None or value == "none" else [convert(value, _without_none(hint))]
    elif origin is tuple:
        found = [_convert_tuple(value, hint)]
    elif hint is str:
        found = [value] if isinstance(value, str) else []
    elif hint is Path:
        found = [Path(value)] if isinstance(value, str | Path) and str(value) else []
    elif hint is bool:
        found = [TRUTH.get(value, value) if isinstance(value, str) else value]
        found = [item for item in found if isinstance(item, bool)]
    elif hint in NUMBERS:
        found = _convert_number(value, hint)
    else:
        raise TypeError(
            f"options of type {hint} are not supported; see mbrl_agent/options/fields.py for those that are"
        )
    if not found:
        raise ValueError(f"expected {expectation(hint)}, got {shown(value)}")
    return found[0]


def _without_none(hint: Any) -> Any:
    inner = [argument for argument in get_args(hint) if argument is not types.NoneType]
    if len(inner) != 1:
        raise TypeError(f"options of type {hint} are not supported: of unions, only X | None is")
    return inner[0]


def _convert_tuple(value: object, hint: Any) -> tuple[Any, ...]:
    item_hint = get_args(hint)[0]
    if isinstance(value, str):
        separator = "x" if _is_numeric(item_hint) and "," not in value else ","
        words = value.split(separator) if value.strip() else []
        if not all(word.strip() for word in words):  # of 'x' nothing would be left to show
            raise ValueError(f"expected {expectation(hint)}, got {shown(value)}")
        value = words
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected {expectation(hint)}, got {shown(value)}")
    return tuple(convert(item, item_hint) for item in value)


def _is_numeric(hint: Any) -> bool:
    """Tell whether no text of a value of this type has an `x` in it."""
    if get_origin(hint) is Literal:
        return all(type(choice) in NUMBERS for choice in get_args(hint))
    return hint in NUMBERS or hint in (int | None, float | None)


def _convert_number(value: object, hint: type) -> list[Any]:
    """Return the number in a list, or an empty list."""
    exact = isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    if not isinstance(value, str) and not exact:
        return []
    try:
        number = hint(value)
    except (ValueError, OverflowError):
        return []
    if hint is int and number.bit_length() > 63:
        raise ValueError(f"a whole number must fit 64 bits, got {shown(value)}")
    return [number]


def shown(value: object) -> str:
    """Write a value in a message: its beginning, if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write out integers of more than some thousand digits
        return "a number of very many digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def expectation(hint: Any) -> str:
    """Tell what a field accepts, in words: 'a whole number'."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (Union, types.UnionType):
        return f"{expectation(_without_none(hint))} or none"
    if origin is tuple:
        return f"a list, each item {expectation(arguments[0])}"
    words = {**NUMBERS, str: "text", bool: "true or false", Path: "a path"}
    if hint not in words:
        raise TypeError(
            f"options of type {hint} are not supported; see mbrl_agent/options/fields.py for those that are"
        )
    return words[hint]


def check_options(cls: Any) -> None:
    """Check that every option of a choice can be left out, shown, written and read.

    Raises:
        TypeError: An option has no default value, or a type that is not supported.
    """
    try:
        options = options_of(cls)
    except NameError as error:
        raise TypeError(f"the type of an option of {cls.__name__} cannot be read: {error}") from error
    for option in options.values():
        if option.default is REQUIRED:
            raise TypeError(
                f"option {option.name!r} of {cls.__name__} has no default value; every option needs one"
            )
        try:
            expectation(option.hint)
        except TypeError as error:
            raise TypeError(f"option {option.name!r} of {cls.__name__}: {error}") from error


def placeholder(hint: Any) -> str:
    """Tell what stands for a value in the help: 'INT', '{a,b}', 'INT,...'."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if origin in (Union, types.UnionType):
        return f"{placeholder(_without_none(hint))}|none"
    if origin is tuple:
        return f"{placeholder(arguments[0])},..."
    return "TEXT" if hint is str else str(hint.__name__).upper()


def to_text(value: object) -> str:
    """Write the text of a value; `convert` is the inverse."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(to_text, value))
    return str(value)


def to_plain(value: Any) -> Any:
    """Make a value, or a dictionary of values, what YAML and JSON hold.

    Tuples become lists, and NumPy's numbers Python's.
    """
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def convert_option(path: tuple[str, ...], value: object, hint: Any) -> Any:
    """`convert`, with an OptionError that says where the value was given."""
    try:
        return convert(value, hint)
    except ValueError as error:
        raise OptionError(path, str(error)) from error


def build(cls: Any, prefix: str, label: str, values: Mapping[str, Any]) -> Any:
    """Return an instance of an options dataclass from text or plain data.

    Args:
        cls: The dataclass.
        prefix: Where its options are, for the path of an OptionError.
        label: What the dataclass is, for the messages of its own that do not say it.
        values: By option; what is missing takes its default.

    Raises:
        OptionError: An option that the class does not have, or a value that it cannot take.
        ValueError: The dataclass refuses the values together (or TypeError).
    """
    options = options_of(cls)
    for key in values:
        if key not in options:
            raise OptionError((prefix, key), f"unknown option{did_you_mean(key, options)}")
    converted = {
        key: convert_option((prefix, key), value, options[key].hint) for key, value in values.items()
    }
    return construct(cls, (prefix,), label, converted)


def construct(cls: Any, path: tuple[str, ...], label: str, values: Mapping[str, Any]) -> Any:
    """Return an instance of an options dataclass from values of the right types.

    Args:
        cls: The dataclass.
        path: Where its options are.
        label: As in `build`; may be empty.
        values: By option.

    Raises:
        OptionError: The dataclass refuses the value of one option.
        ValueError: It refuses the values for another reason (or TypeError).
    """
    try:
        return cls(**values)
    except OptionError as error:
        raise error.below(path) from error
    except (ValueError, TypeError) as error:
        message = str(error)
        raise type(error)(message if label in message else f"{label}: {message}") from error


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: its nearest neighbour, or nothing."""
    nearest = difflib.get_close_matches(given, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
