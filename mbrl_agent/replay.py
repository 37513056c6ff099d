"""Transitions collected from the real environment, and what the dynamics model makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Transitions:
    """N one-step transitions.

    Attributes:
        states: (N, D), before the step.
        actions: (N, U), in [-1, 1].
        next_states: (N, D), after the step.
    """

    states: Tensor
    actions: Tensor
    next_states: Tensor

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True)
class Episode:
    """One real episode of N steps.

    Attributes:
        observations: (N + 1, D), float64.
        actions: (N, U), in [-1, 1].
        rewards: (N,).
    """

    observations: NDArray[np.float64]
    actions: NDArray[np.float64]
    rewards: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.actions)


class Replay:
    """Every episode so far, in the order of collection.

    Args:
        episodes: To begin with.
    """

    def __init__(self, episodes: Iterable[Episode] = ()) -> None:
        self.episodes = list(episodes)

    def __len__(self) -> int:
        """Number of transitions."""
        return sum(len(episode) for episode in self.episodes)

    def add(self, episode: Episode) -> None:
        """Append an episode.

        Raises:
            ValueError: The arrays' lengths do not fit together, or a value is not finite.
        """
        if len(episode.observations) != len(episode) + 1 or len(episode.rewards) != len(episode):
            raise ValueError(
                f"an episode of {len(episode)} actions needs {len(episode) + 1} observations and "
                f"{len(episode)} rewards, got {len(episode.observations)} and {len(episode.rewards)}"
            )
        for label, values in (("observation", episode.observations), ("action", episode.actions)):
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                step, dimension = bad[0]
                value = values[step, dimension]
                raise ValueError(f"{label} dimension {dimension} of step {step} is {value}, not finite")
        self.episodes.append(episode)

    def transitions(
        self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Transitions:
        """All transitions of all episodes, in order.

        Raises:
            ValueError: There are no episodes.
        """
        if not self.episodes:
            raise ValueError("there are no episodes yet: call learn (or collect) first")

        def join(parts: list[NDArray[np.float64]]) -> Tensor:
            return torch.as_tensor(np.concatenate(parts), dtype=dtype, device=device)

        return Transitions(
            states=join([e.observations[:-1] for e in self.episodes]),
            actions=join([e.actions for e in self.episodes]),
            next_states=join([e.observations[1:] for e in self.episodes]),
        )

    def initial_states(self) -> NDArray[np.float64]:
        """(number of episodes, D), the first observation of each episode."""
        return np.stack([episode.observations[0] for episode in self.episodes])
