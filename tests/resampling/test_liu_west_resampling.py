"""What the theory says about Liu-West resampling: memory and spread are turned separately."""

import math

import pytest
import torch

from mbrl_agent.gaussians.moments import particle_moments, prediction_moments
from mbrl_agent.resampling import Gaussian, Interpolated, LiuWest
from mbrl_agent.types import Prediction

P, D = 40, 3
RATIOS = [0.0, 0.1, 0.5, 0.9, 1.0]
both_moments = pytest.mark.parametrize("moments", ["particles", "predictions"])


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cloud(*replicates):
    """A correlated prediction, far from the origin, and a sample of it."""
    mixing = torch.tensor([[1.0, 0, 0], [0.8, 0.3, 0], [-2.0, 0.5, 0.1]], dtype=torch.float64)
    mean = normal(*replicates, P, D) @ mixing.mT + 5.0
    prediction = Prediction(mean, 0.1 + normal(*replicates, P, D, seed=1).abs())
    return prediction, mean + prediction.std * normal(*replicates, P, D, seed=2)


def whitened(noise, *orthogonal_to):
    """Noise with sample mean exactly 0 and covariance exactly I, uncorrelated with the given columns."""
    ones = torch.ones(noise.shape[0], 1, dtype=noise.dtype)
    basis = torch.linalg.qr(torch.cat([ones, *orthogonal_to, noise], dim=1)).Q
    return basis[:, -noise.shape[1] :] * math.sqrt(noise.shape[0] - 1)


@both_moments
def test_ratio_zero_is_gaussian_bitwise(moments):
    prediction, particles = cloud(2)
    noise = normal(2, P, D, seed=3)
    ours = LiuWest(0.0, moments)(prediction, particles, noise, None)
    theirs = Gaussian(moments)(prediction, particles, noise, None)
    assert torch.equal(ours.particles, theirs.particles)
    assert torch.equal(ours.weights, theirs.weights)


@both_moments
def test_ratio_one_is_none_bitwise(moments):
    prediction, particles = cloud(2)
    particles.requires_grad_()
    out = LiuWest(1.0, moments)(prediction, particles, normal(2, P, D, seed=3), None)
    assert torch.equal(out.particles, particles)
    (gradient,) = torch.autograd.grad(out.particles.sin().sum(), particles)
    torch.testing.assert_close(gradient, particles.detach().cos(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_mean_and_covariance_are_preserved_exactly_under_whitened_noise(ratio):
    prediction, particles = cloud()
    noise = whitened(normal(P, D, seed=3), particles - particles.mean(0))
    out = LiuWest(ratio)(prediction, particles, noise, None)
    torch.testing.assert_close(out.particles.mean(0), particles.mean(0), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(torch.cov(out.particles.T), torch.cov(particles.T), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.9])
@both_moments
def test_moments_are_preserved_in_the_limit_of_many_draws(ratio, moments):
    repeats = 2500
    prediction, _ = cloud()
    wide = Prediction(prediction.mean.expand(repeats, P, D), prediction.std.expand(repeats, P, D))
    if moments == "particles":
        particles = (prediction.mean + prediction.std).expand(repeats, P, D)
        mean, covariance = particle_moments(particles[0])
        # the particles' own part is a sum over P, not over P - 1, once the draws are pooled
        expected = (ratio**2 * (P - 1) / P + 1 - ratio**2) * covariance
    else:
        particles = wide.mean + wide.std * normal(repeats, P, D, seed=2)
        mean, covariance = prediction_moments(prediction)
        between = (P - 1) / P * torch.cov(prediction.mean.T)
        predicted = between + torch.diag((prediction.std**2).mean(0))
        expected = ratio**2 * predicted + (1 - ratio**2) * covariance
    draws = LiuWest(ratio, moments)(wide, particles, normal(repeats, P, D, seed=4), None)
    draws = draws.particles.reshape(-1, D)
    variance = covariance.diagonal()
    assert ((draws.mean(0) - mean[0]).abs() < 5 * (variance / len(draws)).sqrt()).all()
    standard_error = ((variance.outer(variance) + covariance**2) / len(draws)).sqrt()
    assert ((torch.cov(draws.T) - expected).abs() < 5 * standard_error).all()


def test_spread_survives_many_steps_where_interpolation_lets_it_decay():
    # Resampling alone, thirty times over: interpolation halves the covariance at every step.
    _, particles = cloud(20)
    last = {}
    for resampler in (LiuWest(0.5), Interpolated(0.5)):
        z = particles
        for step in range(30):
            z = resampler(Prediction(z, z), z, normal(20, P, D, seed=10 + step), None).particles
        last[resampler.name] = (z.var(-2).mean(0) / particles.var(-2).mean(0)).tolist()
    assert all(0.3 < share < 3 for share in last["liu-west"]), last
    assert all(share < 1e-6 for share in last["interpolated"]), last


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_direct_path_is_the_ratio(ratio):
    x = normal(400, 1)
    jacobian = torch.func.jacrev(
        lambda x: LiuWest(ratio)(Prediction(x, x), x, normal(400, 1, seed=6), None).particles[..., 0]
    )
    assert jacobian(x)[..., 0].diagonal().mean().item() == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("ratio", [-0.1, 1.01, math.nan, math.inf])
def test_refuses_a_ratio_outside_the_unit_interval(ratio):
    with pytest.raises(ValueError, match=f"ratio of resampling 'liu-west' must be from 0 to 1, got {ratio}"):
        LiuWest(ratio)


def test_refuses_options_of_the_wrong_type_and_unknown_moments():
    with pytest.raises(TypeError, match="ratio of resampling 'liu-west' must be a number"):
        LiuWest("0.5")
    with pytest.raises(ValueError, match=r"moments of resampling 'liu-west' must be one of .* got 'foo'"):
        LiuWest(moments="foo")
