"""How far an exported function is from `predict`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.errors import PolicyError
from mbrl_agent.randomness import derive_seed
from mbrl_agent.run.export.base import Action
from mbrl_agent.run.export.function import PolicyFunction
from mbrl_agent.run.messages import one_line

TOLERANCE = 1e-5
"""Largest difference of an action, as a fraction of its range, that an export may have."""
MAX_VISITED, BEYOND = 4000, 1000
FARTHER = 1.0
"""Made-up states lie up to this many times the range of the visited ones outside it."""


class ExportError(Exception):
    """An exported function does not do what the policy does."""


@dataclass(frozen=True)
class Comparison:
    """Largest differences of an action as fractions of its range.

    Attributes:
        states: How many states were compared.
        difference: Between the exported function and `predict`.
        rounding: Between `predict` and the same policy in float64, at the same states: how far `predict`
            itself is from what it computes. Zero where the policy cannot compute in float64.
        agrees: Whether the difference is at most `TOLERANCE` at each state, or no more than twice the
            rounding of `predict` there.
    """

    states: int
    difference: float
    rounding: float
    agrees: bool

    def __str__(self) -> str:
        """Say it in words."""
        rounding = f" (predict's own rounding: {self.rounding:.1e})" if self.rounding > 0 else ""
        return f"{self.difference:.1e} of the action's range{rounding}"


def compare(agent: ParticlePILCO, action: Action) -> dict[str, Comparison]:
    """Compare an exported function with `agent.predict`.

    Args:
        agent: Whose policy it is.
        action: The function, read back from its file.

    Returns:
        By the kind of states, "visited" and "beyond": those of the agent's episodes, and random ones in and
        around their range. Where there are no episodes, the latter are standard normal; where `predict`
        does not give numbers for them, they are left out.

    Raises:
        PolicyError: `predict` gives no number at a visited state.
        ExportError: The function cannot be called.
    """
    results = {}
    visited = visited_states(agent)
    if len(visited):
        results["visited"] = _compare(agent, action, visited)
    with suppress(PolicyError):
        results["beyond"] = _compare(agent, action, _beyond(agent, visited))
    return results


def visited_states(agent: ParticlePILCO, count: int = MAX_VISITED) -> NDArray[Any]:
    """(N, D), at most `count` observations of the agent's episodes, evenly spread, as the policy saw them."""
    episodes = agent.replay.episodes
    if not episodes:
        return np.zeros((0, agent.state_dims), agent.observation_space.dtype)
    states = np.concatenate([episode.observations for episode in episodes])
    chosen = np.linspace(0, len(states) - 1, min(count, len(states))).round().astype(int)
    result: NDArray[Any] = states[chosen].astype(agent.observation_space.dtype)
    return result


def _beyond(agent: ParticlePILCO, visited: NDArray[Any]) -> NDArray[Any]:
    """(`BEYOND`, D), random states in and around the range of the visited ones."""
    assert agent.seed is not None
    generator = np.random.default_rng(derive_seed(agent.seed, "export", agent.trials))
    shape = (BEYOND, agent.state_dims)
    if len(visited):
        low, high = visited.min(0).astype(np.float64), visited.max(0).astype(np.float64)
        margin = FARTHER * (high - low)
        states = generator.uniform(low - margin, high + margin, shape)
    else:
        states = generator.standard_normal(shape)
    result: NDArray[Any] = states.astype(agent.observation_space.dtype)
    return result


def _compare(agent: ParticlePILCO, action: Action, states: NDArray[Any]) -> Comparison:
    space = agent.action_space
    assert isinstance(space, spaces.Box)
    span = space.high.astype(np.float64) - space.low.astype(np.float64)
    span = np.where(span > 0, span, 1.0)
    expected = agent.predict(states, deterministic=True)[0].astype(np.float64)
    actions = _call(action, states, expected.shape)
    alone = _call(action, states[:1], expected[:1].shape)  # as a control loop calls it
    difference = np.abs(actions - expected) / span
    difference[0] = np.maximum(difference[0], np.abs(alone - expected[:1])[0] / span)
    rounding = np.abs(_exact(agent, states, expected) - expected) / span
    # what is not a number does not agree
    agrees = bool((difference <= np.maximum(TOLERANCE, 2 * rounding)).all())
    return Comparison(len(states), float(difference.max()), float(rounding.max()), agrees)


def _call(action: Action, states: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The actions, of this shape.

    Raises:
        ExportError: The function fails, as what was traced from a policy of the user's own may do anyhow.
    """
    try:
        actions = np.asarray(action(states), dtype=np.float64)
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise ExportError(
            f"the exported function cannot take {len(states)} observations: {reason}"
        ) from error
    if actions.shape != shape:
        raise ExportError(f"the exported function returns actions of shape {actions.shape}, not {shape}")
    return actions


def _exact(agent: ParticlePILCO, states: NDArray[Any], otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """The policy's actions in float64 for the states that it sees; `otherwise` if it cannot compute so."""
    single = next(agent.policy.parameters()).dtype
    try:
        function = PolicyFunction(agent.policy, torch.float64)
        function.action_dtype = torch.float64
        with torch.no_grad():
            found = function(torch.as_tensor(states).to(single)).numpy()
    except Exception:  # a policy of the user's own may mix in tensors of another precision
        return otherwise
    exact: NDArray[np.float64] = np.where(np.isfinite(found), found, otherwise)
    return exact
