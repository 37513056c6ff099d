"""Why a run cannot go on, where the reason lies outside of the package.

The command line shows such an error as one line, without a traceback: its message says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_tb


class RunFailure(Exception):  # noqa: N818  (a base class; what it stands for is not always an error)
    """The run has to end."""


class NonFiniteError(RunFailure, ValueError):
    """An environment returned an observation or a reward that is not finite."""


class ShapeError(RunFailure, ValueError):
    """An environment returned an observation of the wrong shape."""


class PolicyError(RunFailure, ValueError):
    """A policy gave an action that is not finite."""


class EnvFailedError(RunFailure, RuntimeError):
    """An environment raised an exception, which is the `__cause__`."""


class DivergedError(RunFailure, ValueError):
    """The fit of a dynamics model diverged."""


class SearchFailedError(RunFailure, ValueError):
    """A policy search found no policy whose predicted cost is finite."""


@contextmanager
def environment_acts(what: str) -> Iterator[None]:
    """Say of an exception inside the block that it was the environment's.

    Args:
        what: What the environment does, for example "at step 3 of an episode".

    Raises:
        EnvFailedError: The environment raised an exception; names its type and where it was raised.
    """
    try:
        yield
    except RunFailure:
        raise
    except Exception as error:  # it is the user's code, which may raise anything
        place = extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise EnvFailedError(
            f"the environment raised {reason} ({place.filename}, line {place.lineno}) {what}"
        ) from error
