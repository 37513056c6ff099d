"""The cart-double-pendulum as a Gymnasium environment, single and as a batch."""

from typing import Unpack

from envs.cart_double_pendulum.task import (
    DEFAULT_INITIAL_STD,
    DEFAULT_NOISE_STD,
    CartDoublePendulumOptions,
    CartDoublePendulumTask,
)
from envs.shared.links_drawing import LinksRenderer
from envs.shared.single import SwingUpEnv
from envs.shared.task import StdLike
from envs.shared.vector import SwingUpVectorEnv


class CartDoublePendulumSwingUpEnv(SwingUpEnv):
    """Swing two hanging rods up by pushing the cart that carries them, and balance them.

    ## Description

    A cart of 0.5 kg runs on an endless straight track with a friction of 0.1 N s/m. It carries a uniform rod
    of 0.5 kg and 0.6 m on a free hinge, whose tip carries another such rod on a free hinge (g = 9.82 m/s^2).
    The force is held over steps of 0.05 s, integrated in float64 by RK4 with 10 substeps. The target of the
    second rod's tip is (0, 1.2 m).

    ## Action Space

    `Box(-1, 1, (1,), float32)`: a horizontal force, in units of 20 N. Values outside [-1, 1] are clipped.

    ## Observation Space

    `Box(-inf, inf, (6,), float32)`: the state with measurement noise.

    | index | quantity |
    |---|---|
    | 0 | place of the cart x [m] |
    | 1 | its velocity [m/s] |
    | 2 | angle of the first rod [rad] |
    | 3 | its rate [rad/s] |
    | 4 | angle of the second rod [rad] |
    | 5 | its rate [rad/s] |

    Angles are absolute: 0 is upright, positive leans towards +x, not wrapped; hanging is pi.

    ## Rewards

    1 - cost of the true state after the step, cost = 1 - exp(-d^2 / (2 w^2)) with d the distance of the
    second rod's tip from its target and w = `cost_width`. The action costs nothing.

    ## Starting State

    Normal around hanging at rest, std `initial_std` (0.1 in place, velocity and rates, 0.01 rad in the
    angles).

    ## Episode End

    Never terminated; truncated after 100 steps (5 s).

    ## Arguments

    - `cost_width`: w [m], 0.5 by default.
    - `friction`: of the two joints [N m s/rad], none by default.
    - `noise_std`: measurement noise, one number or 6, 0.01 by default.
    - `initial_std`: start noise, one number or 6.
    - `render_mode`: None, "human" or "rgb_array".

    ## Info

    Of `reset` and of every `step`: `state`, the true state (6,) float64; `tip_distance` [m]; `is_success`,
    whether the tip was within a fifth of the reach (0.24 m) in each of the last 20 steps, one second.

    ## Attributes

    For agents that plan with a model, on `env.unwrapped`: `cost(state (..., 6), action (..., 1)) -> (...)`,
    differentiable in torch; `angle_dims`, `velocity_dims`, `initial_mean`, `initial_std`. For figures and
    studies: `observation_labels`; `dynamics(state, action)`, the true next state, differentiable in
    torch; `energy(state) -> (...)` [J]; `dt`, the duration of a step [s].

    ## References

    - Deisenroth and Rasmussen, "PILCO: A Model-Based and Data-Efficient Approach to Policy Search", ICML
      2011, whose toolbox has this plant.

    ## Version History

    - v0: first version.
    """

    task: CartDoublePendulumTask

    def __init__(
        self,
        cost_width: float = 0.5,
        friction: tuple[float, float] = (0.0, 0.0),
        noise_std: StdLike = DEFAULT_NOISE_STD,
        initial_std: StdLike = DEFAULT_INITIAL_STD,
        render_mode: str | None = None,
    ) -> None:
        task = CartDoublePendulumTask.create(cost_width, friction, noise_std, initial_std)
        super().__init__(task, render_mode)

    def make_renderer(self) -> LinksRenderer:
        """Make what draws the plant."""
        return make_renderer(self)


class CartDoublePendulumSwingUpVectorEnv(SwingUpVectorEnv):
    """n independent `CartDoublePendulumSwingUpEnv`s that move together; that class describes the options.

    Args:
        num_envs: n.
        max_episode_steps: Steps after which an episode is truncated.
        render_mode: None or "rgb_array".
        **options: Those of the single environment.

    Raises:
        ValueError: An option is out of range.
    """

    task: CartDoublePendulumTask

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 100,
        render_mode: str | None = None,
        **options: Unpack[CartDoublePendulumOptions],
    ) -> None:
        task = CartDoublePendulumTask.create(**options)
        super().__init__(task, num_envs, max_episode_steps, render_mode)

    def make_renderer(self) -> LinksRenderer:
        """Make what draws the plant."""
        return make_renderer(self)


def make_renderer(env: CartDoublePendulumSwingUpEnv | CartDoublePendulumSwingUpVectorEnv) -> LinksRenderer:
    """Make what draws the plant of an environment."""
    assert env.render_mode is not None
    plant = env.task.plant
    return LinksRenderer(env.render_mode, env.metadata["render_fps"], plant, plant.max_force, on_cart=True)
