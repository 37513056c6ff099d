"""Values for the constructor of any environment, from text or plain data, by the type in its signature.

The package's own options have few types (`options/fields.py`); a constructor of the user's may have any, or
none at all.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from mbrl_agent.files.yaml_data import decode_yaml
from mbrl_agent.options import convert, expectation, shown

SCALARS = (bool, int, float, str)
SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, np.ndarray)
MAPPINGS = (dict, collections.abc.Mapping)
WORDS = {list: "a list", tuple: "a list", np.ndarray: "a list of numbers", dict: "a mapping"}


def type_hints(creator: Any) -> dict[str, Any]:
    """Return the annotations of a constructor or a function; none where they cannot be evaluated."""
    function = getattr(creator, "__init__") if isinstance(creator, type) else creator  # noqa: B009
    try:
        return typing.get_type_hints(function)
    except Exception:  # names that exist for the type checker alone, or nothing to annotate
        return {}


def hint_of(annotation: Any, default: Any) -> Any:
    """Return the type of a parameter: its annotation, or what its default value tells.

    A whole number without an annotation may stand for any number. Any stands for whatever YAML reads.
    """
    if annotation is not inspect.Parameter.empty:
        return annotation
    if isinstance(default, bool | str | float):
        return type(default)
    if isinstance(default, int):
        return int | float
    if isinstance(default, list | tuple | dict):
        return type(default)
    return Any


def read_value(value: object, hint: Any) -> Any:
    """Convert the text of a flag, or a value from a YAML file, to a type.

    Of a union the first alternative counts that the value fits, text last.

    Raises:
        ValueError: The value is not of this type.
    """
    if hint is None or hint is types.NoneType:
        if value is None or value == "none":
            return None
        raise ValueError(f"expected none, got {shown(value)}")
    if get_origin(hint) in (Union, types.UnionType):
        return _read_union(value, hint)
    if get_origin(hint) is typing.Annotated:
        return read_value(value, get_args(hint)[0])
    if hint in SCALARS or get_origin(hint) is Literal:
        return _read_scalar(value, hint)
    kind = get_origin(hint) or hint
    if kind in SEQUENCES:
        return _read_sequence(value, hint)
    data = _plain(value)
    if kind in MAPPINGS and not isinstance(data, dict):
        raise ValueError(f"expected {{option: value}}, got {shown(value)}")
    return data


def to_argument(value: Any, hint: Any) -> Any:
    """Pack a value that was read as a constructor wants it: an array where it takes no other kind of list."""
    alternatives = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = [get_origin(one) or one for one in alternatives]
    lists = [kind for kind in kinds if kind in SEQUENCES]
    return np.array(value) if isinstance(value, list) and lists == [np.ndarray] else value


def _read_union(value: object, hint: Any) -> Any:
    alternatives = sorted(get_args(hint), key=lambda one: (one is not types.NoneType, one is str))
    for alternative in alternatives:
        try:
            return read_value(value, alternative)
        except ValueError:
            continue
    raise ValueError(f"expected {describe(hint)}, got {shown(value)}")


def _read_scalar(value: object, hint: Any) -> Any:
    if hint is str and not isinstance(value, str):
        raise ValueError(f"expected text, got {shown(value)}")
    return convert(value, hint)


def _read_sequence(value: object, hint: Any) -> Any:
    """Return a tuple where one is asked for, else a list; `1,2` and `[1, 2]` are the same."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    data = _items(value)
    if data is None:
        raise ValueError(f"expected {describe(hint)}, got {shown(value)}")
    if kind is np.ndarray:
        items = [read_value(item, hint if isinstance(item, list | tuple) else float) for item in data]
    elif kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(data) != len(arguments):
            raise ValueError(f"expected a list of {len(arguments)}, got {shown(value)}")
        items = [read_value(item, one) for item, one in zip(data, arguments, strict=True)]
    else:
        items = [read_value(item, arguments[0] if arguments else Any) for item in data]
    return tuple(items) if kind is tuple else items


def _items(value: object) -> list[Any] | None:
    """Return the items of a list, or of its text; None where it is neither."""
    if not isinstance(value, str):
        return list(value) if isinstance(value, list | tuple) else None
    text = value.strip()
    if text.startswith(("[", "(")) and text.endswith(("]", ")")):
        text = text[1:-1]
    data = _plain(f"[{text}]")
    return data if isinstance(data, list) else None


def _plain(value: object) -> Any:
    """Return what YAML reads in a text, `none` and numbers such as 1e-3 as well; other values as they are."""
    if not isinstance(value, str):
        return value
    try:
        data = decode_yaml(value)
    except ValueError:
        return value
    return _numbers(data)


def _numbers(data: Any) -> Any:
    if isinstance(data, list):
        return [_numbers(item) for item in data]
    if not isinstance(data, str):
        return data
    if data == "none":
        return None
    try:
        return float(data)
    except ValueError:
        return data


def describe(hint: Any) -> str:
    """Tell what a parameter takes, in words."""
    if hint is Any:
        return "a value in YAML"
    if hint in (None, types.NoneType):
        return "none"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        words = list(dict.fromkeys(describe(one) for one in arguments if one is not types.NoneType))
        return " or ".join([*words, "none"] if len(words) < len(arguments) and _optional(hint) else words)
    if hint in SCALARS or origin is Literal:
        return expectation(hint)
    kind = origin or hint
    if kind in SEQUENCES:
        inner = [one for one in arguments if one is not Ellipsis]
        of = f", each item {describe(inner[0])}" if inner and kind is not np.ndarray else ""
        return WORDS.get(kind, "a list") + of
    return "a mapping" if kind in MAPPINGS else "a value in YAML"


def _optional(hint: Any) -> bool:
    return types.NoneType in get_args(hint)
