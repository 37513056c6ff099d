"""Rules for every choice: its options can be compared, printed, parsed and saved."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import Any

from mbrl_agent.agent.choice_data import decode_value, encode_value
from mbrl_agent.contract.rules import ContractError, require
from mbrl_agent.options import build, to_plain
from mbrl_agent.options.choice import name_values, split_spelling
from mbrl_agent.options.fields import check_options
from mbrl_agent.options.registry import NAME


def check_declaration(choice: Any) -> None:
    """It has a name that can be written, and is a frozen dataclass of options with defaults."""
    cls = type(choice)
    name = getattr(cls, "name", None)
    require(
        isinstance(name, str) and re.fullmatch(NAME, name) is not None and name == name.lower(),
        f"its class attribute `name` must be lower-case letters, digits and dashes, got {name!r}",
    )
    require(dataclasses.is_dataclass(cls), "it must be a dataclass: write @dataclass(frozen=True)")
    frozen = cls.__dataclass_params__.frozen
    require(frozen, "it must be frozen: write @dataclass(frozen=True)")
    try:
        check_options(cls)
    except TypeError as error:
        raise ContractError(
            f"its options must have defaults and types that can be parsed: {error}"
        ) from error


def check_comparison(choice: Any) -> None:
    """It compares by its options, and can be a key."""
    require(copy.deepcopy(choice) == choice, "two instances with the same options must be equal")
    try:
        hash(choice)
    except TypeError as error:
        raise ContractError(
            f"it must be hashable, so its options must be (tuples, not lists): {error}"
        ) from error


def check_spelling(choice: Any) -> None:
    """Its text, NAME:OPTION=VALUE, is read as the same choice."""
    cls, text = type(choice), str(choice)
    name, words = split_spelling(text)
    require(name == choice.name, f"str() must begin with its name {choice.name!r}, got {text!r}")
    read = build(cls, "choice", name, name_values(cls, "choice", words))
    require(read == choice, f"its text {text!r} must be read as the same choice, got {read!r}")
    require(repr(choice).startswith(cls.__qualname__), "repr() must begin with the name of the class")


def check_plain_data(choice: Any) -> None:
    """Its options survive config.yaml and a checkpoint."""
    cls = type(choice)
    options = {field.name: getattr(choice, field.name) for field in dataclasses.fields(choice) if field.init}
    read = build(cls, "choice", choice.name, to_plain(options))
    require(read == choice, f"config.yaml must give back the same choice, got {read!r}")
    coded = {key: decode_value(encode_value(value, key)) for key, value in options.items()}
    require(cls(**coded) == choice, "a checkpoint must give back the same choice")


CHOICE_RULES = (check_declaration, check_comparison, check_spelling, check_plain_data)
