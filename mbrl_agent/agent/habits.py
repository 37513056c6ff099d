"""Habits of Stable-Baselines3's other algorithms: what works here too, and the word to use for the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stable_baselines3.common.policies import BasePolicy

from mbrl_agent.options import OptionError, OptionTypeError, changed_options, did_you_mean, options_of
from mbrl_agent.policies import POLICIES, PolicyOptions
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.search.policy_search import SearchOptions

NO_CRITIC = "there is no critic and no value function here: the gradient goes through the learned model"
NETWORKS = "use policy='mlp:hidden=64x64' for the policy, dynamics='ensemble:hidden=64x64' for the model"
INSTEAD = {
    "n_steps": "a trial collects a whole episode: use max_episode_steps=...",
    "train_freq": "a trial collects a whole episode: use max_episode_steps=...",
    "learning_starts": "use random_trials=..., the trials at the start that act at random",
    "gradient_steps": "use search=SearchOptions(steps=...)",
    "n_epochs": "use search=SearchOptions(steps=...), and dynamics='ensemble:fit-steps=...' for the model",
    "batch_size": "use search=SearchOptions(num_particles=...), the rollouts of one gradient",
    "gamma": "costs are not discounted: use search=SearchOptions(horizon=...) to look less far ahead",
    "buffer_size": "all transitions are kept, and the model is fitted to all of them: leave it out",
    "replay_buffer_class": "all transitions are kept, and the model is fitted to all of them: leave it out",
    "action_noise": "the policy acts without noise: use random_trials=... for actions at random",
    "use_sde": "the policy acts without noise: use random_trials=... for actions at random",
    "net_arch": NETWORKS,
    "hidden": NETWORKS,
    "stats_window_size": "the means of rollout/* are over the last 100 episodes: leave it out",
    **dict.fromkeys(
        ("tau", "ent_coef", "vf_coef", "gae_lambda", "clip_range", "clip_range_vf", "target_kl",
         "target_update_interval", "target_entropy", "policy_delay", "normalize_advantage"),
        f"{NO_CRITIC}: leave it out",
    ),
}  # fmt: skip
"""By keyword argument of another algorithm: what to write here."""
POLICY_INSTEAD = {"net_arch": "hidden"}
"""By policy keyword of Stable-Baselines3: the option of a policy that has such a one."""
GIVEN_BY_AGENT = ("observation_space", "action_space", "lr_schedule", "angle_dims", "copied_dims")


LOAD_OPTIONS = ("cost", "initial_states", "terminated", "search", "tensorboard_log", "verbose")


def instead_of(name: str) -> str:
    """Tell what to write instead of a keyword that other algorithms have; empty where none has it."""
    if name in options_of(SearchOptions):
        return f"use search=SearchOptions({name}=...)"
    return INSTEAD.get(name, "")


def refuse_keywords(given: Iterable[str], function: Callable[..., object]) -> None:
    """Refuse the first keyword argument that a function does not have, with the word to use instead.

    Args:
        given: Keywords that do not exist.
        function: What they were given to.

    Raises:
        OptionTypeError: There is one.
    """
    known = _keywords(function)
    for name in given:
        unknown = f"unknown option, there are {', '.join(known)}{did_you_mean(name, known)}"
        raise OptionTypeError((name,), instead_of(name) or unknown)


def refuse_load_options(given: Iterable[str]) -> None:
    """Refuse keyword arguments that `ParticlePILCO.load` does not have, with the words to use instead.

    Raises:
        ValueError: There are some.
    """
    unknown = sorted(set(given) - set(LOAD_OPTIONS))
    if unknown:
        hint = "".join(f"; {word}" for name in unknown if (word := instead_of(name)))
        raise ValueError(f"load takes no option {', '.join(unknown)}: only {', '.join(LOAD_OPTIONS)}{hint}")


def choose_policy(
    policy: Any, policy_kwargs: Mapping[str, Any] | None, aliases: Mapping[str, type[BasePolicy]]
) -> tuple[type[SearchPolicy], dict[str, Any]]:
    """Return the class of a policy and its options from whatever the user named it by.

    Args:
        policy: Spelled ("rbf", "RbfPolicy", "mlp:hidden=64x64"), an instance of `PolicyOptions`, or a class.
        policy_kwargs: Further options.
        aliases: Classes by the names that the agent's class has for them.

    Raises:
        ValueError: Unknown name or option, an option is given twice, or this is no policy.
        TypeError: The policy has no such option.
    """
    kwargs = dict(policy_kwargs or {})
    if isinstance(policy, str):
        policy = aliases.get(policy, policy)
    options_class = isinstance(policy, type) and issubclass(
        policy, PolicyOptions
    )  # resolve says: write Rbf()
    chosen = POLICIES.resolve(policy) if isinstance(policy, str) or options_class else policy
    if isinstance(chosen, PolicyOptions):
        options = POLICIES.read(policy) if isinstance(policy, str) else changed_options(chosen)
        given = sorted(set(options) - {"name"})
        if twice := [name for name in given if name in kwargs]:
            raise OptionError((twice[0],), f"is given twice: in policy={str(chosen)!r} and in policy_kwargs")
        kwargs = (chosen.policy_kwargs() if given else {}) | kwargs
        policy = chosen.policy_class
    if not (isinstance(policy, type) and issubclass(policy, SearchPolicy)):
        raise ValueError(
            f"policy must be one of {', '.join(aliases)} or a subclass of SearchPolicy, got {policy}"
        )
    _check_policy_options(policy, kwargs)
    return policy, kwargs


def _check_policy_options(policy: type[SearchPolicy], kwargs: Mapping[str, Any]) -> None:
    known = [name for name in _keywords(policy.__init__) if name not in GIVEN_BY_AGENT]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(policy.__init__).parameters.values())
    for name in kwargs:
        if name in known or takes_any:
            continue
        words = f"{policy.__name__} has no option {name!r}, it has {', '.join(known) or 'none'}"
        hint = did_you_mean(name, known)
        if name in POLICY_INSTEAD and POLICY_INSTEAD[name] not in known:
            hint = f": {NETWORKS}"
        elif name in POLICY_INSTEAD:
            hint = f": use {POLICY_INSTEAD[name]}=(64, 64), the units of each layer"
        raise OptionTypeError(("policy_kwargs",), f"{words}{hint}")


def _keywords(function: Callable[..., object]) -> list[str]:
    """Return the names of the arguments that may be given by keyword."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in kinds and p.name != "self" and p.name[0] != "_"]
