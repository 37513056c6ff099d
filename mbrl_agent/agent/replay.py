"""Transitions collected from the real environment, and what the dynamics model makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.types import Transitions

FloatArray = NDArray[np.float64]


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

    def __repr__(self) -> str:
        """Show length and return instead of the arrays."""
        return f"Episode({len(self)} steps, return {self.rewards.sum():.4g})"


class Replay:
    """Every episode so far, in the order of collection.

    Args:
        episodes: To begin with.
        further_starts: To begin with.

    Attributes:
        episodes: As recorded.
        further_starts: First observations, (D) each, of episodes that were not recorded. A vectorised
            environment begins one as soon as another has ended.
    """

    def __init__(self, episodes: Iterable[Episode] = (), further_starts: Iterable[FloatArray] = ()) -> None:
        self.episodes: list[Episode] = []
        for episode in episodes:
            self.add(episode)
        self.further_starts = list(further_starts)

    def __len__(self) -> int:
        """Count the transitions."""
        return sum(len(episode) for episode in self.episodes)

    def __repr__(self) -> str:
        """Show how much there is."""
        return f"Replay({len(self.episodes)} episodes, {len(self)} transitions)"

    def add(self, episode: Episode) -> None:
        """Append a copy of an episode.

        Raises:
            ValueError: The arrays' shapes do not fit together or to the episodes before, or a value is not
                finite.
        """
        widths = _widths(episode)
        state_dims, action_dims = _widths(self.episodes[0]) if self.episodes else widths
        steps = len(episode)
        expected = ((steps + 1, state_dims), (steps, action_dims), (steps,))
        arrays = (episode.observations, episode.actions, episode.rewards)
        if any(array.shape != shape for array, shape in zip(arrays, expected, strict=True)):
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise ValueError(
                f"observations, actions and rewards of an episode must have shapes "
                f"{', '.join(map(str, expected))}, got {shapes}"
            )
        for label, array in zip(("observation", "action", "reward"), arrays, strict=True):
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                where = f"{label} dimension {bad[0][1]}" if array.ndim == 2 else label
                raise ValueError(f"{where} of step {bad[0][0]} is {array[tuple(bad[0])]}, not finite")
        self.episodes.append(Episode(*(array.copy() for array in arrays)))

    def transitions(
        self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Transitions:
        """Return all transitions of all episodes, in order.

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
        """Return all starts that were seen, (N, D), those of the episodes first; there must be one."""
        return np.stack([*(episode.observations[0] for episode in self.episodes), *self.further_starts])


def _widths(episode: Episode) -> tuple[int, int]:
    """Return D and U of an episode.

    Raises:
        ValueError: Its observations or actions are not arrays of two axes.
    """
    observations, actions = episode.observations, episode.actions
    if observations.ndim != 2 or actions.ndim != 2:
        raise ValueError(
            f"observations (N + 1, D) and actions (N, U) of an episode must have two axes, got shapes "
            f"{observations.shape} and {actions.shape}"
        )
    return observations.shape[1], actions.shape[1]
