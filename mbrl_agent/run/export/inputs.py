"""What a function is given when it is compared with `predict`: where the agent was, and made-up states."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.randomness import derive_seed

MAX_VISITED, BEYOND = 4000, 1000
FARTHER = 1.0
"""Made-up states lie up to this many times the range of the visited ones outside it."""
Inputs = tuple[NDArray[Any], ...]
"""Observations (N, D), and the memory (N, H) of a policy that remembers."""


def visited_inputs(agent: ParticlePILCO, count: int = MAX_VISITED) -> Inputs:
    """Take at most `count` observations of the agent's episodes, evenly spread, as the policy saw them.

    A memory is what the policy would remember there of what was seen in the episode before.

    Raises:
        PolicyError: It gives no number in these episodes.
    """
    policy, dtype = agent.policy, agent.observation_space.dtype
    episodes = [episode.observations.astype(dtype) for episode in agent.replay.episodes]
    parts = [np.concatenate([np.zeros((0, policy.state_dims), dtype), *episodes])]
    if policy.memory_dims:
        parts.append(np.concatenate([_start(agent, 0), *_memories(agent, episodes)]))
    total = len(parts[0])
    chosen = np.linspace(0, total - 1, min(count, total)).round().astype(int)
    return tuple(part[chosen] for part in parts)


def made_up_inputs(agent: ParticlePILCO, visited: Inputs) -> Inputs:
    """Draw `BEYOND` ones in and around the visited ones' range; standard normal if there are none."""
    assert agent.seed is not None
    generator = np.random.default_rng(derive_seed(agent.seed, "export", agent.trials))
    return tuple(_around(part, generator) for part in visited)


def _around(visited: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    shape = (BEYOND, visited.shape[1])
    if len(visited):
        low, high = visited.min(0).astype(np.float64), visited.max(0).astype(np.float64)
        margin = FARTHER * (high - low)
        drawn = generator.uniform(low - margin, high + margin, shape)
    else:
        drawn = generator.standard_normal(shape)
    result: NDArray[Any] = drawn.astype(visited.dtype)
    return result


def _memories(agent: ParticlePILCO, episodes: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return what the policy remembers when it sees each observation: (T, H) of each episode (T, D)."""
    if not episodes:
        return []
    longest = max(map(len, episodes))
    padded = [np.pad(one, ((0, longest - len(one)), (0, 0)), mode="edge") for one in episodes]
    memory, found = _start(agent, len(episodes)), []
    for observations in np.stack(padded, axis=1):  # a step of all episodes side by side
        found.append(memory)
        _, state = agent.predict(observations, (memory,), deterministic=True)
        assert state is not None
        memory = state[0]
    steps = np.stack(found)
    return [steps[: len(one), index] for index, one in enumerate(episodes)]


def _start(agent: ParticlePILCO, count: int) -> NDArray[Any]:
    """(count, H), what is remembered at the start of an episode."""
    return np.zeros((count, agent.policy.memory_dims), np.float32)
