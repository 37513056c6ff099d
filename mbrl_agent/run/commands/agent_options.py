"""The options that commands on a trained agent share: which agent, and which environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mbrl_agent.options import refused
from mbrl_agent.options.validation import require_count, require_seed
from mbrl_agent.run.commands.command_line import env_values
from mbrl_agent.run.environment import Environment
from mbrl_agent.run.open_agent import OpenedAgent, open_agent


@dataclass(frozen=True)
class AgentOptions:
    """Which agent a command looks at."""

    path: str = ""
    """Directory of a run, a checkpoint of one, or an agent file (agent.zip, best.zip, one of your own)."""
    trial: int | None = None
    """Of a run: the agent after this trial; none takes the last."""
    best: bool = False
    """Of a run: the agent of the best evaluation."""
    plugins: tuple[str, ...] = ()
    """Modules, also in this directory, that offer what the agent is made of; a run names them itself."""

    def __post_init__(self) -> None:
        if self.trial is not None:
            require_count("trial", self.trial)

    def open(self) -> OpenedAgent:
        """Read the agent; see `open_agent`."""
        return open_agent(self.path, self.trial, self.best)


@dataclass(frozen=True)
class ActingOptions(AgentOptions):
    """Which agent acts in which environment."""

    env: str | None = None
    """Gymnasium id of the environment; none takes that of the run."""
    env_options: tuple[str, ...] = ()
    """What the environment's constructor takes, to see how robust the policy is: --env.noise-scale 2."""
    max_episode_steps: int | None = None
    """Steps after which an episode is truncated; none takes the environment's limit."""
    seed: int = 0
    """Seed of the episodes; episode i starts from seed + i."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_seed("seed", self.seed)
        if self.max_episode_steps is not None:
            require_count("max_episode_steps", self.max_episode_steps)

    def environment(self, opened: OpenedAgent) -> Environment:
        """Find the environment; see `OpenedAgent.environment`."""
        return opened.environment(self.env, env_values(self.env_options), self.max_episode_steps)


def check_target(name: str, path: Path) -> None:
    """Raise ValueError if a file that is to be written cannot be one, before anything is computed.

    Args:
        name: Of the option that names it.
        path: The file.
    """
    if path.is_dir():
        raise refused(name, f"must be a file, {path} is a directory")
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise refused(name, f"must lie in a directory, {existing} is a file")
