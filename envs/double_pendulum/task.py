"""Settings of the pendubot and the acrobot."""

from dataclasses import dataclass
from typing import ClassVar, TypedDict

import numpy as np

from envs.double_pendulum.physics import step_components
from envs.shared.arrays import Array, Component
from envs.shared.links import LinksTipCost, TwoLinks, links_energy, two_numbers
from envs.shared.task import StdLike, SwingUpTask, check_stds

LABELS = ("theta1 [rad]", "theta1_dot [rad/s]", "theta2 [rad]", "theta2_dot [rad/s]")
DEFAULT_NOISE_STD = 0.01
DEFAULT_INITIAL_STD = (0.01, 0.1, 0.01, 0.1)


class DoublePendulumOptions(TypedDict, total=False):
    """Constructor options that the environments share; PendubotSwingUpEnv explains them."""

    cost_width: float
    friction: tuple[float, float]
    max_torque: float
    noise_std: StdLike
    initial_std: StdLike


@dataclass(frozen=True, eq=False)
class DoublePendulumTask(SwingUpTask):
    """Settings of a swing-up of two rods, checked.

    Attributes:
        links: The rods.
        max_torque: Torque of a full action [N m].
        motor: Which joint has the motor: 0 the inner one (pendubot), 1 the one between the rods (acrobot).
    """

    links: TwoLinks
    max_torque: float
    motor: int

    labels: ClassVar[tuple[str, ...]] = LABELS
    angle_dims: ClassVar[tuple[int, ...]] = (0, 2)
    velocity_dims: ClassVar[tuple[tuple[int, int], ...]] = ((0, 1), (2, 3))
    success_steps: ClassVar[int] = 20

    @classmethod
    def create(
        cls,
        motor: int,
        cost_width: float = 0.25,
        friction: tuple[float, float] = (0.0, 0.0),
        max_torque: float = 3.5,
        noise_std: StdLike = DEFAULT_NOISE_STD,
        initial_std: StdLike = DEFAULT_INITIAL_STD,
    ) -> "DoublePendulumTask":
        """Check the options that the environments' constructors share, and build the task.

        Raises:
            ValueError: An option is out of range.
        """
        if not np.isfinite(max_torque) or max_torque <= 0:
            raise ValueError(f"max_torque must be finite and > 0, got {max_torque!r}.")
        links = TwoLinks(friction=two_numbers("friction", friction))
        return cls(
            cost=LinksTipCost(links, cost_width, (0, 2)),
            noise_std=check_stds("noise_std", noise_std, LABELS),
            initial_std=check_stds("initial_std", initial_std, LABELS),
            initial_mean=np.array([np.pi, 0.0, np.pi, 0.0]),
            links=links,
            max_torque=float(max_torque),
            motor=motor,
        )

    @property
    def time_step(self) -> float:
        """Duration of a step [s]."""
        return self.links.time_step

    @property
    def full_force(self) -> tuple[float, ...]:
        """(1,), torque of a full action [N m]."""
        return (self.max_torque,)

    @property
    def success_distance(self) -> float:
        """A fifth of the reach [m]."""
        return 0.2 * self.links.reach

    def advance(
        self, components: tuple[Component, ...], forces: tuple[Component, ...]
    ) -> tuple[Component, ...]:
        """Advance theta1, theta1_dot, theta2, theta2_dot by one step under a constant torque."""
        torques = (forces[0], 0.0) if self.motor == 0 else (0.0, forces[0])
        return step_components(components, torques, self.links)

    def tip_distance(self, state: Array) -> Array:
        """Return the distance of the second rod's tip from its target [m], (...), of states (..., 4)."""
        return self.cost.distance(state)  # type: ignore[attr-defined, no-any-return]

    def energy(self, state: Array) -> Array:
        """Return the mechanical energy [J], (...), of states (..., 4)."""
        return links_energy(self.links, (state[..., 0], state[..., 2]), (state[..., 1], state[..., 3]))
