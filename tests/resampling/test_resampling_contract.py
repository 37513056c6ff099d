"""What every registered resampling strategy promises; a new file in the package is tested as it is."""

import ast
import dataclasses
import inspect

import pytest
import torch

from mbrl_agent.resampling import (
    RESAMPLERS,
    DetachedMixture,
    Gaussian,
    Interpolated,
    LiuWest,
    Mixture,
    Resampler,
    Tangent,
)
from mbrl_agent.types import Prediction, Resampled

P, D = 24, 2
VARIANTS: list[Resampler] = [
    *(cls() for cls in RESAMPLERS.classes.values()),
    Gaussian(moments="predictions"),
    Interpolated(ratio=0.9, moments="predictions"),
    Mixture(components=2, em_iterations=1, cost_weights="uniform"),
    Mixture(components=6, em_iterations=2),
    Mixture(components=2, detach_responsibilities=True),
    LiuWest(ratio=0.9, moments="predictions"),
    DetachedMixture(components=1),
    DetachedMixture(components=6, em_iterations=1, shrinkage=0.0),
    Tangent(components=1),
]
every = pytest.mark.parametrize("resampler", VARIANTS, ids=repr)
every_class = pytest.mark.parametrize("cls", RESAMPLERS.classes.values(), ids=list(RESAMPLERS.classes))
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def inputs(resampler, *replicates, particles=P, dims=D, dtype=torch.float64, seed=0):
    """A prediction, one sample of it, and noise."""
    generator = torch.Generator().manual_seed(seed)

    def normal(columns):
        return torch.randn(*replicates, particles, columns, dtype=dtype, generator=generator)

    std = 0.1 + torch.rand(*replicates, particles, dims, dtype=dtype, generator=generator)
    prediction = Prediction(normal(dims), std)
    return prediction, prediction.mean + std * normal(dims), normal(resampler.noise_dims(dims))


def two_steps(resampler, mean, std, particles, noise):
    """Resample, predict again with a made-up model, resample with the state that came back."""
    first = resampler(Prediction(mean, std), particles, noise, None)
    mean = torch.tanh(1.3 * first.particles)
    return first, resampler(Prediction(mean, std), mean + 0.2 * particles, noise.flip(-2), first.state)


def gradients(resampler, mean, std, particles, noise):
    """Gradients of a weighted sum over two steps."""
    leaves = [t.detach().clone().requires_grad_() for t in (mean, std, particles)]
    first, second = two_steps(resampler, *leaves, noise)
    loss = sum((out.particles.sin().sum(-1) * out.weights).sum() for out in (first, second))
    return torch.autograd.grad(loss, leaves, allow_unused=True)


@every
@both_dtypes
@pytest.mark.parametrize("replicates", [(), (2,), (2, 3)])
def test_shapes_and_dtype(resampler, dtype, replicates):
    prediction, particles, noise = inputs(resampler, *replicates, dtype=dtype)
    for out in two_steps(resampler, prediction.mean, prediction.std, particles, noise):
        assert isinstance(out, Resampled)
        assert out.particles.shape == (*replicates, P, D)
        assert out.weights.shape == (*replicates, P)
        assert out.particles.dtype == out.weights.dtype == dtype
        assert out.particles.isfinite().all()
        if out.jitter is not None:
            assert out.jitter.shape == replicates
            assert (out.jitter == 0).all()
        if out.log_prob is not None:
            assert out.log_prob.shape == (*replicates, P)


@every
def test_weights_are_a_distribution(resampler):
    prediction, particles, noise = inputs(resampler, 3)
    for out in two_steps(resampler, prediction.mean, prediction.std, particles, noise):
        assert (out.weights >= 0).all()
        torch.testing.assert_close(out.weights.sum(-1), torch.ones(3, dtype=torch.float64))


@every
def test_repeats_bitwise_without_the_global_generator_and_leaves_its_inputs_alone(resampler):
    prediction, particles, noise = inputs(resampler)
    given = (prediction.mean, prediction.std, particles, noise)
    copies = [t.clone() for t in given]
    generator_state = torch.get_rng_state()
    once = two_steps(resampler, *given)
    assert torch.equal(torch.get_rng_state(), generator_state)
    assert all(torch.equal(t, copy) for t, copy in zip(given, copies, strict=True))
    torch.manual_seed(123)
    again = two_steps(resampler, *given)
    for a, b in zip(once, again, strict=True):
        assert torch.equal(a.particles, b.particles)
        assert torch.equal(a.weights, b.weights)


@every
def test_noise_has_an_effect_only_where_it_is_used(resampler):
    prediction, particles, noise = inputs(resampler)
    moved = resampler(prediction, particles, noise + 0.5, None).particles
    same = torch.equal(moved, resampler(prediction, particles, noise, None).particles)
    assert same == (not resampler.mixes_particles)


@every
@both_dtypes
def test_replicates_equal_a_loop(resampler, dtype):
    prediction, particles, noise = inputs(resampler, 2, 3, dtype=dtype)
    given = (prediction.mean, prediction.std, particles, noise)
    together = two_steps(resampler, *given)
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    for i in range(2):
        for j in range(3):
            alone = two_steps(resampler, *(t[i, j] for t in given))
            for a, b in zip(together, alone, strict=True):
                torch.testing.assert_close(a.particles[i, j], b.particles, **tolerance)
                torch.testing.assert_close(a.weights[i, j], b.weights, **tolerance)


@every
def test_gradient_is_the_derivative_where_it_says_so(resampler):
    prediction, particles, noise = inputs(resampler, particles=12 if resampler.min_particles(D) <= 12 else P)
    leaves = [t.clone().requires_grad_() for t in (prediction.mean, prediction.std, particles)]

    def outputs(mean, std, x):
        first, second = two_steps(resampler, mean, std, x, noise)
        return first.particles, first.weights, second.particles, second.weights

    exact = torch.autograd.gradcheck(outputs, leaves, raise_exception=False, check_undefined_grad=False)
    assert exact == resampler.exact_gradient


@every
def test_mixes_particles_is_truthful(resampler):
    prediction, particles, noise = inputs(resampler)
    nudge = torch.zeros(P, 1, dtype=torch.float64)
    nudge[5] = 0.3
    before = resampler(prediction, particles, noise, None).particles
    nudged = Prediction(prediction.mean + nudge, prediction.std)
    after = resampler(nudged, particles + nudge, noise, None).particles
    others = torch.arange(P) != 5
    assert (not torch.equal(before[others], after[others])) == resampler.mixes_particles


SHAPES = {
    "all_at_one_point": (0.0, 0.0, 0.0),
    "one_dimension_collapsed": (1.0, 0.0, 1.0),
    "huge": (1e6, 1e6, 1e6),
    "tiny": (1e-6, 1e-6, 1e-6),
    "mixed": (1e6, 1e-6, 1.0),
}


@every
@both_dtypes
@pytest.mark.parametrize("scale", SHAPES.values(), ids=SHAPES)
def test_finite_on_degenerate_clouds(resampler, dtype, scale):
    prediction, particles, noise = inputs(resampler, particles=30, dims=3, dtype=dtype)
    scale, centre = torch.tensor(scale, dtype=dtype), torch.tensor([0.3, -0.7, 2.0], dtype=dtype)
    given = (centre + scale * prediction.mean, scale * prediction.std, centre + scale * particles, noise)
    for out in two_steps(resampler, *given):
        assert out.particles.isfinite().all()
        assert out.weights.isfinite().all()
    for gradient in gradients(resampler, *given):
        assert gradient is None or gradient.isfinite().all()
    out = resampler(Prediction(*given[:2]), *given[2:], None)
    collapsed = scale == 0
    expected = centre[collapsed].expand(30, -1)
    torch.testing.assert_close(out.particles[:, collapsed], expected, rtol=5e-6, atol=0)


@every
@both_dtypes
def test_finite_on_perfectly_correlated_particles_without_predicted_variance(resampler, dtype):
    prediction, _, noise = inputs(resampler, particles=30, dims=3, dtype=dtype)
    line = prediction.mean[:, :1] * torch.tensor([1.0, -2.0, 3.0], dtype=dtype)
    for out in two_steps(resampler, line, torch.zeros_like(line), line, noise):
        assert out.particles.isfinite().all()
    for gradient in gradients(resampler, line, torch.zeros_like(line), line, noise):
        assert gradient is None or gradient.isfinite().all()


@every
@both_dtypes
def test_units_do_not_matter(resampler, dtype):
    prediction, particles, noise = inputs(resampler, particles=30, dims=3, dtype=dtype)
    units = torch.tensor([2.0**20, 2.0**-20, 2.0**4], dtype=dtype)  # powers of two scale without rounding
    plain = resampler(prediction, particles, noise, None)
    rescaled = Prediction(units * prediction.mean, units * prediction.std)
    scaled = resampler(rescaled, units * particles, noise, None)
    torch.testing.assert_close(scaled.particles / units, plain.particles, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scaled.weights, plain.weights, rtol=1e-5, atol=1e-6)


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_propagates_in_its_own_replicate_only(resampler, bad):
    prediction, particles, noise = inputs(resampler, 2)
    mean, x = prediction.mean.clone(), particles.clone()
    mean[0, 3, 1] = x[0, 3, 1] = bad
    broken = two_steps(resampler, mean, prediction.std, x, noise)
    assert not all(out.particles[0].isfinite().all() for out in broken)
    intact = two_steps(resampler, mean[1], prediction.std[1], x[1], noise[1])
    for out, alone in zip(broken, intact, strict=True):
        torch.testing.assert_close(out.particles[1], alone.particles)


@every
def test_validates_the_number_of_particles(resampler):
    fewest = resampler.min_particles(4)
    resampler.validate(fewest, 4)
    prediction, particles, noise = inputs(resampler, particles=fewest, dims=4)
    assert resampler(prediction, particles, noise, None).particles.isfinite().all()
    message = rf"{resampler.name}.*at least {fewest} particles.*got {fewest - 1}: raise"
    with pytest.raises(ValueError, match=message):
        resampler.validate(fewest - 1, 4)


@every_class
def test_declares_itself(cls):
    assert issubclass(cls, Resampler)
    assert cls.name == cls.name.lower()
    assert isinstance(cls.mixes_particles, bool)
    assert cls().noise_dims(4) >= 4
    assert RESAMPLERS.to_dict(cls())["name"] == cls.name


@every_class
def test_is_frozen(cls):
    names = [field.name for field in dataclasses.fields(cls)] or ["anything"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cls(), names[0], 1)


@every_class
def test_every_option_is_documented_where_it_is_declared(cls):
    body = ast.parse(inspect.getsource(cls)).body[0].body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        option = isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation)
        if option:
            assert isinstance(following, ast.Expr), ast.unparse(statement)
            assert isinstance(following.value.value, str)
            assert "\n" not in following.value.value


def test_the_four_strategies_of_the_paper_are_registered():
    assert set(RESAMPLERS.names()) >= {"none", "gaussian", "interpolated", "mixture"}
