"""The configuration of a run: frozen dataclasses that ARE the command line.

Every field becomes a flag (`search.learning_rate` is `--search.learning-rate`) and a key of the
run's config.yaml; its docstring is the flag's help.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from mbrl_agent.dynamics import DYNAMICS, DynamicsOptions
from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.files.yaml_data import read_yaml
from mbrl_agent.options import (
    Option,
    OptionError,
    OptionTypeError,
    build,
    construct,
    convert_option,
    did_you_mean,
    options_of,
    refused,
    shown,
    to_plain,
    to_text,
)
from mbrl_agent.options.plugins import load_plugin, plugin_of
from mbrl_agent.options.registry import Registry
from mbrl_agent.options.validation import require_count, require_seed
from mbrl_agent.policies import POLICIES, PolicyOptions
from mbrl_agent.resampling import RESAMPLERS, Resampler
from mbrl_agent.run.environment import Environment
from mbrl_agent.run.presets import NO_PRESET, preset_options
from mbrl_agent.run.task_flags import NONE, OFFERED, TASK, check_task_option, named_cost
from mbrl_agent.search.estimators import ESTIMATORS, Estimator
from mbrl_agent.search.policy_search import SearchOptions
from mbrl_agent.search.rollouts import ROLLOUTS, Rollout
from mbrl_agent.version import __version__

CHOICES: dict[str, Registry[Any]] = {
    "resampling": RESAMPLERS,
    "estimator": ESTIMATORS,
    "dynamics": DYNAMICS,
    "rollout": ROLLOUTS,
    "policy": POLICIES,
}
"""Fields whose value is a class chosen by name, with options of its own."""
MAX_THREADS = 1024
"""More than any machine has; OpenMP ends the process where it cannot make as many as it was asked for."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that defines a training run."""

    env: str = "CartPoleSwingUp-v0"
    """Gymnasium id of the environment, or module:id; the module may lie in the current directory."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """What its constructor takes, by name: plain data."""
    max_episode_steps: int | None = None
    """Truncate episodes after this many steps; none takes the limit that the environment has."""
    observe: tuple[int, ...] = ()
    """Indices of the dimensions that are observed, such as 0,2 for positions alone; empty observes all."""
    history: int = 1
    """How many observations, and the actions between them, make the state: with 3, also the two before."""
    cost: str = OFFERED
    """Differentiable cost in torch: module:function, states (..., D) and actions (..., U) -> (...)."""
    angle_dims: str = OFFERED
    """Indices of the angles [rad] of an observation, such as 0,2; none for no angles."""
    velocity_dims: str = OFFERED
    """Which velocity belongs to which position, such as 0:1,2:3; models then integrate the positions."""
    terminated: str = OFFERED
    """Where episodes end, as module:function states (..., D) -> bool (...); none predicts on past an end."""
    initial_states: str = OFFERED
    """Where rollouts start: FILE.npy of states (N, D), module:function (count, generator), or none."""
    preset: str = NO_PRESET
    """Options of a published system: deep-pilco, mc-pilco, pilco, pipps, pipps-gr; see --help preset."""
    trials: int = 10
    """Number of trials; each collects one real episode, fits the model and improves the policy."""
    random_trials: int = 1
    """How many of the trials, at the start, act at random; the last of them is the first that learns."""
    seed: int = 0
    """Seed of everything random, 0 or more; the same seed gives the same run, bitwise."""
    eval_episodes: int = 100
    """Evaluation episodes after each trial (they do not count as interaction); 0 turns evaluation off."""
    gradient_probe: int = 16
    """Gradient estimates a trial whose variance is logged (about 0.1 s a trial); 0 turns it off."""
    episodes: tuple[str, ...] = ()
    """Files (.npz) of episodes to learn from, too: observations (N + 1, D), actions (N, U), maybe rewards."""
    plugins: tuple[str, ...] = ()
    """Module, also in this directory, whose strategies, models, policies and estimators can be chosen."""
    logdir: str = "runs"
    """Directory that holds run directories."""
    device: str = "cpu"
    """Torch device of model and policy search: cpu, cuda or cuda:N."""
    threads: int = 1
    """CPU threads that torch may use; the kernels are small, so one is usually fastest."""
    quiet: bool = False
    """Show errors only."""
    search: SearchOptions = field(default_factory=SearchOptions)
    """Policy search."""
    resampling: Resampler = field(default_factory=lambda: RESAMPLERS.resolve("gaussian"))
    """What happens to the particles between two predicted steps."""
    estimator: Estimator = field(default_factory=lambda: ESTIMATORS.resolve("reparameterization"))
    """How the gradient of the expected cost is estimated from a rollout."""
    dynamics: DynamicsOptions = field(default_factory=lambda: DYNAMICS.resolve("ensemble"))
    """Model of one environment step, learned from the real episodes."""
    rollout: Rollout = field(default_factory=lambda: ROLLOUTS.resolve("particles"))
    """How a belief about the state is carried through the model."""
    policy: PolicyOptions = field(default_factory=lambda: POLICIES.resolve("rbf"))
    """Controller that is learned: state -> action."""

    def __post_init__(self) -> None:
        load_plugins(self.plugins)
        for name, registry in CHOICES.items():  # a spelling stands for the instance
            object.__setattr__(self, name, registry.resolve(getattr(self, name)))
        # whoever reads the configuration needs them, whether they were named here or loaded before
        used = (plugin_of(type(part)) for part in (*self.choices(), named_cost(self.cost)))
        object.__setattr__(self, "plugins", tuple(dict.fromkeys([*self.plugins, *filter(None, used)])))
        for name in TASK:
            check_task_option(name, getattr(self, name))
        if self.preset != NO_PRESET:
            _preset(self.preset)
        if self.max_episode_steps is not None:
            require_count("max_episode_steps", self.max_episode_steps)
        require_count("history", self.history)
        if any(index < 0 for index in self.observe) or len(set(self.observe)) != len(self.observe):
            raise refused("observe", f"must be indices from 0, each once, got {to_text(self.observe)}")
        require_count("trials", self.trials)
        require_count("random_trials", self.random_trials)
        if self.random_trials > self.trials:
            raise refused("random_trials", f"must be at most trials, {self.trials}, got {self.random_trials}")
        require_seed("seed", self.seed)
        require_count("eval_episodes", self.eval_episodes, minimum=0)
        require_count("gradient_probe", self.gradient_probe, minimum=0)
        require_count("threads", self.threads)
        if not self.env or not self.logdir:
            raise refused("logdir" if self.env else "env", "must not be empty")
        if self.threads > MAX_THREADS:
            raise refused("threads", f"must be at most {MAX_THREADS}, got {self.threads}")
        if not re.fullmatch(r"cpu|cuda(:[0-9]{1,2})?", self.device):  # torch takes cuda:256 for cuda:0
            raise refused("device", f"must be cpu, cuda or cuda:N, got {self.device!r}")

    def choices(self) -> list[Any]:
        """Return strategy, estimator, model, rollout and policy."""
        return [getattr(self, name) for name in CHOICES]

    @property
    def environment(self) -> Environment:
        """The environment with its options and its limit."""
        return Environment(
            self.env, self.env_options, self.max_episode_steps, self.observe or None, self.history
        )

    @property
    def task(self) -> dict[str, str]:
        """What the command line says of the task, by option."""
        return {name: getattr(self, name) for name in TASK}

    def torch_device(self) -> torch.device:
        """Return the device of the run.

        Not part of `__post_init__`, so that a run's configuration can be read on any machine.

        Raises:
            ValueError: This machine does not have it.
        """
        device = torch.device(self.device)
        if device.type == "cuda":
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if (device.index or 0) >= count:
                raise ValueError(
                    f"device {self.device!r} is not there: torch finds {count} CUDA devices; use cpu"
                )
        return device

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, which YAML and JSON can hold: a choice is `{"name": ..., option: value, ...}`.

        So is an environment with options; one without them is its id.
        """
        result: dict[str, Any] = {}
        for name in plain_options():
            value = getattr(self, name)
            if name == "env" and self.env_options:
                value = {"name": value, **self.env_options}
            elif name in CHOICES:
                value = CHOICES[name].to_dict(value)
            elif dataclasses.is_dataclass(value):
                value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            result[name] = to_plain(value)
        return result

    def flat(self) -> dict[str, int | float | bool | str]:
        """Return every option by its dotted name, as TensorBoard's hyperparameters want them."""
        result = {}
        for name, value in self.to_dict().items():
            entries = value.items() if isinstance(value, dict) else [("name", value)]
            for key, entry in entries:
                text_only = entry is None or isinstance(entry, list | dict)
                result[name if key == "name" else f"{name}.{key}"] = to_text(entry) if text_only else entry
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainConfig:
        """Return the inverse of `to_dict`; what is missing takes its default.

        Raises:
            ValueError: Unknown key, or a value that its option cannot take.
        """
        return cls().updated(data)

    def updated(self, changes: Mapping[str, Any]) -> TrainConfig:
        """Return a copy with some options changed.

        Args:
            changes: Plain data as in `to_dict`, only what changes; `{"search.steps": 5}` does for
                `{"search": {"steps": 5}}`, and a choice may be spelled, `interpolated:0.25`. A choice with
                another name than the present one starts from its defaults. A preset among them goes before
                what there is, and all other changes go before it.

        Raises:
            ValueError: Unknown key, or a value that its option cannot take.
        """
        if "plugins" in changes:  # first: the names of choices may be theirs
            hint = options_of(TrainConfig)["plugins"].hint
            load_plugins(convert_option(("plugins",), changes["plugins"], hint))
        changes = _nested(changes)
        _refuse_unknown_keys(changes)
        base = self.updated(_preset(str(changes["preset"]))) if "preset" in changes else self
        values: dict[str, Any] = {}
        for key, present in base.to_dict().items():
            hint = options_of(TrainConfig)[key].hint
            if key == "env":
                values |= _build_env(base, _mapping(key, changes.get(key, {})))
            elif key in CHOICES:
                values[key] = _build_choice(key, present, changes.get(key, {}))
            elif dataclasses.is_dataclass(hint):
                values[key] = build(hint, key, key, present | _mapping(key, changes.get(key, {})))
            else:
                values[key] = convert_option((key,), _as_text(key, changes.get(key, present)), hint)
        config: TrainConfig = construct(TrainConfig, (), "", values)
        return config

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the configuration as YAML; the file appears complete or not at all."""
        header = (
            f"# Configuration of a run of mbrl_agent {__version__}.\n"
            "# Use it again: python train.py --config THIS_FILE\n"
        )
        text = header + yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        write_atomically(Path(path), text.encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainConfig:
        """Read a configuration from YAML; what is missing takes its default.

        Raises:
            ValueError: The file is unreadable, not YAML, not a mapping, or its content is refused.
        """
        try:
            data = read_yaml(path)
        except OSError as error:
            raise ValueError(f"configuration {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"configuration {path} cannot be read: {error}") from error
        if not isinstance(data, dict):
            found = "nothing" if data is None else type(data).__name__
            raise ValueError(f"configuration {path} must map options to values, got {found}")
        try:
            return cls.from_dict(data)
        except (ValueError, TypeError) as error:
            raise ValueError(f"configuration {path}: {error}") from error


def load_plugins(names: Sequence[str]) -> None:
    """Load the plug-ins of a configuration.

    Raises:
        OptionError: One cannot be loaded, or they are not a list of names.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise OptionTypeError(("plugins",), f"expected a list of names of modules, got {shown(names)}")
    for name in names:
        try:
            load_plugin(name)
        except (ValueError, TypeError) as error:
            raise OptionError(("plugins",), str(error)) from error


def read_plugins(path: Path) -> tuple[str, ...]:
    """Read the plug-ins that a configuration file names; none where it cannot be read, which `load` tells."""
    try:
        names = read_yaml(path).get("plugins", ())
        return tuple(convert_option(("plugins",), names, tuple[str, ...]))
    except (OSError, ValueError, AttributeError):
        return ()


def _preset(name: str) -> dict[str, Any]:
    """Return what a preset sets; OptionError where there is none of this name."""
    try:
        return preset_options(name)
    except ValueError as error:
        raise OptionError(("preset",), str(error)) from error


def plain_options() -> dict[str, Option]:
    """Return the options of a run by key; those of the environment are a part of `env`."""
    return {name: option for name, option in options_of(TrainConfig).items() if name != "env_options"}


def known_keys() -> list[str]:
    """Return the dotted name of every option, those of all choices included, those of environments not."""
    keys: list[str] = []
    for name, option in plain_options().items():
        classes = CHOICES[name].classes.values() if name in CHOICES else [option.hint]
        keys.append(name)
        keys += [
            f"{name}.{key}" for cls in classes if dataclasses.is_dataclass(cls) for key in options_of(cls)
        ]
    return list(dict.fromkeys(keys))


def _nested(data: Mapping[str, Any]) -> dict[str, Any]:
    """Nest {"search.steps": 5, "policy": "rbf:30"} as {"search": {"steps": 5}, "policy": {"name": ...}}.

    Raises:
        OptionError: An option is given twice, in two spellings, or a choice cannot be read.
    """
    result: dict[str, Any] = {}
    for key, value in data.items():
        outer, _, inner = str(key).partition(".")
        part: Any = {inner: value} if inner else value
        if outer in CHOICES:
            part = _spelled_out(outer, part)
        if outer == "env" and not isinstance(part, Mapping):
            part = {"name": part}
        if outer in result:
            present = result[outer]
            mergeable = isinstance(part, Mapping) and isinstance(present, Mapping)
            twice = sorted(map(str, set(present) & set(part))) if mergeable else [inner]
            if twice:
                raise OptionError((outer, *filter(None, twice[:1])), "is given twice")
            part = dict(present) | dict(part)
        result[outer] = part
    return result


def _spelled_out(key: str, part: Any) -> Any:
    """Turn a spelled choice, or one whose name is spelled, into a mapping of its name and options."""
    rest = dict(part) if isinstance(part, Mapping) else {}
    text = rest.pop("name", None) if isinstance(part, Mapping) else part
    if not isinstance(text, str):
        return part
    spelled = CHOICES[key].read(text)
    for option in spelled:
        if option in rest:
            raise OptionError((key, option), f"is given twice: in {shown(text)}, and alone")
    return spelled | rest


def _refuse_unknown_keys(data: Mapping[str, Any]) -> None:
    known = known_keys()
    for name, value in data.items():
        parts = [str(key) for key in value] if isinstance(value, Mapping) else []
        if name == "env":  # its constructor knows what it takes, and nobody else
            continue
        if name in CHOICES:
            parts = [part for part in parts if part != "name"]
        if name == "velocity_dims":  # {position: velocity}
            continue
        for path in [(name,), *((name, part) for part in parts)]:
            if (key := ".".join(path)) not in known:
                raise OptionError(path, f"unknown option{did_you_mean(key, known)}")


def _mapping(key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise OptionError((key,), f"expected options and their values, got {shown(value)}")
    return dict(value)


def _build_choice(key: str, present: dict[str, Any], changes: object) -> Any:
    """Change a choice; a new name drops the old options."""
    changes = _mapping(key, changes)
    name = changes.get("name", present["name"])
    return CHOICES[key].build((present if name == present["name"] else {}) | {"name": name} | changes)


def _build_env(present: TrainConfig, changes: dict[str, Any]) -> dict[str, Any]:
    """Return id and options of the environment from the present ones and what changes; as for a choice."""
    name = convert_option(("env",), changes.pop("name", present.env), str)
    kept = present.env_options if name == present.env else {}
    options = {str(key).replace("-", "_"): to_plain(value) for key, value in changes.items()}
    for key in changes:
        if "-" in str(key) and str(key).replace("-", "_") in changes:
            raise OptionError(("env", str(key)), "is given twice")
    return {"env": name, "env_options": {**kept, **options}}


def _as_text(key: str, value: object) -> object:
    """Turn indices in YAML, `[0, 2]`, `2` or `{0: 1}`, into the text that the flag takes; `{}` is none."""
    if key == "velocity_dims" and isinstance(value, Mapping):
        return ",".join(f"{position}:{velocity}" for position, velocity in value.items()) or NONE
    if key != "angle_dims" or isinstance(value, bool | str | None):
        return value
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
