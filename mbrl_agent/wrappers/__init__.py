"""Wrappers around environments whose state shall hold more than an observation does; they hand on the task.

    env = wrappers.History(gymnasium.make("Pendulum-v1"), length=2, observed=(0, 1))

What the environment offers of its task (cost, angles, starts, ...) is handed on as it has to be for the
longer observations, unless it depends on what is hidden.
"""

from mbrl_agent.wrappers.action_history import ActionHistory
from mbrl_agent.wrappers.history import History

__all__ = ["ActionHistory", "History"]
