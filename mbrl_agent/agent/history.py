"""An environment of which a part is observed, and whose state remembers the last observations and actions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.options.validation import require_count

PROBES = 256
"""States at which a cost is compared with itself where something else is in the place of what is hidden."""


@dataclass(frozen=True)
class OfObserved:
    """A function of whole states for states that begin with a part of them; it can be pickled.

    What is hidden is taken as zero: the function must not depend on it.

    Attributes:
        function: States (..., D), and perhaps actions (..., U), -> (...).
        observed: Which dimensions the new states begin with, in this order.
        state_dims: D.
    """

    function: Callable[..., Tensor]
    observed: tuple[int, ...]
    state_dims: int

    def __call__(self, state: Tensor, *actions: Tensor) -> Tensor:
        """Compute it (...) for states (..., at least as many dimensions as are observed)."""
        hidden = torch.zeros_like(state[..., :1])
        columns = {index: state[..., place : place + 1] for place, index in enumerate(self.observed)}
        whole = [columns.get(index, hidden) for index in range(self.state_dims)]
        return self.function(torch.cat(whole, dim=-1), *actions)


@dataclass(frozen=True)
class NeedsHidden:
    """Stands for a function that depends on what is hidden.

    Attributes:
        name: What it is.
        hidden: Indices of the dimensions that it depends on.
    """

    name: str
    hidden: tuple[int, ...]

    def __call__(self, *arguments: Any) -> Any:
        """Refuse.

        Raises:
            ValueError: Always.
        """
        dims = ", ".join(map(str, self.hidden))
        raise ValueError(
            f"the environment's {self.name} depends on dimension {dims} of its observations, which is not "
            f"observed: observe it, too, or pass a {self.name} of what is observed"
        )


@dataclass(frozen=True)
class RepeatedStarts:
    """A sampler of initial states that remember nothing yet: each observation repeated, and zeros.

    Attributes:
        draw: (count, generator) -> (count, D).
        observed: Which dimensions are observed.
        length: How often each is repeated.
        zeros: How many zeros follow, for the actions.
    """

    draw: Callable[[int, torch.Generator], Any]
    observed: tuple[int, ...]
    length: int
    zeros: int

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, length * number of observed dimensions + zeros)."""
        states = torch.as_tensor(self.draw(count, generator))
        seen = torch.stack([states[:, index] for index in self.observed], dim=-1)
        return torch.cat([*[seen] * self.length, seen.new_zeros(count, self.zeros)], dim=-1)


@dataclass(frozen=True)
class NormalStarts:
    """Draws initial states that are normal and independent in every dimension.

    Attributes:
        mean: (D).
        std: (D).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, D)."""
        like: dict[str, Any] = {"dtype": torch.float32, "device": generator.device}
        normal = torch.randn(count, len(self.mean), generator=generator, **like)
        return torch.tensor(self.mean, **like) + torch.tensor(self.std, **like) * normal


class History(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Observe some dimensions, and remember: (D) -> (N d + (N - 1) U), the newest first.

        (o_t, o_{t-1}, ..., o_{t-N+1}, a_{t-1}, ..., a_{t-N+1})

    A state of which a part is hidden (velocities, on a rig that measures positions) is found in what was seen
    and done before. Actions are in [-1, 1], whatever their bounds. At the start of an episode the first
    observation stands for those before it, and the middle of the action space for the actions.

    What the environment offers of the task is handed on as it has to be for the longer observations: `cost`
    and `terminated`, unless they depend on what is hidden; `angle_dims`, of every observation that is
    remembered; `velocity_dims`, of the newest, where both are observed; `initial_states`, also in the place
    of `initial_mean` and `initial_std`; `observation_labels`. `copied_dims` tells models what is remembered,
    which they need not learn.

    Args:
        env: Observations are a Box with one axis, actions a bounded Box with one axis.
        length: N, how many observations a state holds.
        observed: Indices of the d observed dimensions, in this order; None observes all.

    Raises:
        ValueError: The spaces are others, N is not positive, or an index is out of range or given twice.

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
        self, env: gymnasium.Env[Any, Any], length: int = 1, observed: Sequence[int] | None = None
    ) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, length=length, observed=observed)
        super().__init__(env)
        space, actions = env.observation_space, env.action_space
        for name, one in (("observations", space), ("actions", actions)):
            if not isinstance(one, spaces.Box) or len(one.shape) != 1:
                raise ValueError(f"{name} must be a Box with one axis, got {one}")
        assert isinstance(space, spaces.Box)
        assert isinstance(actions, spaces.Box)
        if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
            raise ValueError(f"actions must be bounded, got {actions}")
        self.length = require_count("length", length)
        self._dims, self._count = space.shape[0], actions.shape[0]
        self.observed = check_observed(observed, self._dims)
        low, high = actions.low.astype(np.float64), actions.high.astype(np.float64)
        self._middle, self._half = 0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low
        dtype = np.result_type(space.dtype, np.float32)  # whole numbers have no room for an action
        ones = np.ones((length - 1) * self._count, dtype)
        chosen = list(self.observed)
        self.observation_space = spaces.Box(
            np.concatenate([*[space.low[chosen]] * length, -ones]).astype(dtype),
            np.concatenate([*[space.high[chosen]] * length, ones]).astype(dtype),
            dtype=dtype.type,
        )
        self._observations: deque[NDArray[Any]] = deque(maxlen=length)
        self._actions: deque[NDArray[np.float64]] = deque(maxlen=length - 1)

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
        seen, end = self.length * width, self.length * width + (self.length - 1) * count
        found = {index: index - width for index in range(width, seen)}
        for index in range(seen, end):  # the latest action comes from the one that is taken, behind the state
            found[index] = index - count if index >= seen + count else end + index - seen
        return found

    @property
    def initial_states(self) -> Any:
        """Where the environment's episodes start, without a past; None where it does not tell."""
        states, mean, std = (self._offered(f"initial_{name}") for name in ("states", "mean", "std"))
        zeros = (self.length - 1) * self._count
        if states is not None and not callable(states):
            seen = np.asarray(states, np.float64)[:, list(self.observed)]
            return np.pad(np.tile(seen, (1, self.length)), ((0, 0), (0, zeros)))
        if states is None and (mean is None or std is None):
            return None
        if states is None:
            full = [np.broadcast_to(np.asarray(value, np.float64), (self._dims,)) for value in (mean, std)]
            states = NormalStarts(*(tuple(map(float, values)) for values in full))
        return RepeatedStarts(states, self.observed, self.length, zeros)

    @property
    def initial_mean(self) -> None:
        """None: the dimensions of a state that remembers are not independent; see `initial_states`."""

    @property
    def initial_std(self) -> None:
        """None: see `initial_states`."""

    @property
    def observation_labels(self) -> tuple[str, ...]:
        """The environment's, with how many steps ago, and names for the actions."""
        labels = self.env.get_wrapper_attr("observation_labels")
        seen = [labels[index] for index in self.observed]
        past = [f"{age}_ago_{label}" for age in range(1, self.length) for label in seen]
        acts = [f"{age}_ago_action_{i}" for age in range(1, self.length) for i in range(self._count)]
        return (*seen, *past, *acts)

    def reset(self, **options: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode, and forget what was before."""
        observation, info = self.env.reset(**options)
        self._observations.extend([self._see(observation)] * self.length)
        self._actions.extend([np.zeros(self._count)] * (self.length - 1))
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

    def _of_observed(self, name: str, *actions: Tensor) -> Callable[..., Tensor] | None:
        """The environment's function, of the newest observation; None where there is none."""
        function = self.env.get_wrapper_attr(name)
        if not callable(function):  # environments have flags of that name
            return None
        hidden = [index for index in range(self._dims) if index not in self.observed]
        needed = tuple(index for index in hidden if _depends_on(function, index, self._dims, *actions))
        if needed:
            return NeedsHidden(name, needed)
        return OfObserved(function, self.observed, self._dims)


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


def _depends_on(function: Callable[..., Tensor], index: int, dims: int, *actions: Tensor) -> bool:
    """Whether a function of states has another value where one of their dimensions is another."""
    generator = torch.Generator().manual_seed(0)
    size = 10 ** (2 * torch.rand(PROBES, 1, generator=generator, dtype=torch.float32) - 1)
    state = size * torch.randn(PROBES, dims, generator=generator, dtype=torch.float32)
    other = state.clone()
    other[:, index] = state[:, index].roll(1) + 1
    try:
        with torch.no_grad():
            return not torch.equal(function(state, *actions), function(other, *actions))
    except Exception:  # it is the user's code, which may raise anything; the agent tries it, too, and tells
        return False
