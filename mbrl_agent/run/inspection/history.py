"""How well the models of a run predicted what came after them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.agent.replay import Episode
from mbrl_agent.randomness import derive_generator
from mbrl_agent.run.inspection.prediction import PredictionErrors, prediction_errors

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorHistory:
    """Errors of the models of N trials on the episodes collected after each; root mean squares.

    Attributes:
        trials: (N), after which the model was saved.
        episodes: (N), how many came later.
        steps: (S), steps ahead.
        error: (N, S, D), between the mean of the particles and what was observed; NaN where no later episode
            is so long.
        spread: (N, S, D), standard deviation that was predicted.
    """

    trials: NDArray[np.int64]
    episodes: NDArray[np.int64]
    steps: NDArray[np.int64]
    error: FloatArray
    spread: FloatArray


def unseen_episodes(agent: ParticlePILCO, episodes: Sequence[Episode]) -> list[Episode]:
    """Return those of a run's episodes that were collected after an agent of the run was saved."""
    return list(episodes[len(agent.replay.episodes) :])


def agent_errors(agent: ParticlePILCO, episodes: Sequence[Episode], steps: int) -> PredictionErrors:
    """Return the errors of an agent's model; see `prediction_errors`. Equal agents give equal numbers."""
    assert agent.seed is not None
    generator = derive_generator(agent.seed, "inspection", agent.trials, agent.device)
    features = agent.policy.features
    return prediction_errors(agent.dynamics, features, episodes, steps, agent.search.num_particles, generator)


def error_history(
    agents: Iterable[ParticlePILCO], episodes: Sequence[Episode], steps: int
) -> ErrorHistory | None:
    """Judge the model of each agent by the episodes that came after it, 1 and `steps` steps ahead.

    Args:
        agents: Of one run, with fitted models; those after which nothing came are left out.
        episodes: All of the run.
        steps: It is cut to the longest of the episodes.

    Returns:
        None if nothing came after any of them.
    """
    steps = min(steps, max((len(episode) for episode in episodes), default=0))
    ahead = np.unique([1, steps])
    trials, counts, rows = [], [], []
    for agent in agents:
        unseen = [episode for episode in unseen_episodes(agent, episodes) if len(episode)]
        if not unseen:
            continue
        found = agent_errors(agent, unseen, steps)
        row = np.full((2, len(ahead), agent.state_dims), np.nan)
        reached = ahead <= len(found.starts)
        for index, values in enumerate((found.error, found.spread)):
            row[index, reached] = values[ahead[reached] - 1]
        trials.append(agent.trials)
        counts.append(len(unseen))
        rows.append(row)
    if not rows:
        return None
    error, spread = np.stack(rows, axis=1)
    return ErrorHistory(np.array(trials), np.array(counts), ahead, error, spread)
