"""The cart-pole swing-up as a Gymnasium environment, single and as a batch."""

from typing import Unpack

from envs.cartpole.drawing import CartPoleRenderer
from envs.cartpole.task import CartPoleTask, TaskOptions
from envs.shared.single import SwingUpEnv
from envs.shared.task import StdLike
from envs.shared.vector import SwingUpVectorEnv


class CartPoleSwingUpEnv(SwingUpEnv):
    """Swing a hanging pole up by pushing the cart, and balance it over the middle of the track.

    ## Description

    A cart of 0.5 kg runs on an endless straight track with a friction of 0.1 N s/m. It carries a uniform rod
    of 0.5 kg and 0.5 m on a free hinge, which hangs down at first (g = 9.82 m/s^2). The force is held over
    steps of 0.1 s, which are integrated in float64 by the Runge-Kutta method (RK4) with 10 substeps.

    The tip of the pole is at (x + l sin(theta), l cos(theta)), its target at (0, l).

    ## Action Space

    `Box(-1, 1, (1,), float32)`; actions outside are clipped.

    | Num | Action               | Min | Max | Unit |
    |-----|----------------------|-----|-----|------|
    | 0   | force on the cart    | -1  | 1   | 10 N |

    ## Observation Space

    `Box(-inf, inf, (4,), float32)`: the state with measurement noise, in the order of Gymnasium's CartPole.

    | Num | Observation                                                               | Unit  |
    |-----|---------------------------------------------------------------------------|-------|
    | 0   | cart position x                                                           | m     |
    | 1   | cart velocity                                                             | m/s   |
    | 2   | pole angle theta: 0 upright, positive towards +x, pi hanging, not wrapped | rad   |
    | 3   | pole angular velocity                                                     | rad/s |

    ## Rewards

    1 - cost of the true state after the step, in [0, 1]. `cost="angle"`: 1 - exp(-(x^2 + theta^2) / 2), in m
    and rad. `cost="tip"`: 1 - exp(-d^2 / (2 w^2)), d the distance from the tip to its target and w the
    `cost_width`.

    ## Starting State

    Normal around (0, 0, pi, 0) with a standard deviation of 0.1 (m, m/s, rad, rad/s) each.
    `reset(options={"state": (x, x_dot, theta, theta_dot)})` sets the true state instead.

    ## Episode End

    Never a termination. `gymnasium.make` truncates the episode after 30 steps (3 s), or `max_episode_steps`.

    ## Arguments

    | Argument      | Default   | Meaning                                                                    |
    |---------------|-----------|----------------------------------------------------------------------------|
    | `cost`        | `"angle"` | `"angle"` or `"tip"`                                                       |
    | `cost_width`  | 0.5       | width of the tip cost [m]: PILCO 0.25, Deep PILCO 0.5                      |
    | `noise_std`   | `None`    | std of measurement noise, one or 4 [m, m/s, rad, rad/s]; `None` means 0.01 |
    | `noise_scale` | `None`    | PIPPS's k instead: std k * (0.01 m, 0.1 m/s, 1 deg, 10 deg/s)              |
    | `initial_std` | 0.1       | std of the starting state, one number or 4 [m, m/s, rad, rad/s]            |
    | `render_mode` | `None`    | `"human"` or `"rgb_array"`                                                 |

    A ValueError says which option is wrong and what is allowed.

    ## Info

    Of `reset` and of every `step`: `state`, the true state (4,) float64; `tip_distance` [m] of the true tip
    from its target; `is_success`, whether the tip was within 0.2 m of the target in each of the last 10
    steps. At the last step this is the success of the episode.

    ## Attributes

    For agents that plan with a model, on `env.unwrapped`: `cost(state (..., 4), action (..., 1)) -> (...)`,
    differentiable in torch; `angle_dims`; `velocity_dims`, which velocity belongs to which position;
    `initial_mean` and `initial_std`, both (4,). For figures and studies: `observation_labels`, (4,) names
    with units; `dynamics(state (..., 4), action (..., 1))`, the true next state (..., 4), differentiable in
    torch; `energy(state) -> (...)` [J]; `dt`, the duration of a step [s].

    ## References

    - Deisenroth and Rasmussen, "PILCO: A Model-Based and Data-Efficient Approach to Policy Search", ICML
      2011.
    - Parmas, Rasmussen, Peters and Doya, "PIPPS: Flexible Model-Based Policy Search Robust to the Curse of
      Chaos", ICML 2018.

    ## Version History

    - v0: first version.
    """

    task: CartPoleTask

    def __init__(
        self,
        cost: str = "angle",
        cost_width: float = 0.5,
        noise_std: StdLike | None = None,
        noise_scale: float | None = None,
        initial_std: StdLike = 0.1,
        render_mode: str | None = None,
    ) -> None:
        task = CartPoleTask.create(cost, cost_width, noise_std, noise_scale, initial_std)
        super().__init__(task, render_mode)
        self.cost_name = cost

    def make_renderer(self) -> CartPoleRenderer:
        """Make what draws the cart-pole."""
        assert self.render_mode is not None
        return CartPoleRenderer(self.render_mode, self.metadata["render_fps"], self.task.parameters)


class CartPoleSwingUpVectorEnv(SwingUpVectorEnv):
    """n independent `CartPoleSwingUpEnv`s that move together; that class describes the task and its options.

    Args:
        num_envs: n.
        max_episode_steps: Steps after which an episode is truncated.
        render_mode: None or "rgb_array".
        **options: `cost`, `cost_width`, `noise_std`, `noise_scale`, `initial_std` of the single environment.

    Raises:
        ValueError: An option is out of range.
    """

    task: CartPoleTask

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 30,
        render_mode: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        super().__init__(CartPoleTask.create(**options), num_envs, max_episode_steps, render_mode)
        self.cost_name = options.get("cost", "angle")

    def make_renderer(self) -> CartPoleRenderer:
        """Make what draws the cart-pole."""
        assert self.render_mode is not None
        return CartPoleRenderer(self.render_mode, self.metadata["render_fps"], self.task.parameters)
