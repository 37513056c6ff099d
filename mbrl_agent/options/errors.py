"""The error of a single option, which carries the option's name and what is wrong with its value."""

from __future__ import annotations


class OptionError(ValueError):
    """One option is unknown or has a value that it cannot take.

    Args:
        path: Where the option is, from the top: ("resampling", "ratio").
        reason: What is wrong with it, a sentence without its subject: "must be at least 1, got 0".
        subject: What the message calls the option; None writes the path and a colon.
    """

    def __init__(self, path: tuple[str, ...], reason: str, subject: str | None = None) -> None:
        super().__init__(path, reason, subject)  # all arguments, so that the error can be pickled
        self.path = path
        self.reason = reason
        self.subject = subject

    def __str__(self) -> str:
        """Say which option it is and what is wrong with it."""
        return f"{self.subject or '.'.join(self.path) + ':'} {self.reason}"

    def below(self, path: tuple[str, ...]) -> OptionError:
        """Make the same error of an option that lies deeper: `ratio` below ("resampling",)."""
        return type(self)((*path, *self.path), self.reason)


class OptionTypeError(OptionError, TypeError):
    """One option has a value of the wrong type."""


class OptionName(str):
    """An option's name as a message writes it out, such as `ratio of resampling 'liu-west'`.

    Args:
        option: Name of the option alone.
        owner: What it is an option of.
    """

    option: str

    def __new__(cls, option: str, owner: str) -> OptionName:
        """Write it out."""
        name = super().__new__(cls, f"{option} of {owner}")
        name.option = option
        return name


def refused(name: str, reason: str) -> OptionError:
    """Make the error of a value that its option cannot take.

    Args:
        name: Of the option, plain or written out (`OptionName`).
        reason: As in `OptionError`.
    """
    return OptionError((getattr(name, "option", name),), reason, str(name))


def refused_type(name: str, reason: str) -> OptionTypeError:
    """Make the error of a value of the wrong type; as `refused`."""
    return OptionTypeError((getattr(name, "option", name),), reason, str(name))
