"""What the single and the vector cart-pole share: settings, start, noise, success, checks of user input."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch

from envs.cartpole_cost import Cost, make_cost
from envs.cartpole_physics import DEFAULT_PARAMETERS, CartPoleParameters, FloatArray, step

SUCCESS_DISTANCE = 0.2
"""An episode succeeds when the tip stays within this distance of the target [m] ..."""
SUCCESS_STEPS = 10
"""... in each of this many last steps (one second)."""

DEFAULT_NOISE_STD = 0.01
PIPPS_NOISE_STD = np.array([0.01, 0.1, np.deg2rad(1.0), np.deg2rad(10.0)])
ANGLE_DIMS = (2,)
VELOCITY_DIMS = ((0, 1), (2, 3))  # which velocity belongs to which position
OBSERVATION_LABELS = ("x [m]", "x_dot [m/s]", "theta [rad]", "theta_dot [rad/s]")

StdLike = float | Sequence[float] | npt.NDArray[np.floating[Any]]


class TaskOptions(TypedDict, total=False):
    """Constructor options that the environments share; CartPoleSwingUpEnv explains them."""

    cost: str
    cost_width: float
    noise_std: StdLike | None
    noise_scale: float | None
    initial_std: StdLike


@dataclass(frozen=True, eq=False)
class CartPoleTask:
    """Settings of the swing-up, checked.

    Attributes:
        cost: Cost of the true state; reward = 1 - cost.
        noise_std: (4,), measurement noise in m, m/s, rad, rad/s.
        initial_std: (4,), start noise in m, m/s, rad, rad/s.
        initial_mean: (4,), hanging at rest in the middle.
        parameters: Physical constants.
    """

    cost: Cost
    noise_std: FloatArray
    initial_std: FloatArray
    initial_mean: FloatArray = field(default_factory=lambda: np.array([0.0, 0.0, np.pi, 0.0]))
    parameters: CartPoleParameters = DEFAULT_PARAMETERS

    @classmethod
    def create(
        cls,
        cost: str = "angle",
        cost_width: float = 0.5,
        noise_std: StdLike | None = None,
        noise_scale: float | None = None,
        initial_std: StdLike = 0.1,
    ) -> "CartPoleTask":
        """Check the options that the environments' constructors share, and build the task.

        Raises:
            ValueError: An option is out of range, or both noise options are given.
        """
        return cls(
            cost=make_cost(cost, cost_width),
            noise_std=_noise_std(noise_std, noise_scale),
            initial_std=_four_stds("initial_std", initial_std),
        )

    def observe(self, state: FloatArray, normals: FloatArray) -> npt.NDArray[np.float32]:
        """Measure states (..., 4) with the noise of standard normals (..., 4); returns (..., 4) float32."""
        return (state + self.noise_std * normals).astype(np.float32)

    def start(self, normals: FloatArray) -> FloatArray:
        """Start states (..., 4) of standard normals (..., 4)."""
        return self.initial_mean + self.initial_std * normals

    def force(self, action: Any, shape: tuple[int, ...]) -> FloatArray:
        """Clip an action to [-1, 1] and turn it into a force.

        Args:
            action: `shape`, without unit.
            shape: (1,) for a single environment, (n, 1) for n.

        Returns:
            Force [N], without the last axis of `shape`.

        Raises:
            ValueError: The action has another shape or is not finite.
        """
        array = np.asarray(action, dtype=np.float64)
        if array.shape != shape:
            raise ValueError(f"action must have shape {shape}, got shape {array.shape}.")
        if not np.isfinite(array).all():
            where = (
                ""
                if len(shape) == 1
                else f" in sub-environments {np.flatnonzero(~np.isfinite(array)).tolist()}"
            )
            raise ValueError(f"action must be finite, got {array[~np.isfinite(array)].tolist()}{where}.")
        return self.parameters.max_force * np.clip(array[..., 0], -1.0, 1.0)

    def dynamics(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """The true next state, without noise; differentiable.

        Args:
            state: (..., 4), in m, m/s, rad, rad/s.
            action: (..., 1), in units of 10 N, clipped to [-1, 1].
        """
        return step(state, self.parameters.max_force * action[..., 0].clamp(-1.0, 1.0), self.parameters)


def check_render_mode(render_mode: str | None, allowed: Iterable[str]) -> str | None:
    """Return the render mode, or raise a ValueError that names the allowed ones."""
    if render_mode is not None and render_mode not in allowed:
        raise ValueError(f"render_mode must be None or one of {list(allowed)}, got {render_mode!r}.")
    return render_mode


def state_option(
    options: Mapping[str, Any] | None, shapes: Sequence[tuple[int, ...]], allowed: Sequence[str] = ("state",)
) -> FloatArray | None:
    """Read the option "state" of `reset`.

    Args:
        options: The options of `reset`.
        shapes: Allowed shapes of the state.
        allowed: Names of all options that the environment knows.

    Returns:
        A new float64 array of one of the shapes, in m, m/s, rad, rad/s; None where the option is not given.

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
        raise ValueError(
            f"options['state'] must have shape {' or '.join(map(str, shapes))}"
            f" (x, x_dot, theta, theta_dot), got shape {state.shape}."
        )
    if not np.isfinite(state).all():
        raise ValueError(f"options['state'] must be finite, got {state.tolist()}.")
    return state


def _noise_std(noise_std: StdLike | None, noise_scale: float | None) -> FloatArray:
    if noise_scale is None:
        return _four_stds("noise_std", DEFAULT_NOISE_STD if noise_std is None else noise_std)
    if noise_std is not None:
        raise ValueError(
            f"noise_std and noise_scale exclude each other, got noise_std={noise_std!r} and"
            f" noise_scale={noise_scale!r}: give one of them."
        )
    if not np.isfinite(noise_scale) or noise_scale < 0:
        raise ValueError(f"noise_scale must be finite and >= 0, got {noise_scale!r}.")
    return noise_scale * PIPPS_NOISE_STD


def _four_stds(name: str, value: StdLike) -> FloatArray:
    stds = np.array(value, dtype=np.float64)
    if stds.shape not in ((), (4,)):
        raise ValueError(f"{name} must be one number or 4 (m, m/s, rad, rad/s), got shape {stds.shape}.")
    if not np.isfinite(stds).all() or (stds < 0).any():
        raise ValueError(f"{name} must be finite and >= 0, got {value!r}.")
    return np.broadcast_to(stds, (4,)).copy()
