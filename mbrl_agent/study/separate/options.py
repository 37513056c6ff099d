"""What `study separate` is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mbrl_agent.options.validation import (
    require_choice,
    require_count,
    require_number,
    require_positive,
    require_seed,
)
from mbrl_agent.search.policy_search import SearchOptions

ADAM, SGD = "adam", "sgd"
CANDIDATES, FRESH = "candidates", "fresh"
SEARCH = SearchOptions()
"""What a search does by default."""


@dataclass(frozen=True)
class SeparateOptions:
    """The command's options.

    Attributes:
        run: A run's directory; None takes the true dynamics as the model, and random policies.
        trial: The run's model and candidates as they were after this trial; None for the last.
        env: Gymnasium id; None for the run's own, or the cart-pole.
        env_options: Of the environment.
        horizons: Predicted steps, which are the length of the real episodes, too.
        widths: Of the cost, the environment's option `cost_width`; 0 leaves the environment's cost as it is.
        wider: Times which the arm with the wider cost widens it.
        optimizers: "adam" clips the gradient and takes Adam, as the search does; "sgd" does neither.
        learning_rate: Adam's.
        sgd_rate: Step size of "sgd".
        steps: Gradient steps of each arm.
        start: Policies from which all arms start: the run's "candidates", or "fresh" ones.
        policies: How many of them.
        particles: Of one gradient estimate.
        episodes: Real episodes that judge a policy.
        wrap: Whether what is fitted takes angles on the turn of their circular mean.
        seed: Of everything random.
    """

    run: Path | None = None
    trial: int | None = None
    env: str | None = None
    env_options: Mapping[str, Any] = field(default_factory=dict)
    horizons: tuple[int, ...] = (30, 60, 100)
    widths: tuple[float, ...] = (0.25, 0.5)
    wider: float = 2.0
    optimizers: tuple[str, ...] = (ADAM, SGD)
    learning_rate: float = SEARCH.learning_rate
    sgd_rate: float = 0.1
    steps: int = 30
    start: str = CANDIDATES
    policies: int = 4
    particles: int = SEARCH.num_particles
    episodes: int = 20
    wrap: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "policies", "particles", "episodes"):
            require_count(name, getattr(self, name))
        for horizon in self.horizons:
            require_count("horizons", horizon)
        for width in self.widths:
            require_number("widths", width)
            if width < 0:
                raise ValueError(
                    f"widths must not be negative (0: the environment's own cost), got {width:g}"
                )
        for name in ("learning_rate", "sgd_rate", "wider"):
            require_positive(name, getattr(self, name))
        for optimizer in self.optimizers:
            require_choice("optimizers", optimizer, (ADAM, SGD))
        require_choice("start", self.start, (CANDIDATES, FRESH))
        require_seed("seed", self.seed)
        if self.trial is not None and self.run is None:
            raise ValueError("trial belongs to a run: give --run")
        for name in ("horizons", "widths", "optimizers"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: a value is given twice in {' '.join(map(str, values))}")
