"""The configuration of a baseline run, which is its config.yaml."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.options import OptionError, convert_option, did_you_mean, options_of, refused, to_text
from mbrl_agent.options.validation import require_choice, require_count, require_seed
from mbrl_agent.run.environment import Environment
from mbrl_agent.study.baseline.algorithms import ALGORITHMS, check_options
from mbrl_agent.version import __version__

Setting = int | float | bool | str
MARK = "algorithm"
"""A key that only the config.yaml of a baseline has."""


@dataclass(frozen=True)
class BaselineConfig:
    """Everything that defines a baseline run."""

    algorithm: str = "sac"
    """Name in `ALGORITHMS`."""
    env: str = "CartPoleSwingUp-v0"
    """Gymnasium id."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """What the environment's constructor takes."""
    max_episode_steps: int | None = None
    """Truncate episodes after this many steps; none takes the registered limit."""
    observe: tuple[int, ...] = ()
    """Indices of the dimensions that are observed, such as 0,2 for positions alone; empty observes all."""
    history: int = 1
    """Observations that a state holds, with the actions between them."""
    steps: int = 0
    """Budget of environment steps; 0 takes the algorithm's own default."""
    seed: int = 0
    """Seed of everything random."""
    eval_episodes: int = 100
    """Fresh episodes of an evaluation."""
    eval_every: int = 150
    """Environment steps between two evaluations."""
    keep_going: bool = False
    """Use up the budget even when the task is solved."""
    observation: Literal["features", "raw"] = "features"
    """`features` adds the sine and the cosine of every angle to the observation."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the algorithm's constructor, those that differ from `ALGORITHMS` and those that do not."""

    def __post_init__(self) -> None:
        require_choice("algorithm", self.algorithm, list(ALGORITHMS))
        if self.steps == 0:
            object.__setattr__(self, "steps", ALGORITHMS[self.algorithm].steps)
        for name in ("steps", "eval_episodes", "eval_every"):
            require_count(name, getattr(self, name))
        require_seed("seed", self.seed)
        if self.eval_every > self.steps:
            raise ValueError(f"eval_every must be at most steps, {self.steps}, got {self.eval_every}")
        if self.max_episode_steps is not None:
            require_count("max_episode_steps", self.max_episode_steps)
        require_count("history", self.history)
        if any(index < 0 for index in self.observe) or len(set(self.observe)) != len(self.observe):
            raise refused("observe", f"must be indices from 0, each once, got {to_text(self.observe)}")
        if not self.env:
            raise ValueError("env must not be empty")
        require_choice("observation", self.observation, ("features", "raw"))
        check_options(self.algorithm, self.options)
        object.__setattr__(self, "options", _merged(ALGORITHMS[self.algorithm].options, self.options))

    @property
    def environment(self) -> Environment:
        """The environment with its options, its limit and what is observed of it."""
        observed = self.observe or None
        return Environment(self.env, self.env_options, self.max_episode_steps, observed, self.history)

    @property
    def trials(self) -> int:
        """Evaluations, if the run is not ended before."""
        return self.steps // self.eval_every

    @property
    def threads(self) -> int:
        """CPU threads: the networks are small."""
        return 1

    @property
    def device(self) -> str:
        """Torch device."""
        return "cpu"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, which YAML can hold; an environment with options is written as in a run."""
        data = {key: _plain(value) for key, value in vars(self).items() if key != "env_options"}
        return data | ({"env": {"name": self.env, **_plain(self.env_options)}} if self.env_options else {})

    def flat(self) -> dict[str, Setting]:
        """Return every setting by its dotted name."""
        return _flat(self.to_dict())

    def own_options(self) -> dict[str, Setting]:
        """Return the options that differ from the algorithm's defaults here, by dotted name."""
        usual = _flat(_plain(ALGORITHMS[self.algorithm].options))
        return {key: value for key, value in _flat(_plain(self.options)).items() if usual.get(key) != value}

    def save(self, path: Path) -> None:
        """Write the configuration as YAML; the file appears complete or not at all."""
        header = f"# Configuration of a baseline run of mbrl_agent {__version__} (study baseline).\n"
        write_atomically(path, (header + yaml.safe_dump(self.to_dict(), sort_keys=False)).encode())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], path: str | os.PathLike[str]) -> BaselineConfig:
        """Return the inverse of `to_dict`.

        Args:
            data: Plain data.
            path: Where it was read, for messages.

        Raises:
            ValueError: Unknown key, or a value that its option cannot take.
        """
        try:
            known = options_of(cls)
            values = {}
            for key, value in _env_apart(data).items():
                if key not in known:
                    raise OptionError((str(key),), f"unknown option{did_you_mean(str(key), known)}")
                given_as_is = key in ("options", "env_options")
                values[key] = value if given_as_is else convert_option((key,), value, known[key].hint)
            for key in ("options", "env_options"):
                if not isinstance(values.get(key, {}), Mapping):
                    raise OptionError((key,), f"expected options and values, got {values[key]!r}")
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise ValueError(f"configuration {path}: {error}") from error


def _env_apart(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the id and the options of an environment as two values, where they are one."""
    env = data.get("env")
    if not isinstance(env, Mapping):
        return data
    options = {key: value for key, value in env.items() if key != "name"}
    return {**data, "env": env.get("name"), "env_options": options}


def _merged(usual: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usual options with the given ones over them, mappings inside mappings as well."""
    result = dict(usual)
    for key, value in given.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Setting]:
    result: dict[str, Setting] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            result |= _flat(value, f"{prefix}{key}.")
        else:
            scalar = isinstance(value, int | float | str)
            result[f"{prefix}{key}".removesuffix(".name")] = value if scalar else to_text(value)
    return result
