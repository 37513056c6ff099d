"""The task from the command line, for environments that offer no cost and the like themselves.

A value is `environment` (what the environment offers), `none` (nothing, whatever it offers), or names
something: `module:attribute` of a module that is imported, a cost of a plug-in, indices, a file. Only text is
kept in config.yaml.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mbrl_agent.costs import COSTS, TaskCost
from mbrl_agent.files.plain_data import read_file
from mbrl_agent.options import OptionError, refused
from mbrl_agent.options.modules import OBJECT, load_object
from mbrl_agent.run.episode_file import MAX_EPISODES_BYTES, read_numbers

PAIR = re.compile(r"[0-9]+:[0-9]+", re.ASCII)
OFFERED, NONE = "environment", "none"
FUNCTIONS = {"cost": 2, "terminated": 1, "initial_states": 2}
"""What is named as `module:attribute`, and how many arguments it takes."""
TASK = ("cost", "angle_dims", "velocity_dims", "terminated", "initial_states")
"""The options of a run that say what the task is."""


def check_task_option(name: str, value: str) -> None:
    """Raise OptionError unless the text can be the value of one of `TASK`; nothing is imported."""
    if value == OFFERED or (value == NONE and name != "cost"):
        return
    if name == "angle_dims":
        if not all(word.strip().isascii() and word.strip().isdigit() for word in value.split(",")):
            raise refused(name, f"must be indices such as 0,2, or {OFFERED}, or {NONE}, got {value!r}")
        return
    if name == "velocity_dims":
        if not all(PAIR.fullmatch(word.strip()) for word in value.split(",")):
            raise refused(
                name,
                "must say which velocity belongs to which position, by their indices such as 0:1,2:3, or "
                f"{OFFERED}, or {NONE}, got {value!r}",
            )
        return
    if name == "initial_states" and value.endswith(".npy"):
        return
    if name == "cost" and named_cost(value) is not None:
        return
    if OBJECT.fullmatch(value) is None:
        file = ", FILE.npy" if name == "initial_states" else ""
        words = f"{OFFERED}, or {NONE}" if name != "cost" else OFFERED
        plugins = "".join(f"{known}, " for known in COSTS.names()) if name == "cost" else ""
        raise refused(name, f"must be {plugins}module:name{file}, or {words}, got {value!r}")


def named_cost(text: str) -> TaskCost | None:
    """Make a plug-in's cost, spelled `name` or `name:option=value,...`; None where none has the name.

    Raises:
        OptionError: It has no such option, or not with this value.
    """
    return COSTS.resolve(text) if text.partition(":")[0] in COSTS.names() else None


def task_arguments(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what a run passes to its agent instead of what the environment offers, as the agent's arguments.

    Modules are imported, so this comes before the environment is made: of two modules of one name, the
    user's and ours, the one that is imported first is the one that counts.

    Args:
        texts: By the names in `TASK`, as `TrainConfig.task` gives them.

    Raises:
        OptionError: Something cannot be imported or read.
    """
    found: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            if text == NONE:
                found[name] = NONE
            elif text != OFFERED:
                found[name] = _read(name, text)
        except ValueError as error:
            raise OptionError((name,), str(error)) from error
    return found


def load_arguments(texts: Mapping[str, str]) -> dict[str, Any]:
    """Collect what `ParticlePILCO.load` needs of a run: the functions, which a checkpoint does not hold.

    Args:
        texts: As for `task_arguments`.

    Raises:
        OptionError: Something cannot be imported.
    """
    named = {
        name: text
        for name, text in texts.items()
        if name in FUNCTIONS and (OBJECT.fullmatch(text) or (name == "cost" and named_cost(text)))
    }
    return task_arguments({name: text for name, text in named.items() if not text.endswith(".npy")})


def read_pairs(text: str) -> dict[int, int]:
    """Parse `0:1,2:3` as {0: 1, 2: 3}; ValueError where a position is given twice."""
    words = [word.split(":") for word in text.split(",")]
    pairs = {int(position): int(velocity) for position, velocity in words}
    if len(pairs) < len(words):
        raise ValueError(f"{text} gives a position twice")
    return pairs


def _read(name: str, text: str) -> Any:
    if name == "angle_dims":
        return tuple(int(word) for word in text.split(","))
    if name == "velocity_dims":
        return read_pairs(text)
    if name == "initial_states" and text.endswith(".npy"):
        try:
            return read_numbers(read_file(Path(text), MAX_EPISODES_BYTES), "it")
        except OSError as error:
            raise ValueError(f"{text} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{text} cannot be read: {error}") from error
    return (named_cost(text) if name == "cost" else None) or _function(name, text)


def _function(name: str, text: str) -> Any:
    """Return the function of that name; a class or a function without arguments is called and gives it."""
    found = load_object(text)
    makes = isinstance(found, type) or (callable(found) and _is_factory(found, FUNCTIONS[name]))
    return _call(found, text) if makes else found


def _is_factory(function: Callable[..., Any], count: int) -> bool:
    """Tell whether it takes no arguments, and not as many as it should."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function of C
        return False
    return _takes(signature, 0) and not _takes(signature, count)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _call(factory: Callable[[], Any], text: str) -> Any:
    try:
        return factory()
    except (Exception, SystemExit) as error:  # it is the user's, and may raise anything
        reason = str(error) or type(error).__name__
        raise ValueError(f"{text!r} failed when it was called without arguments: {reason}") from error
