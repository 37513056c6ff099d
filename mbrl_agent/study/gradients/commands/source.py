"""What all commands that look at one model have in common: which model, which environment, where files go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mbrl_agent.options import refused
from mbrl_agent.options.validation import require_count, require_seed
from mbrl_agent.run.commands.command_line import env_values


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """The model that is looked at, and where the files go."""

    run: Path | None = None
    """Run whose learned model and policy are looked at."""
    untrained: bool = False
    """Look at the true dynamics as the model, with random policies, instead of at a run."""
    trial: int | None = None
    """Of a run: as it was after this trial; none takes the last."""
    env: str | None = None
    """Gymnasium id of the environment; none takes the run's, or CartPoleSwingUp-v0."""
    env_options: tuple[str, ...] = ()
    """What the environment's constructor takes."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """CPU threads."""
    out: Path | None = None
    """Directory of the files; none takes figures/ in the run, or study_untrained."""
    plugins: tuple[str, ...] = ()
    """Module whose strategies, policies and estimators can be named, also of this directory."""

    def __post_init__(self) -> None:
        if self.untrained == (self.run is not None):
            raise ValueError("one of --run DIR and --untrained must be given, and not both")
        if self.trial is not None and self.run is None:
            raise refused("trial", "belongs to a run: give --run")
        require_seed("seed", self.seed)
        require_count("threads", self.threads)

    @property
    def environment_options(self) -> dict[str, str]:
        """The environment's options by name."""
        return env_values(self.env_options)

    @property
    def directory(self) -> Path:
        """Where the files go."""
        return self.out or (self.run / "figures" if self.run else Path("study_untrained"))
