"""One short run that must learn: bring a mass to the origin, within three trials of 3.2 seconds each."""

import numpy as np
import pytest
import torch

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from tests.support.point_mass import STEPS, PointMass, limited

EPISODES = 20


def learned(seed: int, resampling: str = "gaussian") -> ParticlePILCO:
    agent = ParticlePILCO(
        "LinearPolicy",
        limited(),
        resampling=resampling,
        dynamics=Ensemble(members=2, hidden=(32,), fit_steps=300),
        search=SearchOptions(steps=80, num_particles=20, candidates=2, learning_rate=0.03),
        gradient_probe=0,
        seed=seed,
    )
    return agent.learn(3 * STEPS)


def success_rate(act) -> float:
    """Share of fresh episodes that end at rest near the origin: |x| < 0.25 in the last two steps."""
    env, successes = PointMass(), 0
    for episode in range(EPISODES):
        observation, _ = env.reset(seed=1000 + episode)
        for _ in range(STEPS):
            observation, *_, info = env.step(act(observation))
        successes += info["is_success"]
    return successes / EPISODES


@pytest.mark.parametrize("seed", [0, 1])
def test_the_agent_learns(seed):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        agent = learned(seed)
    finally:
        torch.set_num_threads(threads)
    assert success_rate(lambda observation: agent.predict(observation)[0]) >= 0.8


def test_success_has_to_be_learned():
    """Neither rest nor chance, nor full thrust back and forth, does it."""
    rng = np.random.default_rng(0)
    assert success_rate(lambda observation: np.zeros(1, np.float32)) == 0.0
    assert success_rate(lambda observation: rng.uniform(-1, 1, 1).astype(np.float32)) < 0.3
    assert success_rate(lambda observation: -np.sign(observation[:1])) < 0.3
