"""Settings of the cart-pole swing-up."""

from dataclasses import dataclass
from typing import ClassVar, TypedDict

import numpy as np

from envs.cartpole.cost import make_cost, tip_distance
from envs.cartpole.physics import DEFAULT_PARAMETERS, CartPoleParameters, energy, step_components
from envs.shared.arrays import Array, Component, FloatArray
from envs.shared.task import StdLike, SwingUpTask, check_stds

SUCCESS_DISTANCE = 0.2
"""An episode succeeds when the tip stays within this distance of the target [m] ..."""
SUCCESS_STEPS = 10
"""... in each of this many last steps (one second)."""

DEFAULT_NOISE_STD = 0.01
PIPPS_NOISE_STD = np.array([0.01, 0.1, np.deg2rad(1.0), np.deg2rad(10.0)])
OBSERVATION_LABELS = ("x [m]", "x_dot [m/s]", "theta [rad]", "theta_dot [rad/s]")


class TaskOptions(TypedDict, total=False):
    """Constructor options that the environments share; CartPoleSwingUpEnv explains them."""

    cost: str
    cost_width: float
    noise_std: StdLike | None
    noise_scale: float | None
    initial_std: StdLike


@dataclass(frozen=True, eq=False)
class CartPoleTask(SwingUpTask):
    """Settings of the swing-up, checked.

    Attributes:
        parameters: Physical constants.
    """

    parameters: CartPoleParameters = DEFAULT_PARAMETERS

    labels: ClassVar[tuple[str, ...]] = OBSERVATION_LABELS
    angle_dims: ClassVar[tuple[int, ...]] = (2,)
    velocity_dims: ClassVar[tuple[tuple[int, int], ...]] = ((0, 1), (2, 3))
    success_steps: ClassVar[int] = SUCCESS_STEPS

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
            initial_std=check_stds("initial_std", initial_std, OBSERVATION_LABELS),
            initial_mean=np.array([0.0, 0.0, np.pi, 0.0]),
        )

    @property
    def time_step(self) -> float:
        """Duration of a step [s]."""
        return self.parameters.time_step

    @property
    def full_force(self) -> tuple[float, ...]:
        """(1,), force of a full action [N]."""
        return (self.parameters.max_force,)

    @property
    def success_distance(self) -> float:
        """Distance of the tip from the target within which it is on target [m]."""
        return SUCCESS_DISTANCE

    def advance(
        self, components: tuple[Component, ...], forces: tuple[Component, ...]
    ) -> tuple[Component, ...]:
        """Advance x, x_dot, theta, theta_dot by one step under a constant force, each (...)."""
        x, x_dot, theta, theta_dot = components
        return step_components((x, x_dot, theta, theta_dot), forces[0], self.parameters)

    def tip_distance(self, state: Array) -> Array:
        """Return the distance of the tip from its target [m], (...), of states (..., 4)."""
        return tip_distance(state, self.parameters.pole_length)

    def energy(self, state: Array) -> Array:
        """Return the mechanical energy [J], (...), of states (..., 4)."""
        return energy(state, self.parameters)


def _noise_std(noise_std: StdLike | None, noise_scale: float | None) -> FloatArray:
    if noise_scale is None:
        return check_stds(
            "noise_std", DEFAULT_NOISE_STD if noise_std is None else noise_std, OBSERVATION_LABELS
        )
    if noise_std is not None:
        raise ValueError(
            f"noise_std and noise_scale exclude each other, got noise_std={noise_std!r} and"
            f" noise_scale={noise_scale!r}: give one of them."
        )
    if not np.isfinite(noise_scale) or noise_scale < 0:
        raise ValueError(f"noise_scale must be finite and >= 0, got {noise_scale!r}.")
    return noise_scale * PIPPS_NOISE_STD
