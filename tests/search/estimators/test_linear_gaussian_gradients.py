"""Every estimator against the exact gradient of a linear-Gaussian system with a quadratic cost.

x' = A x + B u + s * noise, u = K x + k, cost x'^T Q x' + c u^2: mean and covariance of the state follow
in closed form, and so does the gradient of the expected cost by K and k.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agent.dynamics.base import DynamicsModel, FitReport, Score
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling import Gaussian, Interpolated, Mixture, NoResampling
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.search.estimators.total_propagation import TotalPropagation
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import Prediction

HORIZON, PARTICLES, REPEATS = 4, 100, 400
TRANSITION = torch.tensor([[1.0, 0.3], [-0.2, 0.9]], dtype=torch.float64)
INPUT = torch.tensor([[0.1], [0.5]], dtype=torch.float64)
STD = torch.tensor([0.3, 0.4], dtype=torch.float64)
START_MEAN = torch.tensor([1.0, -0.5], dtype=torch.float64)
START_STD = torch.tensor([0.3, 0.2], dtype=torch.float64)
STATE_COST = torch.tensor([[1.0, 0.2], [0.2, 0.5]], dtype=torch.float64)
ACTION_COST = 0.1
PARAMETERS = {
    "gain": torch.tensor([[-0.3], [-0.6]], dtype=torch.float64),
    "offset": torch.tensor([0.2], dtype=torch.float64),
}
OWN_CREDIT = ["gaussian-shaping", "likelihood-ratio", "total-propagation"]


class LinearModel(DynamicsModel):
    noise_dims = 2

    def predict(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        mean = state @ TRANSITION.T + action @ INPUT.T
        return Prediction(mean, STD.expand_as(mean))

    def fit(self, transitions, generator) -> FitReport:
        raise AssertionError("not fitted here")

    def score(self, transitions) -> Score:
        raise AssertionError("not scored here")


class UnboundedLinearPolicy(SearchPolicy):
    def __init__(self) -> None:
        super().__init__(spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-1, 1, (1,)))

    def controller(self, parameters):
        return lambda state: state @ parameters["gain"] + parameters["offset"].unsqueeze(-2)

    def initial_parameters(self, states, replicates, generator):
        raise AssertionError("not drawn here")


def quadratic_cost(state: Tensor, action: Tensor) -> Tensor:
    return ((state @ STATE_COST) * state).sum(-1) + ACTION_COST * action.square().sum(-1)


def exact_gradient() -> dict[str, Tensor]:
    leaves = {name: value.clone().requires_grad_() for name, value in PARAMETERS.items()}
    mean, covariance = START_MEAN, torch.diag(START_STD**2)
    total = torch.zeros((), dtype=torch.float64)
    for _ in range(HORIZON):
        gain, offset = leaves["gain"].T, leaves["offset"]
        action_mean = gain @ mean + offset
        total = total + ACTION_COST * (action_mean.square().sum() + (gain @ covariance @ gain.T).trace())
        closed_loop = TRANSITION + INPUT @ gain
        mean = closed_loop @ mean + INPUT @ offset
        covariance = closed_loop @ covariance @ closed_loop.T + torch.diag(STD**2)
        total = total + mean @ STATE_COST @ mean + (STATE_COST @ covariance).trace()
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


def simulation(replicates: int, resampler, particles: int = PARTICLES, seed: int = 0) -> Simulation:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(replicates, particles, 2, generator=generator, dtype=torch.float64)
    start = START_MEAN + START_STD * normal
    model = LinearModel()
    noise = Noise.draw(model, resampler, start, HORIZON, generator)
    return Simulation(UnboundedLinearPolicy(), model, quadratic_cost, resampler, start, noise)


def estimates(name: str, replicates: int = REPEATS, particles: int = PARTICLES) -> Tensor:
    copies = {key: value.expand(replicates, *value.shape) for key, value in PARAMETERS.items()}
    estimate = ESTIMATORS.resolve(name)(copies, simulation(replicates, NoResampling(), particles))
    return torch.cat([value.flatten(1) for value in estimate.gradient.values()], dim=1)


@pytest.mark.parametrize("name", ESTIMATORS.names())
def test_the_mean_gradient_is_exact(name: str):
    exact = torch.cat([value.flatten() for value in exact_gradient().values()])
    drawn = estimates(name)
    error = drawn.mean(0) - exact
    standard_error = drawn.std(0) / math.sqrt(REPEATS)
    assert (standard_error < 0.1 * exact.norm()).all()  # else the next line could not fail
    assert (error.abs() < 4 * standard_error).all(), (error / standard_error).tolist()


def test_total_propagation_is_no_noisier_than_the_better_of_its_parents():
    variance = {name: float(estimates(name).var(0).sum()) for name in ESTIMATORS.names()}
    better = min(variance["reparameterization"], variance["likelihood-ratio"])
    assert variance["total-propagation"] < 1.5 * better, variance


class ChaoticModel(LinearModel):
    """Two sine maps far beyond the onset of chaos; a step stretches small differences about fourfold."""

    def predict(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        mean = (6 * state).sin() + 0.3 * action
        return Prediction(mean, torch.full_like(mean, 0.1))


def test_total_propagation_is_tame_where_trajectories_are_chaotic():
    replicates, horizon = 60, 15
    generator = torch.Generator().manual_seed(0)
    model, start = ChaoticModel(), torch.randn(replicates, 100, 2, generator=generator, dtype=torch.float64)
    noise = Noise.draw(model, NoResampling(), start, horizon, generator)
    problem = Simulation(UnboundedLinearPolicy(), model, quadratic_cost, NoResampling(), start, noise)
    copies = {key: value.expand(replicates, *value.shape) for key, value in PARAMETERS.items()}
    variance = {}
    for name in ("reparameterization", "likelihood-ratio", "total-propagation"):
        gradient = ESTIMATORS.resolve(name)(copies, problem).gradient
        variance[name] = float(torch.cat([g.flatten(1) for g in gradient.values()], dim=1).var(0).sum())
    assert variance["reparameterization"] > 1e6 * variance["likelihood-ratio"]  # it is chaotic
    assert variance["total-propagation"] < 1.5 * variance["likelihood-ratio"], variance


@pytest.mark.parametrize("name", OWN_CREDIT)
@pytest.mark.parametrize("resampler", [Gaussian(), Interpolated(ratio=0.9), Mixture()])
def test_own_credit_is_refused_where_particles_mix(name: str, resampler):
    with pytest.raises(ValueError, match=r"biased under resampling .*'none'.*'reparameterization'"):
        ESTIMATORS.resolve(name).validate(resampler)


@pytest.mark.parametrize("name", ESTIMATORS.names())
def test_every_estimator_works_without_resampling(name: str):
    ESTIMATORS.resolve(name).validate(NoResampling())


@pytest.mark.parametrize("name", ESTIMATORS.names())
def test_replicates_do_not_mix(name: str):
    copies = {key: value.expand(3, *value.shape) for key, value in PARAMETERS.items()}
    whole = simulation(3, NoResampling(), particles=20)
    together = ESTIMATORS.resolve(name)(copies, whole)
    for r in range(3):
        part = Simulation(
            whole.policy,
            whole.dynamics,
            whole.cost,
            whole.resampler,
            whole.initial_particles[r],
            Noise(whole.noise.model[:, r], whole.noise.resampling[:, r]),
        )
        alone = ESTIMATORS.resolve(name)(PARAMETERS, part)
        for key, value in alone.gradient.items():
            torch.testing.assert_close(together.gradient[key][r], value)


def test_total_propagation_without_likelihood_ratio_is_the_pathwise_gradient(monkeypatch):
    monkeypatch.setattr(
        "mbrl_agent.search.estimators.total_propagation._likelihood_ratio_share",
        lambda by_pathwise, by_ratio: torch.zeros(*by_pathwise.shape[:-2], 1, 1, dtype=by_pathwise.dtype),
    )
    problem = simulation(2, NoResampling(), particles=30)
    copies = {key: value.expand(2, *value.shape) for key, value in PARAMETERS.items()}
    swept = TotalPropagation()(copies, problem)
    direct = ESTIMATORS.resolve("reparameterization")(copies, problem)
    for key, value in direct.gradient.items():
        torch.testing.assert_close(swept.gradient[key], value)


def test_total_propagation_with_likelihood_ratio_alone_is_the_likelihood_ratio_gradient(monkeypatch):
    monkeypatch.setattr(
        "mbrl_agent.search.estimators.total_propagation._likelihood_ratio_share",
        lambda by_pathwise, by_ratio: torch.ones(*by_pathwise.shape[:-2], 1, 1, dtype=by_pathwise.dtype),
    )
    problem = simulation(2, NoResampling(), particles=30)
    copies = {key: value.expand(2, *value.shape) for key, value in PARAMETERS.items()}
    swept = TotalPropagation()(copies, problem)
    direct = ESTIMATORS.resolve("likelihood-ratio")(copies, problem)
    for key, value in direct.gradient.items():
        torch.testing.assert_close(swept.gradient[key], value)
