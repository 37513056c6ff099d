"""The pendubot and the acrobot as Gymnasium environments, single and as a batch."""

from typing import Unpack

from envs.double_pendulum.task import (
    DEFAULT_INITIAL_STD,
    DEFAULT_NOISE_STD,
    DoublePendulumOptions,
    DoublePendulumTask,
)
from envs.shared.links_drawing import LinksRenderer
from envs.shared.single import SwingUpEnv
from envs.shared.task import StdLike
from envs.shared.vector import SwingUpVectorEnv


class PendubotSwingUpEnv(SwingUpEnv):
    """Swing two hanging rods up by a motor at the hinge of the first one, and balance them.

    ## Description

    Two uniform rods of 0.5 kg and 0.5 m: one on a fixed hinge, the other on the tip of the first (g = 9.82
    m/s^2). The torque is held over steps of 0.05 s, integrated in float64 by RK4 with 10 substeps. The target
    of the second rod's tip is (0, 1 m).

    ## Action Space

    `Box(-1, 1, (1,), float32)`: the torque between ground and first rod, in units of `max_torque`, 3.5 N
    m. Values outside [-1, 1] are clipped.

    ## Observation Space

    `Box(-inf, inf, (4,), float32)`: the state with measurement noise.

    | index | quantity |
    |---|---|
    | 0 | angle of the first rod [rad] |
    | 1 | its rate [rad/s] |
    | 2 | angle of the second rod [rad] |
    | 3 | its rate [rad/s] |

    Angles are absolute: 0 is upright, positive leans towards +x, not wrapped; hanging is pi.

    ## Rewards

    1 - cost of the true state after the step, cost = 1 - exp(-d^2 / (2 w^2)) with d the distance of the
    second rod's tip from its target and w = `cost_width`. The action costs nothing.

    ## Starting State

    Normal around hanging at rest, std `initial_std` (0.01 rad in the angles, 0.1 rad/s in the rates).

    ## Episode End

    Never terminated; truncated after 60 steps (3 s).

    ## Arguments

    - `cost_width`: w [m], 0.25 by default.
    - `friction`: of the two joints [N m s/rad], none by default.
    - `max_torque`: torque of a full action [N m].
    - `noise_std`: measurement noise, one number or 4, 0.01 by default.
    - `initial_std`: start noise, one number or 4.
    - `render_mode`: None, "human" or "rgb_array".

    ## Info

    Of `reset` and of every `step`: `state`, the true state (4,) float64; `tip_distance` [m]; `is_success`,
    whether the tip was within a fifth of the reach (0.2 m) in each of the last 20 steps, one second.

    ## Attributes

    For agents that plan with a model, on `env.unwrapped`: `cost(state (..., 4), action (..., 1)) -> (...)`,
    differentiable in torch; `angle_dims`, `velocity_dims`, `initial_mean`, `initial_std`. For figures and
    studies: `observation_labels`; `dynamics(state, action)`, the true next state, differentiable in
    torch; `energy(state) -> (...)` [J]; `dt`, the duration of a step [s].

    ## References

    - Deisenroth and Rasmussen, "PILCO: A Model-Based and Data-Efficient Approach to Policy Search", ICML
      2011, whose toolbox has this plant.

    ## Version History

    - v0: first version.
    """

    task: DoublePendulumTask

    def __init__(
        self,
        cost_width: float = 0.25,
        friction: tuple[float, float] = (0.0, 0.0),
        max_torque: float = 3.5,
        noise_std: StdLike = DEFAULT_NOISE_STD,
        initial_std: StdLike = DEFAULT_INITIAL_STD,
        render_mode: str | None = None,
    ) -> None:
        task = DoublePendulumTask.create(0, cost_width, friction, max_torque, noise_std, initial_std)
        super().__init__(task, render_mode)

    def make_renderer(self) -> LinksRenderer:
        """Make what draws the plant."""
        return make_renderer(self)


class PendubotSwingUpVectorEnv(SwingUpVectorEnv):
    """n independent `PendubotSwingUpEnv`s that move together; that class describes the task and its options.

    Args:
        num_envs: n.
        max_episode_steps: Steps after which an episode is truncated.
        render_mode: None or "rgb_array".
        **options: Those of the single environment.

    Raises:
        ValueError: An option is out of range.
    """

    task: DoublePendulumTask

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 60,
        render_mode: str | None = None,
        **options: Unpack[DoublePendulumOptions],
    ) -> None:
        task = DoublePendulumTask.create(0, **options)
        super().__init__(task, num_envs, max_episode_steps, render_mode)

    def make_renderer(self) -> LinksRenderer:
        """Make what draws the plant."""
        return make_renderer(self)


class AcrobotSwingUpEnv(SwingUpEnv):
    """Swing two hanging rods up by a motor between them, and balance them.

    ## Description

    Two uniform rods of 0.5 kg and 0.5 m: one on a fixed hinge, the other on the tip of the first (g = 9.82
    m/s^2). The torque is held over steps of 0.05 s, integrated in float64 by RK4 with 10 substeps. The target
    of the second rod's tip is (0, 1 m).

    ## Action Space

    `Box(-1, 1, (1,), float32)`: the torque between the rods, in units of `max_torque`, 3.5 N m; it pushes
    the second rod, and back the first. Values outside [-1, 1] are clipped.

    ## Observation Space

    `Box(-inf, inf, (4,), float32)`: the state with measurement noise.

    | index | quantity |
    |---|---|
    | 0 | angle of the first rod [rad] |
    | 1 | its rate [rad/s] |
    | 2 | angle of the second rod [rad] |
    | 3 | its rate [rad/s] |

    Angles are absolute: 0 is upright, positive leans towards +x, not wrapped; hanging is pi.

    ## Rewards

    1 - cost of the true state after the step, cost = 1 - exp(-d^2 / (2 w^2)) with d the distance of the
    second rod's tip from its target and w = `cost_width`. The action costs nothing.

    ## Starting State

    Normal around hanging at rest, std `initial_std` (0.01 rad in the angles, 0.1 rad/s in the rates).

    ## Episode End

    Never terminated; truncated after 60 steps (3 s).

    ## Arguments

    - `cost_width`: w [m], 0.5 by default.
    - `friction`: of the two joints [N m s/rad], none by default.
    - `max_torque`: torque of a full action [N m].
    - `noise_std`: measurement noise, one number or 4, 0.01 by default.
    - `initial_std`: start noise, one number or 4.
    - `render_mode`: None, "human" or "rgb_array".

    ## Info

    Of `reset` and of every `step`: `state`, the true state (4,) float64; `tip_distance` [m]; `is_success`,
    whether the tip was within a fifth of the reach (0.2 m) in each of the last 20 steps, one second.

    ## Attributes

    For agents that plan with a model, on `env.unwrapped`: `cost(state (..., 4), action (..., 1)) -> (...)`,
    differentiable in torch; `angle_dims`, `velocity_dims`, `initial_mean`, `initial_std`. For figures and
    studies: `observation_labels`; `dynamics(state, action)`, the true next state, differentiable in
    torch; `energy(state) -> (...)` [J]; `dt`, the duration of a step [s].

    ## References

    - Spong, "The Swing Up Control Problem for the Acrobot", IEEE Control Systems 15(1), 1995. The rods are
      those of the pendubot; the torque limit is this package's own choice.

    ## Version History

    - v0: first version.
    """

    task: DoublePendulumTask

    def __init__(
        self,
        cost_width: float = 0.5,
        friction: tuple[float, float] = (0.0, 0.0),
        max_torque: float = 3.5,
        noise_std: StdLike = DEFAULT_NOISE_STD,
        initial_std: StdLike = DEFAULT_INITIAL_STD,
        render_mode: str | None = None,
    ) -> None:
        task = DoublePendulumTask.create(1, cost_width, friction, max_torque, noise_std, initial_std)
        super().__init__(task, render_mode)

    def make_renderer(self) -> LinksRenderer:
        """Make what draws the plant."""
        return make_renderer(self)


class AcrobotSwingUpVectorEnv(SwingUpVectorEnv):
    """n independent `AcrobotSwingUpEnv`s that move together; that class describes the task and its options.

    Args:
        num_envs: n.
        max_episode_steps: Steps after which an episode is truncated.
        render_mode: None or "rgb_array".
        **options: Those of the single environment.

    Raises:
        ValueError: An option is out of range.
    """

    task: DoublePendulumTask

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 60,
        render_mode: str | None = None,
        **options: Unpack[DoublePendulumOptions],
    ) -> None:
        options.setdefault("cost_width", 0.5)
        task = DoublePendulumTask.create(1, **options)
        super().__init__(task, num_envs, max_episode_steps, render_mode)

    def make_renderer(self) -> LinksRenderer:
        """Make what draws the plant."""
        return make_renderer(self)


def make_renderer(env: SwingUpEnv | SwingUpVectorEnv) -> LinksRenderer:
    """Make what draws the plant of an environment."""
    assert env.render_mode is not None
    assert isinstance(env.task, DoublePendulumTask)
    task = env.task
    return LinksRenderer(
        env.render_mode, env.metadata["render_fps"], task.links, task.max_torque, False, task.motor
    )
