"""CartPoleSwingUp-v0: the cart-pole swing-up of PILCO and PIPPS as a Gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.cartpole_cost import tip_distance
from envs.cartpole_noise import NORMAL_ROWS
from envs.cartpole_physics import FloatArray, step_components
from envs.cartpole_task import (
    ANGLE_DIMS,
    OBSERVATION_LABELS,
    SUCCESS_DISTANCE,
    SUCCESS_STEPS,
    VELOCITY_DIMS,
    CartPoleTask,
    StdLike,
    check_render_mode,
    state_option,
)
from envs.rendering import CartPoleRenderer

Observation = npt.NDArray[np.float32]


class CartPoleSwingUpEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
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
    torch.

    ## References

    - Deisenroth and Rasmussen, "PILCO: A Model-Based and Data-Efficient Approach to Policy Search", ICML
      2011.
    - Parmas, Rasmussen, Peters and Doya, "PIPPS: Flexible Model-Based Policy Search Robust to the Curse of
      Chaos", ICML 2018.

    ## Version History

    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        cost: str = "angle",
        cost_width: float = 0.5,
        noise_std: StdLike | None = None,
        noise_scale: float | None = None,
        initial_std: StdLike = 0.1,
        render_mode: str | None = None,
    ) -> None:
        self.task = CartPoleTask.create(cost, cost_width, noise_std, noise_scale, initial_std)
        self.render_mode = check_render_mode(render_mode, self.metadata["render_modes"])
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.cost_name = cost
        self.cost = self.task.cost
        self.dynamics = self.task.dynamics
        self.angle_dims = ANGLE_DIMS
        self.velocity_dims = dict(VELOCITY_DIMS)
        self.observation_labels = OBSERVATION_LABELS
        self.initial_mean = self.task.initial_mean
        self.initial_std = self.task.initial_std
        self._state: tuple[float, float, float, float] | None = None
        self._force = 0.0
        self._steps = 0
        self._steps_on_target = 0
        self._normals = np.zeros((0, 4))
        self._next_normal = 0
        self._renderer: CartPoleRenderer | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Restarts the random numbers.
            options: `{"state": (4,)}` sets the true state [m, m/s, rad, rad/s].

        Returns:
            Observation (4,) and info.

        Raises:
            ValueError: An option is unknown, or the state is not 4 finite numbers.
        """
        given = state_option(options, shapes=[(4,)])
        super().reset(seed=seed)
        self._next_normal = len(self._normals)
        start = self.task.start(self._draw())
        self._set_state(start if given is None else given)
        self._force, self._steps, self._steps_on_target = 0.0, 0, 0
        observation, info, _ = self._outcome()
        return observation, info

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold a force for 0.1 s.

        Args:
            action: (1,), in units of 10 N, clipped to [-1, 1].

        Returns:
            Observation (4,), reward, terminated (always False), truncated (always False: the time limit is a
            wrapper), and info.

        Raises:
            ValueError: The action has another shape or is not finite.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset before step.")
        self._force = float(self.task.force(action, (1,)))
        self._state = step_components(self._state, self._force, self.task.parameters)
        self._steps += 1
        observation, info, reward = self._outcome()
        return observation, reward, False, False, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Draw the true state; returns an image (400, 600, 3) in mode "rgb_array", otherwise None."""
        if self.render_mode is None:
            gymnasium.logger.warn('render() needs a render mode: pass render_mode="rgb_array".')
            return None
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset before render.")
        if self._renderer is None:
            self._renderer = CartPoleRenderer(
                self.render_mode, self.metadata["render_fps"], self.task.parameters
            )
        return self._renderer.render(self._state, self._force, self._steps * self.task.parameters.time_step)

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _set_state(self, state: FloatArray) -> None:
        x, x_dot, theta, theta_dot = state.tolist()
        self._state = (x, x_dot, theta, theta_dot)

    def _outcome(self) -> tuple[Observation, dict[str, Any], float]:
        """Observation (4,), info and reward of the state just reached."""
        state = np.array(self._state)
        distance = float(tip_distance(state, self.task.parameters.pole_length))
        counts = distance <= SUCCESS_DISTANCE and self._steps > 0
        self._steps_on_target = self._steps_on_target + 1 if counts else 0
        observation = self.task.observe(state, self._draw())
        info = {
            "state": state,
            "tip_distance": distance,
            "is_success": self._steps_on_target >= SUCCESS_STEPS,
        }
        if self.render_mode == "human":
            self.render()
        return observation, info, 1.0 - float(self.cost(state))

    def _draw(self) -> FloatArray:
        """Next 4 standard normals of a block, drawn together so that a vector environment can do so cheaply.

        Every `reset` starts a new block: nothing but `np_random` carries over from one episode to the next.
        """
        if self._next_normal >= len(self._normals):
            self._normals = self.np_random.standard_normal((NORMAL_ROWS, 4))
            self._next_normal = 0
        row: FloatArray = self._normals[self._next_normal]
        self._next_normal += 1
        return row
