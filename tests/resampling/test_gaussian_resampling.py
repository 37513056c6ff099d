"""What the theory says about none, gaussian and interpolated resampling."""

import math

import pytest
import torch

from mbrl_agent.gaussians.moments import particle_moments, prediction_moments
from mbrl_agent.resampling import Gaussian, Interpolated, NoResampling
from mbrl_agent.types import Prediction

P, D = 40, 3


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cloud(*replicates):
    """A correlated prediction and a sample of it."""
    mixing = torch.tensor([[1.0, 0, 0], [0.8, 0.3, 0], [-2.0, 0.5, 0.1]], dtype=torch.float64)
    mean = normal(*replicates, P, D) @ mixing.mT + 5.0
    prediction = Prediction(mean, 0.1 + normal(*replicates, P, D, seed=1).abs())
    return prediction, mean + prediction.std * normal(*replicates, P, D, seed=2)


def whitened(noise, *orthogonal_to):
    """Noise with sample mean exactly 0 and covariance exactly I, uncorrelated with the given columns."""
    ones = torch.ones(noise.shape[0], 1, dtype=noise.dtype)
    basis = torch.linalg.qr(torch.cat([ones, *orthogonal_to, noise], dim=1)).Q
    return basis[:, -noise.shape[1] :] * math.sqrt(noise.shape[0] - 1)


def fitted(moments, prediction, particles):
    return particle_moments(particles) if moments == "particles" else prediction_moments(prediction)


both_moments = pytest.mark.parametrize("moments", ["particles", "predictions"])


def test_none_returns_the_very_particles():
    prediction, particles = cloud()
    out = NoResampling()(prediction, particles, normal(P, D), None)
    assert torch.equal(out.particles, particles)
    assert torch.equal(out.weights, torch.full((P,), 1 / P, dtype=torch.float64))
    assert out.jitter is None


def test_moments_of_particles_are_the_sample_moments():
    _, particles = cloud()
    mean, covariance = particle_moments(particles)
    torch.testing.assert_close(mean, particles.mean(0, keepdim=True))
    torch.testing.assert_close(covariance, torch.cov(particles.T))


def test_moments_of_predictions_are_those_of_infinitely_many_samples():
    prediction, _ = cloud()
    mean, covariance = prediction_moments(prediction)
    between = torch.cov(prediction.mean.T)
    torch.testing.assert_close(mean[0], prediction.mean.mean(0))
    torch.testing.assert_close(covariance, between + torch.diag((prediction.std**2).mean(0)))


@both_moments
def test_gaussian_keeps_the_moments_exactly_under_whitened_noise(moments):
    prediction, particles = cloud()
    out = Gaussian(moments)(prediction, particles, whitened(normal(P, D, seed=3)), None)
    mean, covariance = fitted(moments, prediction, particles)
    torch.testing.assert_close(out.particles.mean(0, keepdim=True), mean, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(torch.cov(out.particles.T), covariance, rtol=1e-11, atol=1e-11)


@both_moments
def test_gaussian_keeps_the_moments_in_the_limit_of_many_draws(moments):
    repeats = 2500
    prediction, particles = cloud()
    many = Prediction(prediction.mean.expand(repeats, P, D), prediction.std.expand(repeats, P, D))
    noise = normal(repeats, P, D, seed=4)
    draws = Gaussian(moments)(many, particles.expand(repeats, P, D), noise, None).particles.reshape(-1, D)
    mean, covariance = fitted(moments, prediction, particles)
    count, variance = draws.shape[0], covariance.diagonal()
    standard_error = (variance / count).sqrt()
    assert ((draws.mean(0) - mean[0]).abs() < 5 * standard_error).all()
    standard_error = ((variance.outer(variance) + covariance**2) / count).sqrt()
    assert ((torch.cov(draws.T) - covariance).abs() < 5 * standard_error).all()


def test_gaussian_options_differ_by_the_sampling_noise_of_the_particles():
    prediction, _ = cloud()
    noise = normal(P, D, seed=5)
    exact = Prediction(prediction.mean, torch.zeros_like(prediction.std))
    a = Gaussian("particles")(exact, exact.mean, noise, None).particles
    b = Gaussian("predictions")(exact, exact.mean, noise, None).particles
    torch.testing.assert_close(a, b)
    c = Gaussian("predictions")(prediction, exact.mean, noise, None).particles
    assert not torch.allclose(a, c, atol=1e-3)


def test_gradient_flows_through_the_covariance():
    _, particles = cloud()
    particles.requires_grad_()
    noise = whitened(normal(P, D, seed=3))
    draws = Gaussian()(Prediction(particles, torch.ones_like(particles)), particles, noise, None).particles
    total_variance = draws.var(0).sum()
    (gradient,) = torch.autograd.grad(total_variance, particles)
    expected = 2 * (particles - particles.mean(0)).detach() / (P - 1)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)


def test_direct_path_of_a_particle_is_of_the_order_of_one_over_p():
    # Why Gaussian resampling tames: each particle depends on itself no more than on the others.
    largest = []
    for count in (50, 200):
        x = normal(count, 2)
        jacobian = torch.func.jacrev(
            lambda x: Gaussian()(Prediction(x, x), x, normal(len(x), 2, seed=6), None).particles
        )
        direct = jacobian(x)[range(count), :, range(count), :]
        largest.append(direct.abs().mean().item())
    assert largest[1] / largest[0] == pytest.approx(0.25, rel=0.3)


@both_moments
def test_interpolated_with_ratio_zero_is_gaussian_bitwise(moments):
    prediction, particles = cloud(2)
    noise = normal(2, P, D, seed=3)
    ours = Interpolated(0.0, moments)(prediction, particles, noise, None)
    theirs = Gaussian(moments)(prediction, particles, noise, None)
    assert torch.equal(ours.particles, theirs.particles)
    assert torch.equal(ours.weights, theirs.weights)


def test_interpolated_with_ratio_one_is_none_bitwise():
    prediction, particles = cloud(2)
    out = Interpolated(1.0)(prediction, particles, normal(2, P, D, seed=3), None)
    assert torch.equal(out.particles, particles)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8])
def test_interpolated_shrinks_the_covariance_by_r2_plus_1_minus_r_2(ratio):
    prediction, particles = cloud()
    noise = whitened(normal(P, D, seed=3), particles - particles.mean(0))
    out = Interpolated(ratio)(prediction, particles, noise, None)
    torch.testing.assert_close(out.particles.mean(0), particles.mean(0), rtol=1e-11, atol=1e-11)
    expected = (ratio**2 + (1 - ratio) ** 2) * torch.cov(particles.T)
    torch.testing.assert_close(torch.cov(out.particles.T), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_interpolated_direct_path_is_the_ratio(ratio):
    x = normal(400, 1)
    jacobian = torch.func.jacrev(
        lambda x: Interpolated(ratio)(Prediction(x, x), x, normal(400, 1, seed=6), None).particles[..., 0]
    )
    direct = jacobian(x)[..., 0].diagonal()
    assert direct.mean().item() == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("ratio", [-0.1, 1.01, math.nan, math.inf])
def test_interpolated_refuses_a_ratio_outside_the_unit_interval(ratio):
    with pytest.raises(
        ValueError, match=f"ratio of resampling 'interpolated' must be from 0 to 1, got {ratio}"
    ):
        Interpolated(ratio)


@pytest.mark.parametrize("ratio", ["0.5", None, True])
def test_interpolated_refuses_a_ratio_that_is_no_number(ratio):
    with pytest.raises(TypeError, match="ratio of resampling 'interpolated' must be a number"):
        Interpolated(ratio)


@pytest.mark.parametrize("cls", [Gaussian, Interpolated])
def test_refuses_unknown_moments(cls):
    with pytest.raises(ValueError, match=r"moments of .* must be one of particles, predictions, got 'foo'"):
        cls(moments="foo")
    with pytest.raises(TypeError, match=r"moments of .* must be a string, got 3"):
        cls(moments=3)
