"""Attributes of a whole that one of its parts holds."""

from __future__ import annotations

from typing import Any


class _Held:
    def __init__(self, part: str) -> None:
        self._part = part
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, whole: Any, owner: type | None = None) -> Any:
        return self if whole is None else getattr(getattr(whole, self._part), self._name)

    def __set__(self, whole: Any, value: Any) -> None:
        setattr(getattr(whole, self._part), self._name, value)


def held_by(part: str) -> Any:
    """Declare an attribute that is read from, and written to, the attribute of the same name of a part.

    Args:
        part: Name of the attribute that holds the part.
    """
    return _Held(part)
