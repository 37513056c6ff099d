"""The estimators among each other on a linear-Gaussian system; that each is exact is in the contract."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl_agent.contract.linear_gaussian import (
    PARTICLES,
    AffinePolicy,
    LinearModel,
    copies,
    quadratic_cost,
    simulate,
)
from mbrl_agent.resampling import Gaussian, Interpolated, Mixture, NoResampling
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.search.estimators.total_propagation import TotalPropagation
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import Prediction

REPEATS = 400
OWN_CREDIT = ["gaussian-shaping", "likelihood-ratio", "total-propagation"]


def estimates(name: str, replicates: int = REPEATS, particles: int = PARTICLES) -> Tensor:
    estimate = ESTIMATORS.resolve(name)(copies(replicates), simulate(replicates, NoResampling(), particles))
    return torch.cat([value.flatten(1) for value in estimate.gradient.values()], dim=1)


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
    problem = Simulation(AffinePolicy(), model, quadratic_cost, NoResampling(), start, noise)
    variance = {}
    for name in ("reparameterization", "likelihood-ratio", "total-propagation"):
        gradient = ESTIMATORS.resolve(name)(copies(replicates), problem).gradient
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


def test_total_propagation_without_likelihood_ratio_is_the_pathwise_gradient(monkeypatch):
    monkeypatch.setattr(
        "mbrl_agent.search.estimators.total_propagation._share",
        lambda pathwise, ratio: torch.zeros_like(pathwise),
    )
    problem = simulate(2, NoResampling(), particles=30)
    swept = TotalPropagation()(copies(2), problem)
    direct = ESTIMATORS.resolve("reparameterization")(copies(2), problem)
    for key, value in direct.gradient.items():
        torch.testing.assert_close(swept.gradient[key], value)


def test_total_propagation_with_likelihood_ratio_alone_is_the_likelihood_ratio_gradient(monkeypatch):
    monkeypatch.setattr(
        "mbrl_agent.search.estimators.total_propagation._share",
        lambda pathwise, ratio: torch.ones_like(pathwise),
    )
    problem = simulate(2, NoResampling(), particles=30)
    swept = TotalPropagation()(copies(2), problem)
    direct = ESTIMATORS.resolve("likelihood-ratio")(copies(2), problem)
    for key, value in direct.gradient.items():
        torch.testing.assert_close(swept.gradient[key], value)
