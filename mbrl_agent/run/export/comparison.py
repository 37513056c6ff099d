"""How far an exported function is from `predict`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.errors import PolicyError
from mbrl_agent.run.export.base import Action
from mbrl_agent.run.export.function import PolicyFunction
from mbrl_agent.run.export.inputs import Inputs, made_up_inputs, visited_inputs
from mbrl_agent.run.messages import one_line

TOLERANCE = 1e-5
"""Largest difference of an action, as a fraction of its range, that an export may have.

Of what is remembered as well, whose range is the greatest magnitude that occurs.
"""


class ExportError(Exception):
    """An exported function does not do what the policy does."""


@dataclass(frozen=True)
class Comparison:
    """Largest differences of an action, and of what is remembered, as fractions of its range.

    Attributes:
        states: How many states were compared.
        difference: Between the exported function and `predict`.
        rounding: Between `predict` and the same policy in float64, at the same states: how far `predict`
            itself is from what it computes. Zero where the policy cannot compute in float64.
        agrees: Whether the difference is at most `TOLERANCE` at each state, or no more than twice the
            rounding of `predict` there.
        remembers: Whether there is anything to remember.
    """

    states: int
    difference: float
    rounding: float
    agrees: bool
    remembers: bool

    def __str__(self) -> str:
        """Say it in words."""
        rounding = f" (predict's own rounding: {self.rounding:.1e})" if self.rounding > 0 else ""
        whose = "action's and the memory's" if self.remembers else "action's"
        return f"{self.difference:.1e} of the {whose} range{rounding}"


def compare_with_agent(agent: ParticlePILCO, action: Action) -> dict[str, Comparison]:
    """Compare an exported function with `agent.predict`.

    Args:
        agent: Whose policy it is.
        action: The function, read back from its file.

    Returns:
        By the kind of states, "visited" and "beyond": those of the agent's episodes, and random ones in and
        around their range, with memories alike. Where there are no episodes, the latter are standard normal;
        where `predict` does not give numbers for them, they are left out.

    Raises:
        PolicyError: `predict` gives no number at a visited state.
        ExportError: The function cannot be called.
    """
    results = {}
    visited = visited_inputs(agent)
    if len(visited[0]):
        results["visited"] = _compare(agent, action, visited)
    with suppress(PolicyError):
        results["beyond"] = _compare(agent, action, made_up_inputs(agent, visited))
    return results


def _compare(agent: ParticlePILCO, action: Action, inputs: Inputs) -> Comparison:
    expected = _predicted(agent, inputs)
    span = _span(agent, expected)
    seen = (inputs[0][:, list(agent.policy.seen_dims)], *inputs[1:])
    found = _call(agent, action, seen)
    alone = _call(agent, action, tuple(part[:1] for part in seen))  # as a control loop calls it
    difference = np.abs(found - expected) / span
    difference[0] = np.maximum(difference[0], np.abs(alone - expected[:1])[0] / span)
    rounding = np.abs(_exact(agent, inputs, expected) - expected) / span
    # what is not a number does not agree
    agrees = bool((difference <= np.maximum(TOLERANCE, 2 * rounding)).all())
    remembers = agent.policy.memory_dims > 0
    return Comparison(len(expected), float(difference.max()), float(rounding.max()), agrees, remembers)


def _predicted(agent: ParticlePILCO, inputs: Inputs) -> NDArray[np.float64]:
    """Return what `predict` does, and what it remembers behind that: (N, U + H)."""
    observations, *memory = inputs
    actions, state = agent.predict(observations, tuple(memory) or None, deterministic=True)
    return np.concatenate([actions, *(state or ())], axis=1).astype(np.float64)


def _span(agent: ParticlePILCO, expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranges of the actions and of what is remembered, (U + H); 1 where there is none."""
    space, policy = agent.action_space, agent.policy
    assert isinstance(space, spaces.Box)
    span = space.high.astype(np.float64) - space.low.astype(np.float64)
    memory = np.abs(expected[:, policy.action_dims :]).max(initial=0.0)
    span = np.append(span, np.full(policy.memory_dims, memory))
    return np.where(span > 0, span, 1.0)


def _call(agent: ParticlePILCO, action: Action, seen: Inputs) -> NDArray[np.float64]:
    """Return what the function returns, one beside the other: (N, U + H).

    Raises:
        ExportError: The function fails, as what was traced from a policy of the user's own may do anyhow.
    """
    count, policy = len(seen[0]), agent.policy
    try:
        results = action(*seen)
        parts = results if isinstance(results, tuple) else (results,)
        found = [np.asarray(part, dtype=np.float64) for part in parts]
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise ExportError(f"the exported function cannot take {count} observations: {reason}") from error
    shapes = [part.shape for part in found]
    expected = [(count, width) for width in (policy.action_dims, policy.memory_dims) if width]
    if shapes != expected:
        raise ExportError(f"the exported function returns arrays of shapes {shapes}, not {expected}")
    return np.concatenate(found, axis=1)


def _exact(agent: ParticlePILCO, inputs: Inputs, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute what the policy does in float64 for its inputs; `otherwise` if it cannot compute so."""
    single = next(agent.policy.parameters()).dtype
    try:
        function = PolicyFunction(agent.policy, torch.float64, range(agent.state_dims))
        function.action_dtype = function.memory_dtype = torch.float64
        with torch.no_grad():
            results = function(*(torch.as_tensor(part).to(single) for part in inputs))
        parts = results if isinstance(results, tuple) else (results,)
        found = torch.cat(parts, dim=-1).numpy()
    except Exception:  # a policy of the user's own may mix in tensors of another precision
        return otherwise
    exact: NDArray[np.float64] = np.where(np.isfinite(found), found, otherwise)
    return exact
