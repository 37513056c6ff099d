"""What the dimensions of an agent's observations are called, where its environment is at hand."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from mbrl_agent.run.commands.agent_options import AgentOptions
from mbrl_agent.run.environment import make_env
from mbrl_agent.run.experiment import state_labels, step_duration
from mbrl_agent.run.messages import one_line
from mbrl_agent.run.open_agent import OpenedAgent


@dataclass(frozen=True)
class TaskNames:
    """Names and units.

    Attributes:
        labels: (D), each dimension of an observation, with its unit where the environment tells.
        time_step: Duration of a step [s], None where nobody tells.
    """

    labels: tuple[str, ...]
    time_step: float | None = None


@dataclass(frozen=True)
class NamedOptions(AgentOptions):
    """Which agent a command looks at, and which environment names the dimensions of its observations."""

    env: str | None = None
    """Gymnasium id of the environment that names the dimensions; none takes that of the run."""

    def names(self, opened: OpenedAgent) -> TaskNames:
        """Ask the environment; without one, dimensions have numbers.

        Raises:
            ValueError: The environment that the user named cannot be made, or is another one.
        """
        numbered = TaskNames(tuple(f"dimension {index}" for index in range(opened.agent.state_dims)))
        if self.env is None and opened.config is None:
            return numbered
        try:
            env = make_env(opened.environment(self.env))
        except ValueError as error:
            if self.env is not None:
                raise
            warnings.warn(f"dimensions have numbers instead of names: {one_line(error)}", stacklevel=2)
            return numbered
        try:
            return TaskNames(tuple(state_labels(env)), step_duration(env))
        finally:
            env.close()
