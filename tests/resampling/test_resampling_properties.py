"""Every strategy on any cloud: finite values and gradients, whatever the sizes, the scales and the rank."""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_agent.contract.agents import particles_for
from mbrl_agent.contract.rules import refuses
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.types import Prediction

some = settings(max_examples=40)
every_class = pytest.mark.parametrize("name", RESAMPLERS.names())
ANY_NUMBER = ("none", "gaussian", "interpolated", "liu-west", "exact-gaussian", "tangent")
DEGENERATE = ("none", "point", "line", "one dimension", "twins", "two points", "one outlier", "exact")

OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "components": st.integers(1, 4),
    "em_iterations": st.integers(1, 4),
    "ratio": st.sampled_from([0.0, 1.0, 0.5]) | st.floats(0, 1),
    "shrinkage": st.sampled_from([0.0, 1e-6, 6.0, 1e6]),
    "moments": st.sampled_from(["particles", "predictions"]),
    "cost_weights": st.sampled_from(["component", "uniform"]),
    "detach_responsibilities": st.booleans(),
    "wrap": st.booleans(),
    "straight_through": st.booleans(),
    "sweeps": st.integers(1, 3),
    "width": st.sampled_from([1e-3, 0.5, 1e3]),
}


@st.composite
def resamplers(draw, name):
    """An instance with any options; those that are not listed above keep their defaults."""
    cls = RESAMPLERS.get(name)
    known = [field.name for field in dataclasses.fields(cls) if field.name in OPTIONS]
    return cls(**{option: draw(OPTIONS[option]) for option in known})


@st.composite
def clouds(draw, resampler):
    """(prediction, particles, noise); perhaps degenerate, each dimension in a unit of its own."""
    dims = draw(st.integers(1, 5))
    at_least = resampler.min_particles(dims) + draw(st.integers(0, 12))
    count = particles_for(lambda n: resampler.validate(n, dims), at_least)
    replicates = draw(st.sampled_from([(), (1,), (2,), (2, 2)]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def normal(columns):
        return torch.randn(*replicates, count, columns, dtype=dtype, generator=generator)

    scale = torch.tensor([10.0 ** draw(st.integers(-6, 6)) for _ in range(dims)], dtype=dtype)
    centre = torch.tensor([draw(st.sampled_from([0.0, 1.0, -30.0, 1e6])) for _ in range(dims)], dtype=dtype)
    mean, std, error = normal(dims), normal(dims).abs(), normal(dims)
    kind = draw(st.sampled_from(DEGENERATE))
    if kind == "point":
        mean, std = torch.zeros_like(mean), torch.zeros_like(std)
    elif kind == "line":
        mean, std = mean[..., :1].expand_as(mean), torch.zeros_like(std)
    elif kind == "one dimension":
        mean[..., -1], std[..., -1] = 0, 0
    elif kind == "twins":
        mean = mean[..., :1, :].expand_as(mean) + 1e-7 * mean
        std = 1e-7 * std
    elif kind == "two points":
        mean, std = mean.sign(), torch.zeros_like(std)
    elif kind == "one outlier":
        mean[..., 0, :] += 1e4
    elif kind == "exact":
        std = torch.zeros_like(std)
    mean, std = scale * (centre + mean), scale * std
    return Prediction(mean, std), mean + std * error, normal(resampler.noise_dims(dims))


def three_steps(resampler, prediction, particles, noise):
    state, result = None, None
    for _ in range(3):
        result = resampler(prediction, particles, noise, state)
        state, particles = result.state, result.particles
        prediction = Prediction(particles, prediction.std)
        yield result


@every_class
def test_finite_on_any_cloud(name):
    @some
    @given(st.data())
    def check(data):
        resampler = data.draw(resamplers(name))
        prediction, particles, noise = data.draw(clouds(resampler))
        resampler.validate(particles.shape[-2], particles.shape[-1])
        given = [prediction.mean, prediction.std, particles]
        for result in three_steps(resampler, prediction, particles, noise):
            assert result.particles.shape == particles.shape
            assert result.particles.dtype == particles.dtype
            assert result.particles.isfinite().all()
            assert result.weights.isfinite().all()
            total = result.weights.sum(-1)
            torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-4, atol=1e-4)
        # by the chain rule through three steps, from each particle's derivative of the size of one unit
        unit = particles.detach().abs().amax(-2, keepdim=True).clamp_min(1e-12)
        leaves = [value.clone().requires_grad_() for value in given]
        loss = sum(
            ((step.particles / unit).sum(-1) * step.weights).sum()
            for step in three_steps(resampler, Prediction(leaves[0], leaves[1]), leaves[2], noise)
        )
        for gradient in torch.autograd.grad(loss, leaves, allow_unused=True):
            assert gradient is None or gradient.isfinite().all()

    check()


@every_class
def test_the_derivative_written_out_is_finite(name):
    @some
    @given(st.data())
    def check(data):
        resampler = data.draw(resamplers(name))
        prediction, particles, noise = data.draw(clouds(resampler))
        values = resampler(prediction, particles, noise, None)
        result, pull_back = resampler.vjp(prediction, particles, noise, None)
        assert torch.equal(result.particles, values.particles)
        unit = particles.abs().amax(-2, keepdim=True).clamp_min(1e-12)
        by = torch.ones_like(particles) / unit
        for gradient in pull_back(by, torch.ones_like(result.weights), None):
            assert gradient is None or gradient.isfinite().all()

    check()


@every_class
def test_too_few_particles_or_an_uneven_split_are_refused_for_any_size(name):
    @some
    @given(st.data())
    def check(data):
        resampler = data.draw(resamplers(name))
        dims, count = data.draw(st.integers(1, 8)), data.draw(st.integers(0, 80))
        if refuses(lambda: resampler.validate(count, dims)):
            assert count < resampler.min_particles(dims) or name not in ANY_NUMBER
            with pytest.raises(ValueError, match=rf"resampling '{name}'.* particles"):
                resampler.validate(count, dims)
            particles_for(lambda n: resampler.validate(n, dims), count)  # some more of them are accepted
        else:
            assert count >= resampler.min_particles(dims)
            assert name != "mixture" or count % resampler.components == 0

    check()
