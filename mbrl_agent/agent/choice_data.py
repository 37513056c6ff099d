"""An agent's choices (strategy, estimator, model, policy) as plain data, and back; whose class it was, too.

A choice of the package's own is `{"name": ..., option: value, ...}`. One of a class that only the user has
says so, `{"class": "module.QualifiedName", "name": ..., option: value, ...}`: it is made again only from a
class that the user passes, or that a loaded plug-in defines in this very place, never from a class that
happens to have the same name. Nothing is imported because a file names it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mbrl_agent.dynamics import DYNAMICS
from mbrl_agent.options import build, shown
from mbrl_agent.options.registry import Registry
from mbrl_agent.policies import POLICIES
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.search.rollouts import ROLLOUTS

CLASS = "class"  # a keyword of Python, so that no option can have this name
TUPLE, DICT = "tuple", "dict"
MAX_DEPTH = 30


def full_name(cls: type) -> str:
    """Tell where a class is defined: `module.QualifiedName`."""
    return f"{cls.__module__}.{cls.__qualname__}"


def encode_value(value: Any, where: str, depth: int = 0) -> Any:
    """Return a value as JSON data from which `decode_value` makes an equal one: tuples stay tuples.

    Args:
        value: Numbers (NumPy's become Python's), text, None, and lists, tuples and dicts of them.
        where: What the value is called in messages.
        depth: In how many others it is.

    Raises:
        TypeError: It is something else, which a file cannot hold.
        ValueError: It is nested too deeply, or contains itself.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"{where[:60]}... is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        items = [encode_value(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
        return {TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        inner = {key: encode_value(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
        return {DICT: inner}
    raise TypeError(
        f"{where} is {shown(value)} ({type(value).__name__}), which cannot be saved: only numbers, text, "
        "None, and lists, tuples and dicts of them (with text as keys) can"
    )


def decode_value(data: Any) -> Any:
    """Return the inverse of `encode_value`.

    Raises:
        ValueError: It is not what `encode_value` returns.
    """
    if isinstance(data, list):
        return [decode_value(item) for item in data]
    if not isinstance(data, dict):
        return data
    if len(data) == 1 and isinstance(data.get(TUPLE), list):
        return tuple(decode_value(item) for item in data[TUPLE])
    if len(data) == 1 and isinstance(data.get(DICT), dict):
        return {key: decode_value(item) for key, item in data[DICT].items()}
    raise ValueError(f"{shown(data)} is not a value of an option")


def encode_choice(registry: Registry[Any], instance: Any) -> dict[str, Any]:
    """Return a choice as JSON data; see the top of this module.

    Raises:
        TypeError: It has an option that a file cannot hold.
    """
    label = f"{registry.kind} {instance.name!r}"
    options = {
        field.name: encode_value(getattr(instance, field.name), f"{field.name} of {label}")
        for field in dataclasses.fields(instance)
        if field.init
    }
    own = {} if registry.is_own(type(instance)) else {CLASS: full_name(type(instance))}
    return {**own, "name": instance.name, **options}


def decode_choice(registry: Registry[Any], data: Mapping[str, Any], custom: type | None) -> Any:
    """Return an instance from what `encode_choice` returned.

    Args:
        registry: Of the package's classes.
        data: From a file.
        custom: The user's class, as `check_custom` has found it to be needed; None for the package's.
    """
    options = {key: decode_value(value) for key, value in data.items() if key not in (CLASS, "name")}
    if custom is not None:
        return custom(**options)
    return build(registry.get(data["name"]), registry.kind, registry.kind, options)


def encode_policy(cls: type) -> str | dict[str, str]:
    """Encode a policy class as JSON: the name of the package's, or where one of the user's is defined."""
    name = cls.__name__
    return name if _policies().get(name) is cls else {CLASS: full_name(cls), "name": name}


def decode_policy(data: Any, custom: type | None) -> type:
    """Return the policy class that `encode_policy` was given.

    Args:
        data: From a file.
        custom: The user's class, as `check_custom` has found it to be needed; None for the package's.

    Raises:
        ValueError: The package has none of this name.
    """
    if custom is not None:
        return custom
    if data not in list(_policies()):
        raise ValueError(f"there is no policy {shown(data)} among {', '.join(_policies())}")
    return _policies()[data]


def _is_the_packages(cls: type) -> bool:
    """Tell whether a class is one of those that the package offers by name."""
    registries: tuple[Registry[Any], ...] = (RESAMPLERS, ESTIMATORS, DYNAMICS, ROLLOUTS)
    return cls in _policies().values() or any(registry.is_own(cls) for registry in registries)


def plugin_class(registry: Registry[Any], data: Any) -> type | None:
    """Return the class of a loaded plug-in that a choice in a file is of; None where it is of another.

    Args:
        registry: Of the choice; that of the policies gives the class of the policy itself.
        data: The choice as the file has it.
    """
    foreign = data.get(CLASS) if isinstance(data, Mapping) else None
    classes: list[Any] = registry.added
    if registry is POLICIES:
        classes = [options.policy_class for options in classes]
    return next((cls for cls in classes if full_name(cls) == foreign), None)


def _policies() -> dict[str, type]:
    """Return the package's own policy classes by name."""
    return {options.policy_class.__name__: options.policy_class for options in POLICIES.own.values()}


def _plugin_hint(foreign: object) -> str:
    """Tell what loads the module of a class, where that can be a plug-in (not for one inside a function)."""
    module = str(foreign).rpartition(".")[0]
    if "<" in module or module == "__main__":
        return ""
    return f"load its plug-in, mbrl_agent.load_plugin({module!r}) or --plugin {module}, or "


def check_custom(key: str, data: Any, custom: Any, base: type) -> None:
    """Check that the class of a choice in a file is at hand, and is the user's where the file's is.

    Args:
        key: Of `custom_objects`.
        data: The choice as the file has it.
        custom: What the user passed; None for nothing.
        base: The class that it must derive from.

    Raises:
        ValueError: The file needs a class that was not passed, or another one; the message says which.
        TypeError: What was passed is not a class of this kind.
    """
    if custom is not None and not (isinstance(custom, type) and issubclass(custom, base)):
        what = full_name(custom) if isinstance(custom, type) else f"{shown(custom)}, which is not a class"
        raise TypeError(f"custom_objects[{key!r}] must be a subclass of {base.__name__}, got {what}")
    data = data if isinstance(data, Mapping) else {"name": data}
    kind, name, foreign = key.removesuffix("_class"), data.get("name"), data.get(CLASS)
    if foreign is None:
        if custom is not None:
            raise ValueError(
                f"the agent's {kind} is the package's own {shown(name)}, not a class of yours: take {key!r} "
                "out of custom_objects"
            )
        return
    needed = f"the agent's {kind} {shown(name)} is not the package's but of the class {shown(foreign)}"
    if custom is None:
        raise ValueError(f"{needed}: {_plugin_hint(foreign)}pass its class, custom_objects={{{key!r}: ...}}")
    # a class may have moved to another module, or been renamed; one of another name altogether is another one
    same = getattr(custom, "name", None) == name or custom.__name__ == str(foreign).rpartition(".")[2]
    if _is_the_packages(custom) or not same:
        raise ValueError(
            f"{needed}: pass its class, custom_objects={{{key!r}: ...}}, not {full_name(custom)}"
        )
