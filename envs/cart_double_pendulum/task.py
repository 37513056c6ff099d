"""Settings of the cart-double-pendulum swing-up."""

from dataclasses import dataclass
from typing import ClassVar, TypedDict

import numpy as np

from envs.cart_double_pendulum.physics import CartWithLinks, energy, step_components
from envs.shared.arrays import Array, Component
from envs.shared.links import LinksTipCost, two_numbers
from envs.shared.task import StdLike, SwingUpTask, check_stds

LABELS = (
    "x [m]",
    "x_dot [m/s]",
    "theta1 [rad]",
    "theta1_dot [rad/s]",
    "theta2 [rad]",
    "theta2_dot [rad/s]",
)
DEFAULT_NOISE_STD = 0.01
DEFAULT_INITIAL_STD = (0.1, 0.1, 0.01, 0.1, 0.01, 0.1)


class CartDoublePendulumOptions(TypedDict, total=False):
    """Constructor options that the environments share; CartDoublePendulumSwingUpEnv explains them."""

    cost_width: float
    friction: tuple[float, float]
    noise_std: StdLike
    initial_std: StdLike


@dataclass(frozen=True, eq=False)
class CartDoublePendulumTask(SwingUpTask):
    """Settings of the swing-up, checked.

    Attributes:
        plant: Physical constants.
    """

    plant: CartWithLinks

    labels: ClassVar[tuple[str, ...]] = LABELS
    angle_dims: ClassVar[tuple[int, ...]] = (2, 4)
    velocity_dims: ClassVar[tuple[tuple[int, int], ...]] = ((0, 1), (2, 3), (4, 5))
    success_steps: ClassVar[int] = 20

    @classmethod
    def create(
        cls,
        cost_width: float = 0.5,
        friction: tuple[float, float] = (0.0, 0.0),
        noise_std: StdLike = DEFAULT_NOISE_STD,
        initial_std: StdLike = DEFAULT_INITIAL_STD,
    ) -> "CartDoublePendulumTask":
        """Check the options that the environments' constructors share, and build the task.

        Raises:
            ValueError: An option is out of range.
        """
        plant = CartWithLinks(friction=two_numbers("friction", friction))
        return cls(
            cost=LinksTipCost(plant, cost_width, (2, 4), base=0),
            noise_std=check_stds("noise_std", noise_std, LABELS),
            initial_std=check_stds("initial_std", initial_std, LABELS),
            initial_mean=np.array([0.0, 0.0, np.pi, 0.0, np.pi, 0.0]),
            plant=plant,
        )

    @property
    def time_step(self) -> float:
        """Duration of a step [s]."""
        return self.plant.time_step

    @property
    def full_force(self) -> tuple[float, ...]:
        """(1,), force of a full action [N]."""
        return (self.plant.max_force,)

    @property
    def success_distance(self) -> float:
        """A fifth of the reach [m]."""
        return 0.2 * self.plant.reach

    def advance(
        self, components: tuple[Component, ...], forces: tuple[Component, ...]
    ) -> tuple[Component, ...]:
        """Advance the six components by one step under a constant force."""
        return step_components(components, forces[0], self.plant)

    def tip_distance(self, state: Array) -> Array:
        """Return the distance of the second rod's tip from its target [m], (...), of states (..., 6)."""
        return self.cost.distance(state)  # type: ignore[attr-defined, no-any-return]

    def energy(self, state: Array) -> Array:
        """Return the mechanical energy [J], (...), of states (..., 6)."""
        return energy(state, self.plant)
