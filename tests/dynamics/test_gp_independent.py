"""Independent draws: the fast predictor is the posterior, and its derivatives are those of autograd."""

import pytest
import torch

from mbrl_agent import Gp
from mbrl_agent.dynamics.base import Predictor
from mbrl_agent.features import AngleFeatures
from mbrl_agent.targets import Targets
from mbrl_agent.types import Transitions


def fitted(kernel, velocity_dims=(), count=60):
    torch.manual_seed(0)
    features = AngleFeatures(3, (1,))
    model = Gp(kernel=kernel, propagation="independent", functions=1, fit_steps=20).build(
        features, 1, torch.Generator().manual_seed(0), Targets(features, velocity_dims)
    )
    states = torch.randn(count, 3, dtype=torch.float64)
    actions = 2 * torch.rand(count, 1, dtype=torch.float64) - 1
    change = torch.stack([states[:, 1].sin(), states[:, 0] * actions[:, 0], 0.2 * states[:, 2]], dim=-1)
    noise = 0.05 * torch.randn(count, 3, dtype=torch.float64)
    model.fit(Transitions(states, actions, states + change + noise), torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("kernel", ["se", "matern52"])
@pytest.mark.parametrize("velocity_dims", [(), ((1, 2),)])
def test_it_is_the_posterior_and_so_are_its_derivatives(kernel, velocity_dims):
    model = fitted(kernel, velocity_dims).double()
    state = 2 * torch.randn(2, 30, 3, dtype=torch.float64)
    action = torch.randn(2, 30, 1, dtype=torch.float64)
    prediction, pull_back = model.predictor().vjp(state, action)
    general, by_autograd = Predictor(model._posterior()).vjp(state, action)
    torch.testing.assert_close(prediction.mean, general.mean)
    torch.testing.assert_close(prediction.std, general.std)
    by_mean, by_std = torch.randn_like(prediction.mean), torch.randn_like(prediction.std)
    for own, other in zip(pull_back(by_mean, by_std), by_autograd(by_mean, by_std), strict=True):
        torch.testing.assert_close(own, other)
    assert torch.equal(pull_back(by_mean, None)[1], pull_back(by_mean, torch.zeros_like(by_std))[1])


def test_float32_differs_from_float64_by_a_fraction_of_the_noise():
    model = fitted("se", count=300)
    state, action = 2 * torch.randn(500, 3), torch.randn(500, 1)
    single, double = model.predict(state, action), model.double().predict(state.double(), action.double())
    scale = model.target_std
    assert ((single.mean - double.mean).abs() < 0.02 * scale).all()
    assert ((single.std - double.std).abs() < 0.02 * scale).all()
