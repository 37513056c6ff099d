"""What is the same for all particles, and predicted exactly, stays as it is under every strategy."""

import pytest
import torch

from mbrl_agent.gaussians.moments import particle_moments
from mbrl_agent.resampling import Gaussian, LiuWest, NoResampling
from mbrl_agent.types import Prediction
from mbrl_agent.vjp import by_autograd
from tests.resampling.test_resampling_contract import VARIANTS

P, R = 36, 2
STEPS = 4
every = pytest.mark.parametrize("resampler", VARIANTS, ids=repr)
# numbers that are not round in binary: their mean, summed up and divided, is another number
some_values = pytest.mark.parametrize("value", [0.1, 101325.3])


def step_inputs(resampler, particles, constant, seed):
    """A made-up model that changes all but the constant dimensions."""
    g = torch.Generator().manual_seed(seed)
    dtype = particles.dtype

    def normal(columns):
        return torch.randn(R, P, columns, generator=g, dtype=dtype)

    varies = ~constant
    mean = torch.where(varies, torch.tanh(1.5 * particles) + 0.1 * normal(particles.shape[-1]), particles)
    std = torch.where(varies, 0.1 + 0.1 * normal(particles.shape[-1]).abs(), 0.0)
    sample = torch.addcmul(mean, std, normal(particles.shape[-1]))
    return Prediction(mean, std), sample, normal(resampler.noise_dims(particles.shape[-1]))


@every
@some_values
@pytest.mark.parametrize("which", [(0, 2), (0, 1, 2, 3)])
def test_a_constant_dimension_stays_exactly_constant(resampler, value, which):
    dtype = torch.float32
    constant = torch.zeros(4, dtype=torch.bool)
    constant[list(which)] = True
    g = torch.Generator().manual_seed(0)
    particles = torch.randn(R, P, 4, generator=g, dtype=dtype).masked_fill(constant, value)
    state = None
    for seed in range(STEPS):
        prediction, sample, noise = step_inputs(resampler, particles, constant, seed)
        resampled, pull_back = resampler.vjp(prediction, sample, noise, state)
        particles, state = resampled.particles, resampled.state
        assert bool((particles[..., constant] == torch.tensor(value, dtype=dtype)).all())
        assert bool(particles.isfinite().all())
        assert bool(resampled.weights.isfinite().all())
        assert not resampled.jitter.any() if resampled.jitter is not None else True
        by_state = None if state is None else torch.zeros_like(state)
        found = pull_back(torch.ones_like(particles), torch.zeros(R, P, dtype=dtype), by_state)
        assert all(bool(by.isfinite().all()) for by in found if by is not None)
        # (derivatives of each particle's own size: none is blown up by what has no spread)
        assert all(float(by.abs().max()) < 1e3 for by in found[:3] if by is not None)


@every
def test_the_derivative_with_a_constant_dimension_is_autograds(resampler):
    constant = torch.tensor([False, True, False])
    g = torch.Generator().manual_seed(0)
    particles = torch.randn(R, P, 3, generator=g, dtype=torch.float64).masked_fill(constant, 0.3)
    prediction, sample, noise = step_inputs(resampler, particles, constant, 1)
    resampled, pull_back = resampler.vjp(prediction, sample, noise, None)

    def values(mean, std, sample):
        found = resampler(Prediction(mean, std), sample, noise, None)
        return found.particles, found.weights

    outputs, reference = by_autograd(values, prediction.mean, prediction.std, sample)
    by = torch.randn(R, P, 3, generator=g, dtype=torch.float64), torch.rand(R, P, dtype=torch.float64)
    torch.testing.assert_close(outputs[0], resampled.particles)
    by_state = None if resampled.state is None else torch.zeros_like(resampled.state)
    for own, expected in zip(pull_back(*by, by_state), reference(*by), strict=False):
        if own is None or expected is None:
            assert own is None or not own.any()
            assert expected is None or not expected.any()
        else:
            torch.testing.assert_close(own, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("resampler", [Gaussian(), Gaussian(moments="predictions"), LiuWest(ratio=0.3)])
def test_the_other_dimensions_do_not_notice_a_constant_one(resampler):
    constant = torch.tensor([False, False, True])
    g = torch.Generator().manual_seed(0)
    particles = torch.randn(R, P, 3, generator=g, dtype=torch.float64).masked_fill(constant, 293.15)
    prediction, sample, noise = step_inputs(resampler, particles, constant, 1)
    together = resampler(prediction, sample, noise, None).particles
    without = Prediction(prediction.mean[..., :2], prediction.std[..., :2])
    alone = resampler(without, sample[..., :2], noise[..., :2], None).particles
    torch.testing.assert_close(together[..., :2], alone)


def test_particles_with_goals_of_their_own_keep_them_without_resampling():
    g = torch.Generator().manual_seed(0)
    particles = torch.randn(R, P, 3, generator=g)
    constant = torch.tensor([False, False, True])
    prediction, sample, noise = step_inputs(NoResampling(), particles, constant, 1)
    after = NoResampling()(prediction, sample, noise, None).particles
    assert torch.equal(after[..., 2], particles[..., 2])


def test_moments_of_large_numbers_are_those_of_their_deviations():
    """101325 Pa +- 1 in single precision, which resolves 0.008 Pa."""
    g = torch.Generator().manual_seed(0)
    offset = torch.tensor([101325.0, -4000.0])
    particles = offset + torch.randn(300, 2, generator=g) * torch.tensor([1.0, 0.1])
    mean, covariance = particle_moments(particles)
    exact_mean, exact = particle_moments(particles.double())
    assert float((mean - exact_mean).abs()[..., 0].max()) <= 0.004  # half a unit in the last place
    torch.testing.assert_close(covariance.double(), exact, rtol=1e-4, atol=1e-6)
