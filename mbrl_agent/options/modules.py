"""Which module a name stands for: the one place that decides, for every command.

Our own environments lie in a package of the common name `envs` beside this one, and `train` is a module of
ours. A stranger may have modules of these names, in the current directory or on the path. Ours are loaded
from where they lie, never by name; a name that the user writes, or that the user's modules import, stands for
the stranger's module wherever there is one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OURS = {"envs": ROOT / "envs" / "__init__.py", "train": ROOT / "train.py"}
"""Modules of ours with names that others use as well."""
NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
OBJECT = re.compile(f"({NAME}):({NAME})")
"""module:attribute, both perhaps dotted; never the path of a file."""


def load_file(name: str, file: Path) -> ModuleType:
    """Import a package from where it lies, whatever else has its name.

    Raises:
        ValueError: It is not there.
    """
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(file.parent)])
    if spec is None or spec.loader is None or not file.is_file():
        raise ValueError(f"{file} is not there: reinstall mbrl_agent")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it is executed: its own modules import it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def is_ours(name: str, origin: str | None) -> bool:
    """Tell whether a file is our module of that name."""
    return origin is not None and Path(origin).resolve() == OURS[name]


def place_of(module: ModuleType) -> str:
    """Tell where a module was loaded from, for messages."""
    return str(getattr(module, "__file__", None) or list(getattr(module, "__path__", [])))


class _StrangersFirst:
    """A finder for `import envs` and `import train` in modules of the user's: theirs, if there are any."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Find a stranger's module of a name that we have, too; None leaves it to the other finders."""
        return _find_strangers(name) if name in OURS and path is None else None


def _find_strangers(name: str) -> ModuleSpec | None:
    """Find the first module on the path, or in the current directory, that has a name of ours."""
    for entry in [*sys.path, os.getcwd()]:
        spec = PathFinder.find_spec(name, [entry or os.getcwd()])
        if spec is not None and spec.origin is not None and not is_ours(name, spec.origin):
            return spec
    return None


def find_module(name: str) -> None:
    """Let a module that the user names be imported, from the current directory if it is nowhere else.

    The directory becomes the last one in which Python looks for modules, so that no file in it takes the
    place of one of ours, of the standard library or of an installed package. It stays there: evaluation and
    child processes import the module, too, and the module may import others that lie beside it.

    Args:
        name: The module, dotted if it is in a package.

    Raises:
        OSError: There is no current directory any more.
        ValueError: It is the user's `envs`, and this process has imported ours before.
    """
    if _StrangersFirst not in sys.meta_path:
        sys.meta_path.insert(0, _StrangersFirst)
    top = name.partition(".")[0]
    if top in OURS and top in sys.modules:
        theirs = _find_strangers(top)
        if theirs is not None and is_ours(top, getattr(sys.modules[top], "__file__", None)):
            raise ValueError(
                f"{top!r} is {theirs.origin}, but this process has imported ours ({OURS[top]}): rename yours"
            )
        return
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:  # not found, or a folder without code of that name
        here = os.getcwd()
        if here not in sys.path:
            sys.path.append(here)


def load_object(text: str) -> Any:
    """Return the object that `module:attribute` names; the module is imported, which runs its code.

    Raises:
        ValueError: There is no such module or attribute, or the module fails.
    """
    match = OBJECT.fullmatch(text)
    if match is None:
        raise ValueError(f"expected module:name, such as my_module:my_function, got {text!r}")
    try:
        find_module(match[1])
        found: Any = importlib.import_module(match[1])
        for attribute in match[2].split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:  # a module of the user's own may raise anything
        raise ValueError(f"{text!r} cannot be imported: {reason_of(error)}") from error
    return found


def reason_of(error: BaseException) -> str:
    """Tell what a user's code failed with, for the end of a message."""
    name = type(error).__name__
    return f"it ended the program ({name})" if isinstance(error, SystemExit) else str(error) or name
