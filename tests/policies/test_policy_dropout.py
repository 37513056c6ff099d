"""Dropout of a policy's units: right on average, and nothing of it is left in the policy that is deployed."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent import OptionError, ParticlePILCO
from mbrl_agent.contract.policies import RULES
from mbrl_agent.contract.rules import check_all
from mbrl_agent.policies.dropout import PolicyDropout
from mbrl_agent.policies.rbf import Rbf, RbfPolicy

BOX, UNIT = spaces.Box(-np.inf, np.inf, (3,), np.float32), spaces.Box(-1, 1, (2,), np.float32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(dropout: float, centers: int = 7) -> RbfPolicy:
    torch.manual_seed(0)
    policy = RbfPolicy(BOX, UNIT, angle_dims=(1,), centers=centers, dropout=dropout).double()
    policy.restandardize(4 + torch.randn(20, 3, generator=generator(), dtype=torch.float64))
    return policy


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_contract(rule):
    check_all([rule], Rbf(centers=7, dropout=0.25), "rbf")


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.6])
def test_a_unit_is_left_out_as_often_as_asked_and_keeps_its_mean(rate):
    count = 40_000
    noise = torch.randn(count, 3, generator=generator(), dtype=torch.float64)
    units = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64).expand(count, 3)
    left = PolicyDropout(rate)(units, noise)
    error = (rate * (1 - rate) / count) ** 0.5
    assert (left == 0).double().mean(0).tolist() == pytest.approx([rate] * 3, abs=4 * error)
    assert set(left[:, 1].unique().tolist()) == {0.0, 2 / (1 - rate)}
    mean_error = (rate / (1 - rate) / count) ** 0.5
    assert (left.mean(0) / units[0]).tolist() == pytest.approx([1.0] * 3, abs=4 * mean_error)


def test_units_are_left_out_one_by_one():
    left = PolicyDropout(0.5)(torch.ones(5_000, 2), torch.randn(5_000, 2, generator=generator()))
    assert float(torch.corrcoef(left.mT)[0, 1].abs()) < 4 / 5_000**0.5


def test_the_mean_over_masks_is_the_policy_that_is_deployed():
    policy = make(0.25)
    parameters = policy.parameter_dict() | {"weights": 1e-3 * policy.weights.detach()}  # squash is linear
    state = torch.tensor([4.0, 3.0, 4.5], dtype=torch.float64).expand(20_000, 3)
    act = policy.controller(parameters)
    noisy = act(state, torch.randn(20_000, 7, generator=generator(1), dtype=torch.float64))
    expected = act(state[:1])[0]
    error = noisy.std(0) / len(noisy) ** 0.5
    assert bool(((noisy.mean(0) - expected).abs() < 4 * error).all())
    assert bool((expected.abs() > 20 * error).all())  # it could have been told from zero


def test_nothing_of_it_is_left_in_the_policy_that_is_deployed():
    state = torch.randn(30, 3, generator=generator(2), dtype=torch.float64)
    assert torch.equal(make(0.5)(state), make(0.0)(state))
    seen = state.numpy()
    assert np.array_equal(make(0.5).predict(seen)[0], make(0.0).predict(seen)[0])


def test_without_it_a_policy_takes_no_noise():
    assert (make(0.0).noise_dims, make(0.25, centers=9).noise_dims) == (0, 9)


@pytest.mark.parametrize(
    ("value", "message"),
    [(1.0, "must be below 1"), (-0.1, "must be from 0 to 1"), (float("nan"), "must be from 0 to 1")],
)
def test_a_rate_that_is_none_is_refused(value, message):
    with pytest.raises(OptionError, match=message):
        Rbf(dropout=value)
    with pytest.raises(OptionError, match=message):
        make(value)


def test_moment_matching_refuses_it():
    with pytest.raises(OptionError, match="without dropout alone: leave out the policy's option dropout"):
        ParticlePILCO(
            "rbf:dropout=0.25",
            "CartPoleSwingUp-v0",
            dynamics="gp",
            rollout="moment-matching",
            resampling="none",
        )
