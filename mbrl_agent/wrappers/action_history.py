"""An environment whose observations end with its last two actions."""

from __future__ import annotations

from typing import Any

import gymnasium

from mbrl_agent.wrappers.history import History


class ActionHistory(History):
    """Append the latest action and the one before to each observation: (D) -> (D + 2 U), in [-1, 1].

    Both are needed for a cost of the change between them: the latest alone would make the state complete,
    but a cost that sees the state after a step would find there the action that it is given anyway. What the
    environment offers of the task is handed on, see `History`.

    Args:
        env: Observations are a Box with one axis, actions a bounded Box with one axis.

    Raises:
        ValueError: The spaces are others.

    Example:
        >>> import gymnasium
        >>> env = ActionHistory(gymnasium.make("Pendulum-v1"))
        >>> env.observation_space.shape, env.latest_action_dims, env.previous_action_dims
        ((5,), (3,), (4,))
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env, actions=2)

    @property
    def latest_action_dims(self) -> tuple[int, ...]:
        """(U), where an observation holds the action that led to it."""
        return tuple(range(self._dims, self._dims + self._count))

    @property
    def previous_action_dims(self) -> tuple[int, ...]:
        """(U), where an observation holds the action before that."""
        return tuple(range(self._dims + self._count, self._dims + 2 * self._count))
