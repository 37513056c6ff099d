"""An environment of which a part is observed, and whose state remembers the last observations and actions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.costs.base import FirstDimensions
from mbrl_agent.options.validation import require_count
from mbrl_agent.wrappers.handed_on import (
    PROBES,
    CostOfObserved,
    NeedsHidden,
    NormalStarts,
    OfObserved,
    RepeatedStarts,
    depends_on,
)


class History(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Observe some dimensions, and remember: (D) -> (N d + M U), the newest first.

        (o_t, o_{t-1}, ..., o_{t-N+1}, a_{t-1}, ..., a_{t-M})

    A state of which a part is hidden (velocities, on a rig that measures positions) is found in what was seen
    and done before. Actions are in [-1, 1], whatever their bounds. At the start of an episode the first
    observation stands for those before it, and zero, the middle of the action space, for the actions.

    What the environment offers of the task is handed on as it has to be for the longer observations: `cost`
    and `terminated`, of the newest observation, unless they depend on what is hidden; `angle_dims`, of every
    observation that is remembered; `velocity_dims`, of the newest, where both are observed; where episodes
    start (in a state with several observations these are not independent: moments become `initial_states`);
    `observation_labels`. `copied_dims` tells models what is remembered, which they need not learn.

    Args:
        env: Observations are a Box with one axis, actions a bounded Box with one axis.
        length: N, how many observations a state holds.
        observed: Indices of the d observed dimensions, in this order; None observes all.
        actions: M, how many actions a state holds; None for those between the observations, N - 1.

    Raises:
        ValueError: The spaces are others, N is not positive, M negative, or an index is out of range or given
            twice.

    Example:
        >>> import gymnasium
        >>> env = History(gymnasium.make("Pendulum-v1"), length=2, observed=(0, 1))
        >>> env.observation_space.shape
        (5,)
        >>> env.copied_dims
        {2: 0, 3: 1, 4: 5}

    Reference:
        Amadio, Dalla Libera, Antonello, Nikovski, Carli, Romeres (2022), Model-Based Policy Search Using
        Monte Carlo Gradient Estimation with Real Systems Application, section on partial measurements.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        length: int = 1,
        observed: Sequence[int] | None = None,
        actions: int | None = None,
    ) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(
            self, length=length, observed=observed, actions=actions
        )
        super().__init__(env)
        space, controls = env.observation_space, env.action_space
        for name, one in (("observations", space), ("actions", controls)):
            if not isinstance(one, spaces.Box) or len(one.shape) != 1:
                raise ValueError(f"{name} must be a Box with one axis, got {one}")
        assert isinstance(space, spaces.Box)
        assert isinstance(controls, spaces.Box)
        if not (np.isfinite(controls.low).all() and np.isfinite(controls.high).all()):
            raise ValueError(f"actions must be bounded, got {controls}")
        self.length = require_count("length", length)
        self.remembered_actions = self.length - 1 if actions is None else require_count("actions", actions, 0)
        self._dims, self._count = space.shape[0], controls.shape[0]
        self._zeros = self.remembered_actions * self._count
        self.observed = check_observed(observed, self._dims)
        low, high = controls.low.astype(np.float64), controls.high.astype(np.float64)
        self._middle, self._half = 0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low
        dtype = np.result_type(space.dtype, np.float32)  # whole numbers have no room for an action
        ones = np.ones(self._zeros, dtype)
        chosen = list(self.observed)
        self.observation_space = spaces.Box(
            np.concatenate([*[space.low[chosen]] * length, -ones]).astype(dtype),
            np.concatenate([*[space.high[chosen]] * length, ones]).astype(dtype),
            dtype=dtype.type,
        )
        self._observations: deque[NDArray[Any]] = deque(maxlen=length)
        self._actions: deque[NDArray[np.float64]] = deque(maxlen=self.remembered_actions)

    @property
    def cost(self) -> Callable[..., Tensor] | None:
        """The environment's cost, of the newest observation."""
        return self._of_observed("cost", torch.zeros(PROBES, self._count))

    @property
    def terminated(self) -> Callable[..., Tensor] | None:
        """The environment's test of an end, of the newest observation."""
        return self._of_observed("terminated")

    @property
    def angle_dims(self) -> tuple[int, ...]:
        """The angles of all observations that are remembered."""
        own, width = self.env.get_wrapper_attr("angle_dims"), len(self.observed)
        angles = [self.observed.index(index) for index in own if index in self.observed]
        return tuple(age * width + place for age in range(self.length) for place in angles)

    @property
    def velocity_dims(self) -> dict[int, int]:
        """Of the newest observation, where position and velocity are observed."""
        pairs = dict(self.env.get_wrapper_attr("velocity_dims")).items()
        place = self.observed.index
        return {place(x): place(v) for x, v in pairs if x in self.observed and v in self.observed}

    @property
    def copied_dims(self) -> dict[int, int]:
        """Where each dimension that is remembered was a step before."""
        width, count = len(self.observed), self._count
        seen, end = self.length * width, self.length * width + self._zeros
        found = {index: index - width for index in range(width, seen)}
        for index in range(seen, end):  # the latest action comes from the one that is taken, behind the state
            found[index] = index - count if index >= seen + count else end + index - seen
        return found

    @property
    def initial_states(self) -> Any:
        """Where the environment's episodes start, without a past."""
        if self.length > 1 and self._offered("initial_states") is None:
            states: Any = NormalStarts(*(tuple(map(float, self._moment(name))) for name in ("mean", "std")))
        else:
            states = self.env.get_wrapper_attr("initial_states")
        if states is None:
            return None
        if callable(states):
            return RepeatedStarts(states, self.observed, self.length, self._zeros)
        seen = np.asarray(states, np.float64)[:, list(self.observed)]
        return np.pad(np.tile(seen, (1, self.length)), ((0, 0), (0, self._zeros)))

    @property
    def initial_mean(self) -> NDArray[np.float64] | None:
        """The environment's, with zeros for the actions; None for several observations."""
        return self._padded("mean")

    @property
    def initial_std(self) -> NDArray[np.float64] | None:
        """The environment's, likewise."""
        return self._padded("std")

    @property
    def observation_labels(self) -> tuple[str, ...]:
        """The environment's, with how many steps ago, and names for the actions."""
        labels = self.env.get_wrapper_attr("observation_labels")
        seen = [labels[index] for index in self.observed]
        past = [f"{age}_ago_{label}" for age in range(1, self.length) for label in seen]
        ages = range(1, self.remembered_actions + 1)
        acts = [f"{age}_ago_action_{i}" for age in ages for i in range(self._count)]
        return (*seen, *past, *acts)

    def reset(self, **options: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode, and forget what was before."""
        observation, info = self.env.reset(**options)
        self._observations.extend([self._see(observation)] * self.length)
        self._actions.extend([np.zeros(self._count)] * self.remembered_actions)
        return self._state(), info

    def step(self, action: Any) -> tuple[NDArray[Any], Any, bool, bool, dict[str, Any]]:
        """Take a step, and remember it."""
        observation, *rest = self.env.step(action)
        scaled = (np.asarray(action, np.float64) - self._middle) / np.where(self._half > 0, self._half, 1.0)
        self._observations.appendleft(self._see(observation))
        self._actions.appendleft(np.clip(scaled, -1, 1))
        return self._state(), *rest  # type: ignore[return-value]

    def _see(self, observation: Any) -> NDArray[Any]:
        seen: NDArray[Any] = np.asarray(observation)[list(self.observed)]
        return seen

    def _state(self) -> NDArray[Any]:
        joined = np.concatenate([*self._observations, *self._actions])
        return joined.astype(self.observation_space.dtype)

    def _offered(self, name: str) -> Any:
        return self.env.get_wrapper_attr(name) if self.env.has_wrapper_attr(name) else None

    def _moment(self, name: str) -> NDArray[np.float64]:
        """Find a moment of the environment's initial states, (D); AttributeError where it has none."""
        value = self._offered(f"initial_{name}")
        if value is None:
            raise AttributeError(f"initial_{name}")
        return np.broadcast_to(np.asarray(value, np.float64), (self._dims,))

    def _padded(self, name: str) -> NDArray[np.float64] | None:
        if self.length > 1:
            return None
        return np.pad(self._moment(name)[list(self.observed)], (0, self._zeros))

    def _of_observed(self, name: str, *actions: Tensor) -> Callable[..., Tensor] | None:
        """Return the environment's function, of the newest observation; None where there is none."""
        function = self.env.get_wrapper_attr(name)
        if not callable(function):  # environments have flags of that name
            return None
        hidden = [index for index in range(self._dims) if index not in self.observed]
        needed = tuple(index for index in hidden if depends_on(function, index, self._dims, *actions))
        if needed:
            return NeedsHidden(name, needed)
        if name == "terminated":
            return OfObserved(function, self.observed, self._dims)
        if self.observed == tuple(range(self._dims)):
            return FirstDimensions(function, self._dims)
        return CostOfObserved(function, self.observed, self._dims)


def check_observed(observed: Sequence[int] | None, dims: int) -> tuple[int, ...]:
    """Return the indices of the dimensions that are observed.

    Args:
        observed: Indices; None for all.
        dims: D.

    Raises:
        ValueError: There are none, one is out of range, or one is given twice.
    """
    chosen = tuple(range(dims)) if observed is None else tuple(int(index) for index in observed)
    text = ",".join(map(str, chosen))
    if not chosen or len(set(chosen)) != len(chosen):
        raise ValueError(f"observed must name some dimensions, each once, got {text or 'none'}")
    if not all(0 <= index < dims for index in chosen):
        raise ValueError(f"observed {text}: an observation has dimensions 0 to {dims - 1}")
    return chosen
