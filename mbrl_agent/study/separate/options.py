"""What `study separate` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mbrl_agent.options.validation import (
    require_choice,
    require_count,
    require_not_negative,
    require_positive,
)
from mbrl_agent.search.policy_search import SearchOptions
from mbrl_agent.study.gradients.commands.scene import require_some
from mbrl_agent.study.gradients.commands.source import SourceOptions

Optimizer = Literal["adam", "sgd"]
Start = Literal["candidates", "fresh"]
ADAM: Optimizer = "adam"
SGD: Optimizer = "sgd"
CANDIDATES: Start = "candidates"
FRESH: Start = "fresh"
SEARCH = SearchOptions()
"""What a search does by default."""


@dataclass(frozen=True, kw_only=True)
class SeparateOptions(SourceOptions):
    """The arms, and how they are judged."""

    horizons: tuple[int, ...] = (30, 60, 100)
    """Predicted steps, which are the length of the real episodes, too."""
    widths: tuple[float, ...] = (0.25, 0.5)
    """Widths of the cost, the environment's option cost_width; 0 leaves the environment's cost as it is."""
    wider: float = 2.0
    """Times which the arm with the wider cost widens it."""
    optimizers: tuple[Optimizer, ...] = (ADAM, SGD)
    """adam clips the gradient and takes Adam, as the search does; sgd takes plain steps."""
    learning_rate: float = SEARCH.learning_rate
    """Adam's step size."""
    sgd_rate: float = 0.1
    """Step size of sgd."""
    steps: int = 30
    """Gradient steps of each arm."""
    start: Start = CANDIDATES
    """Policies from which all arms start: the run's candidates, or fresh ones."""
    policies: int = 4
    """How many of them, at most."""
    particles: int = SEARCH.num_particles
    """Particles of one gradient estimate."""
    episodes: int = 20
    """Real episodes that judge a policy."""
    wrap: bool = False
    """Fit angles on the turn of their circular mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "policies", "particles", "episodes"):
            require_count(name, getattr(self, name))
        for name in ("horizons", "widths", "optimizers"):
            require_some(name, getattr(self, name))
        for horizon in self.horizons:
            require_count("horizons", horizon)
        for width in self.widths:
            require_not_negative("widths", width)
        for name in ("learning_rate", "sgd_rate", "wider"):
            require_positive(name, getattr(self, name))
        for optimizer in self.optimizers:
            require_choice("optimizers", optimizer, (ADAM, SGD))
        require_choice("start", self.start, (CANDIDATES, FRESH))
