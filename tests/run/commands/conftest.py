"""Environments for the commands, and an agent that was saved outside of a run."""

from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from mbrl_agent import Ensemble, ParticlePILCO, SearchOptions
from tests.support.programs import Blind, Broken, Endless, Slope


@pytest.fixture(autouse=True, scope="session")
def _registered() -> Iterator[None]:
    limits = {Slope: 50, Blind: 50, Broken: 50, Endless: None}
    for cls, limit in limits.items():
        gymnasium.register(f"{cls.__name__}-v0", entry_point=cls, max_episode_steps=limit)
    yield
    for cls in limits:
        del gymnasium.registry[f"{cls.__name__}-v0"]


@pytest.fixture(scope="session")
def agent_file(tmp_path_factory: pytest.TempPathFactory, _registered: None) -> Path:
    """An agent whose cost is a function of the user's, which its file does not hold."""
    agent = ParticlePILCO(
        "rbf:4",
        "Slope-v0",
        cost=lambda state, action: state[..., 0] ** 2,
        search=SearchOptions(steps=2, num_particles=20, candidates=2),
        dynamics=Ensemble(hidden=(8,), fit_steps=5),
        gradient_probe=0,
        max_episode_steps=30,
        seed=0,
    )
    path = tmp_path_factory.mktemp("saved") / "mine.zip"
    agent.learn(12).save(path)
    return path
