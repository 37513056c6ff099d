"""What the single and the vector environment of a plant share: settings, start, noise, success, checks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from envs.shared.arrays import Array, Component, FloatArray, join, split

StdLike = float | Sequence[float] | npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class SwingUpTask(ABC):
    """Settings of a swing-up, checked: a plant of D state and U action dimensions.

    Attributes:
        cost: Cost of the true state (..., D), in NumPy and in torch; reward = 1 - cost.
        noise_std: (D,), measurement noise, in the units of the state.
        initial_std: (D,), start noise, in the units of the state.
        initial_mean: (D,), hanging at rest.
    """

    cost: Callable[..., Any]
    noise_std: FloatArray
    initial_std: FloatArray
    initial_mean: FloatArray

    labels: ClassVar[tuple[str, ...]]
    """(D), names of the state's dimensions, with units."""
    angle_dims: ClassVar[tuple[int, ...]]
    """Indices of the angles [rad]."""
    velocity_dims: ClassVar[tuple[tuple[int, int], ...]]
    """(position index, velocity index) of each position."""
    action_dims: ClassVar[int] = 1
    """U."""
    success_steps: ClassVar[int]
    """Steps on target, in a row and up to the last one, that make an episode a success: one second."""

    @property
    @abstractmethod
    def time_step(self) -> float:
        """Duration of a step [s]."""

    @property
    @abstractmethod
    def full_force(self) -> tuple[float, ...]:
        """(U,), force [N] or torque [N m] of a full action."""

    @property
    @abstractmethod
    def success_distance(self) -> float:
        """Distance of the tip from the target within which it is on target [m]."""

    @abstractmethod
    def advance(
        self, components: tuple[Component, ...], forces: tuple[Component, ...]
    ) -> tuple[Component, ...]:
        """Advance the state's D components by one step under U constant forces, each (...)."""

    @abstractmethod
    def tip_distance(self, state: Array) -> Array:
        """Return the distance of the tip from its target [m], (...), of states (..., D)."""

    @abstractmethod
    def energy(self, state: Array) -> Array:
        """Return the mechanical energy [J], (...), of states (..., D)."""

    @property
    def state_dims(self) -> int:
        """D."""
        return len(self.labels)

    def observe(self, state: FloatArray, normals: FloatArray) -> npt.NDArray[np.float32]:
        """Measure states (..., D) with the noise of standard normals (..., D); returns (..., D) float32."""
        return (state + self.noise_std * normals).astype(np.float32)

    def start(self, normals: FloatArray) -> FloatArray:
        """Start states (..., D) of standard normals (..., D)."""
        return self.initial_mean + self.initial_std * normals

    def force(self, action: Any, shape: tuple[int, ...]) -> FloatArray:
        """Clip an action to [-1, 1] and turn it into forces.

        Args:
            action: `shape`, without unit.
            shape: (U,) for a single environment, (n, U) for n.

        Returns:
            Forces [N] or torques [N m], of that shape.

        Raises:
            ValueError: The action has another shape or is not finite.
        """
        array = np.asarray(action, dtype=np.float64)
        if array.shape != shape:
            raise ValueError(f"action must have shape {shape}, got shape {array.shape}.")
        if not np.isfinite(array).all():
            rows = ~np.isfinite(array).all(-1)
            where = "" if len(shape) == 1 else f" in sub-environments {np.flatnonzero(rows).tolist()}"
            raise ValueError(f"action must be finite, got {array[~np.isfinite(array)].tolist()}{where}.")
        return np.asarray(self.full_force) * np.clip(array, -1.0, 1.0)

    def dynamics(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the true next state, without noise; differentiable.

        Args:
            state: (..., D).
            action: (..., U), in units of the full force, clipped to [-1, 1].
        """
        forces = tuple(
            full * part.clamp(-1.0, 1.0)
            for full, part in zip(self.full_force, action.unbind(-1), strict=True)
        )
        return join(self.advance(split(state), forces))


def check_render_mode(render_mode: str | None, allowed: Iterable[str]) -> str | None:
    """Return the render mode, or raise a ValueError that names the allowed ones."""
    if render_mode is not None and render_mode not in allowed:
        raise ValueError(f"render_mode must be None or one of {list(allowed)}, got {render_mode!r}.")
    return render_mode


def state_option(
    options: Mapping[str, Any] | None,
    shapes: Sequence[tuple[int, ...]],
    labels: Sequence[str],
    allowed: Sequence[str] = ("state",),
) -> FloatArray | None:
    """Read the option "state" of `reset`.

    Args:
        options: The options of `reset`.
        shapes: Allowed shapes of the state.
        labels: (D), names of the state's dimensions, for the message.
        allowed: Names of all options that the environment knows.

    Returns:
        A new float64 array of one of the shapes; None where the option is not given.

    Raises:
        ValueError: An option is unknown, or the state has another shape or is not finite.
    """
    options = options or {}
    unknown = sorted(set(options) - set(allowed), key=repr)
    if unknown:
        raise ValueError(f"reset knows the options {list(allowed)}, got {unknown}.")
    if options.get("state") is None:
        return None
    state = np.array(options["state"], dtype=np.float64)
    if state.shape not in shapes:
        names = ", ".join(label.partition(" ")[0] for label in labels)
        raise ValueError(
            f"options['state'] must have shape {' or '.join(map(str, shapes))} ({names}), got shape "
            f"{state.shape}."
        )
    if not np.isfinite(state).all():
        raise ValueError(f"options['state'] must be finite, got {state.tolist()}.")
    return state


def check_stds(name: str, value: StdLike, labels: Sequence[str]) -> FloatArray:
    """Read standard deviations (D,) from one number or D; ValueError where one is not finite or negative."""
    stds, dims = np.array(value, dtype=np.float64), len(labels)
    if stds.shape not in ((), (dims,)):
        units = ", ".join(label.partition("[")[2].rstrip("]") for label in labels)
        raise ValueError(f"{name} must be one number or {dims} ({units}), got shape {stds.shape}.")
    if not np.isfinite(stds).all() or (stds < 0).any():
        raise ValueError(f"{name} must be finite and >= 0, got {value!r}.")
    return np.broadcast_to(stds, (dims,)).copy()


class TaskAttributes:
    """What an environment offers of its task: to agents that plan with a model, to figures and to studies."""

    metadata: dict[str, Any]

    def offer(self, task: SwingUpTask) -> None:
        """Set the attributes, and the speed of films to that of the plant."""
        self.cost = task.cost
        self.dynamics = task.dynamics
        self.energy = task.energy
        self.angle_dims = task.angle_dims
        self.velocity_dims = dict(task.velocity_dims)
        self.observation_labels = task.labels
        self.initial_mean = task.initial_mean
        self.initial_std = task.initial_std
        self.dt = task.time_step
        self.metadata = {**self.metadata, "render_fps": round(1 / task.time_step)}
