"""is_success in every form in which environments give it."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.agent.success import as_success
from mbrl_agent.run.evaluation import evaluate

FORMS = [
    (True, True),
    (False, False),
    (np.bool_(True), True),
    (1, True),
    (0.0, False),
    (np.float32(1), True),
    (np.array(True), True),
    (np.array([False]), False),
    (np.array([[True]]), True),
    (np.array([True, False]), False),
    ([True], True),
    ((0,), False),
    (np.array([True], dtype=object), True),
    (torch.tensor([True]), True),
    (None, None),
    ([None], None),
    (np.nan, None),
    ([], None),
    ("yes", None),
    ([[True], [True, False]], None),
    (object(), None),
]


class Reaches(gymnasium.Env):
    """Tells its success in one form."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    cost = staticmethod(lambda state, action: state[..., 0] ** 2)

    def __init__(self, form=None):
        self.form = form

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.normal(size=1).astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.float32([self.steps]), 0.0, self.steps == 6, False, {"is_success": self.form}


@pytest.mark.parametrize(("form", "success"), FORMS)
def test_one_value(form, success):
    assert as_success(form) is success


@pytest.mark.parametrize(("form", "success"), FORMS)
def test_an_evaluation(form, success, monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec(
        "TestReaches-v0", Reaches, max_episode_steps=9, kwargs={"form": form}
    )
    monkeypatch.setitem(gymnasium.registry, "TestReaches-v0", spec)
    result = evaluate(lambda states: np.zeros((3, 1)), "TestReaches-v0", 3, 0)
    assert result.success_rate == (None if success is None else float(success))


@pytest.mark.parametrize("form", [np.array([True]), [True], None, np.array([True, False])])
def test_learning(form, tmp_path):
    search = SearchOptions(steps=1, num_particles=5, candidates=1)
    agent = ParticlePILCO("LinearPolicy", Reaches(form), search=search, gradient_probe=0)
    agent.learn(12)
    expected = [] if form is None else [as_success(form)] * 2
    assert list(agent.ep_success_buffer) == expected
    agent.save(tmp_path / "agent.zip")
    assert list(ParticlePILCO.load(tmp_path / "agent.zip").ep_success_buffer) == expected


def test_seeds_of_an_evaluation_stay_in_range(monkeypatch):
    seeds = []

    class Seeded(Reaches):
        def reset(self, *, seed=None, options=None):
            seeds.append(seed)
            return super().reset(seed=seed)

    spec = gymnasium.envs.registration.EnvSpec("TestReaches-v0", Seeded, max_episode_steps=9)
    monkeypatch.setitem(gymnasium.registry, "TestReaches-v0", spec)
    evaluate(lambda states: np.zeros((3, 1)), "TestReaches-v0", 3, seed=2**31 - 1)
    assert max(seed for seed in seeds if seed is not None) == 2**31 - 1
