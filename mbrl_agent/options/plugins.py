"""Plug-ins: modules outside the package whose classes can be chosen by name, as the package's own.

A plug-in is an importable module, also one that lies in the current directory. What it offers are the
classes defined in it, or imported by it from modules of its own package, that derive from `Resampler`,
`Estimator`, `DynamicsOptions`, `PolicyOptions` or `TaskCost` and declare a `name`. Nothing is called in it.

    train.py --plugin my_module --resampling mine
    mbrl_agent.load_plugin("my_module")
    [project.entry-points."mbrl_agent.plugins"]     # in the pyproject.toml of an installed plug-in
    mine = "my_module"

Entry points are read when a choice is first looked up by its name; one that is broken is a warning.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
import weakref
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Protocol

from mbrl_agent.options.modules import find_module, reason_of

GROUP = "mbrl_agent.plugins"
"""Group of the entry points."""


class Kind(Protocol):
    """What the classes of a plug-in can be added to: a registry."""

    base: type

    def add(self, cls: type[Any]) -> None:
        """Add a class.

        Raises:
            ValueError: Its name is taken, or cannot be written.
            TypeError: It does not declare what a choice needs.
        """

    def remove(self, cls: type[Any]) -> None:
        """Undo `add`."""


_kinds: weakref.WeakSet[Kind] = weakref.WeakSet()
_loaded: dict[str, list[type]] = {}
_entry_points_are_loaded = False


def add_kind(kind: Kind) -> None:
    """Let plug-ins add classes of this kind; those that are loaded before it was there are not added."""
    _kinds.add(kind)


def load_plugin(name: str) -> None:
    """Import a module and make its classes choices: `resampling="mine"`, `--resampling mine`.

    A module that is loaded already stays as it is.

    Args:
        name: The module, dotted if it is in a package; `__main__` takes the classes of a notebook or script.

    Raises:
        ValueError: It cannot be imported, offers nothing, or has a class whose name is taken.
        TypeError: A class of it is not what a choice must be, or the name is not text.
    """
    if not isinstance(name, str):
        raise TypeError(f"plug-in must be the name of a module, such as 'my_module', got {name!r}")
    if name not in _loaded:
        _add(name, _import(name))


def unload_plugin(name: str) -> None:
    """Forget the classes of a plug-in; its module stays imported."""
    for cls in _loaded.pop(name, []):
        for kind in _matching(cls):
            kind.remove(cls)


def loaded_plugins() -> tuple[str, ...]:
    """Return the names of all modules that are loaded as plug-ins, in that order."""
    return tuple(_loaded)


def plugin_of(cls: type) -> str | None:
    """Find the plug-in that offers a class; None for the package's own, and for one not loaded."""
    return next((name for name, classes in _loaded.items() if cls in classes), None)


def load_entry_points() -> None:
    """Load the plug-ins of all installed packages, once; warn of those that are broken."""
    global _entry_points_are_loaded  # noqa: PLW0603  (as global as the registries)
    if _entry_points_are_loaded:
        return
    _entry_points_are_loaded = True  # first: a plug-in may look something up while it is imported
    for point in entry_points(group=GROUP):
        try:
            _load_entry_point(point)
        except (ValueError, TypeError) as error:
            package = point.dist.name if point.dist else "an installed package"
            message = f"the entry point {point.name!r} of {package} is left out: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)


def _load_entry_point(point: EntryPoint) -> None:
    if point.attr:
        raise ValueError(f"it must name a module, such as {point.module}, got {point.value}")
    load_plugin(point.module)


def _import(name: str) -> ModuleType:
    """Import the module of a plug-in.

    Raises:
        ValueError: There is none of this name, or it cannot be imported.
    """
    if not name or not all(part.isidentifier() for part in name.split(".")) or name.endswith(".py"):
        hint = f": write {name.removesuffix('.py').replace('/', '.')}" if name.endswith(".py") else ""
        raise ValueError(f"plug-in {name!r} is not the name of a module, such as my_module{hint}")
    if name in sys.modules:
        return sys.modules[name]
    try:
        find_module(name)
        importlib.invalidate_caches()  # it may have been written a moment ago
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a module of the user's own may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            where = f"in {os.getcwd()} or where Python looks for modules"
            raise ValueError(f"plug-in {name!r} cannot be found {where}") from error
        reason = reason_of(error)
        if not isinstance(error, SystemExit) and str(error):
            reason = f"{type(error).__name__}: {reason}"
        raise ValueError(f"plug-in {name!r} cannot be imported: {reason}") from error


def _add(name: str, module: ModuleType) -> None:
    """Add the classes of a module to their registries: all, or with an error none."""
    classes = [cls for cls in _own_classes(module) if "name" in vars(cls) and _matching(cls)]
    if not classes:
        bases = ", ".join(sorted(kind.base.__name__ for kind in _kinds))
        file = getattr(module, "__file__", None) or "no file"
        raise ValueError(
            f"plug-in {name!r} ({file}) offers nothing: a plug-in has a class of its own that derives from "
            f"one of {bases}, with a class attribute `name`"
        )
    _loaded[name] = []
    try:
        for cls in classes:
            for kind in _matching(cls):
                kind.add(cls)
            _loaded[name].append(cls)
    except (ValueError, TypeError) as error:
        unload_plugin(name)
        raise type(error)(f"plug-in {name!r}: {error}") from error


def _own_classes(module: ModuleType) -> Iterator[type]:
    """Yield the classes defined in a module, or below it where it is a package, each once."""
    inside = f"{module.__name__}."
    found = (value for value in list(vars(module).values()) if isinstance(value, type))
    yield from dict.fromkeys(cls for cls in found if f"{cls.__module__}.".startswith(inside))


def _matching(cls: type) -> list[Kind]:
    return [kind for kind in _kinds if issubclass(cls, kind.base)]
