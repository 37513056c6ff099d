"""The mechanical energy of a plant, where the environment offers it; a diagnostic, nothing depends on it."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from mbrl_agent.agent.observation_changes import Attributes
from mbrl_agent.search.probe import Energy


def offered_energy(env: VecEnv, state_dims: int) -> Energy | None:
    """Read the attribute `energy` of the environments: states (..., D) in torch -> energy (...) [J].

    Returns:
        None where there is none that holds for the observations, it cannot be sent from its process, or the
        attribute of that name is something else.
    """
    try:
        return checked_energy(Attributes(env).get("energy"), state_dims)
    except ValueError:
        return None


def checked_energy(value: Any, state_dims: int) -> Energy | None:
    """Return it if it is a function of states, else None: any environment may have an attribute so named."""
    if not callable(value):
        return None
    try:
        result = value(torch.zeros(2, 3, state_dims))
    except Exception:  # a method of the user's own, for something else
        return None
    fits = isinstance(result, Tensor) and result.shape == (2, 3)
    energy: Energy | None = value if fits else None
    return energy
