"""Arguments of an agent beside its policy, its environment and its task: checked, and as instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from mbrl_agent.dynamics import DYNAMICS, DynamicsOptions
from mbrl_agent.options.registry import Registry
from mbrl_agent.options.validation import require_count, require_seed
from mbrl_agent.resampling import RESAMPLERS, Resampler
from mbrl_agent.search.estimators import ESTIMATORS, Estimator
from mbrl_agent.search.policy_search import SearchOptions
from mbrl_agent.search.rollouts import ROLLOUTS, Rollout

CHOICES: dict[str, Registry[Any]] = {
    "resampling": RESAMPLERS,
    "estimator": ESTIMATORS,
    "dynamics": DYNAMICS,
    "rollout": ROLLOUTS,
}
"""By argument: what its choice is among."""
NUMBERS = ("random_trials", "max_episode_steps", "gradient_probe")
"""Arguments that are numbers, or None."""


@dataclass(frozen=True)
class AgentArguments:
    """What `ParticlePILCO` documents under these names."""

    resampling: Resampler
    estimator: Estimator
    dynamics: DynamicsOptions
    rollout: Rollout
    search: SearchOptions
    random_trials: int
    max_episode_steps: int | None
    gradient_probe: int
    policy_kwargs: dict[str, Any]
    seed: int

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Check what the user passed, by the names above, and make the choices that are spelled.

        Raises:
            ValueError: A number is out of range, or a spelling names nothing.
            TypeError: Something is of another type.
        """
        given["random_trials"] = require_count("random_trials", given["random_trials"], minimum=1)
        given["gradient_probe"] = require_count("gradient_probe", given["gradient_probe"], minimum=0)
        if given["gradient_probe"] == 1:
            raise ValueError(
                "gradient_probe must be 0 (off) or at least 2: one estimate has no variance, got 1"
            )
        if given["max_episode_steps"] is not None:
            given["max_episode_steps"] = require_count("max_episode_steps", given["max_episode_steps"])
        if given["seed"] is None:
            given["seed"] = int(np.random.SeedSequence().generate_state(1)[0])
        given["seed"] = require_seed("seed", given["seed"])
        given["search"] = SearchOptions() if given["search"] is None else require_search(given["search"])
        choices = {name: registry.resolve(given[name]) for name, registry in CHOICES.items()}
        return cls(**given | choices)


def require_search(search: Any) -> SearchOptions:
    """Return the options of the policy search; TypeError if they are something else."""
    if not isinstance(search, SearchOptions):
        raise TypeError(f"search must be SearchOptions(...) or None, got {type(search).__name__}")
    return search
