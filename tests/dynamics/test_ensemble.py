"""The ensemble: batching equals loops, members own blocks of particles, the fit recovers what is known."""

import math

import pytest
import torch

from mbrl_agent.dynamics.base import Predictor
from mbrl_agent.dynamics.ensemble import Ensemble, EnsembleModel
from mbrl_agent.dynamics.ensemble_fit import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    _check_converged,
    fit_layers,
    loss_gradient,
)
from mbrl_agent.errors import DivergedError
from mbrl_agent.features import AngleFeatures
from mbrl_agent.types import Transitions

D, U = 3, 2
ANGLES = (1,)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(count: int = 40, seed: int = 0, dims: int = D, noise: float = 0.1) -> Transitions:
    """A linear-Gaussian system x' = x + 0.3 x_next_dim + 0.5 u + noise."""
    g = generator(seed)
    states = torch.randn(count, dims, generator=g) * torch.linspace(0.5, 2, dims) + 1.0
    actions = torch.rand(count, U, generator=g) * 2 - 1
    change = 0.3 * states.roll(1, -1) + 0.5 * actions[:, :1] - 0.2 * actions[:, 1:]
    return Transitions(states, actions, states + change + noise * torch.randn(count, dims, generator=g))


def make(dims: int = D, angles: tuple[int, ...] = ANGLES, seed: int = 0, **options) -> EnsembleModel:
    settings = {"members": 3, "hidden": (8, 8), "fit_steps": 20} | options
    return Ensemble(**settings).build(AngleFeatures(dims, angles), U, generator(seed))


def randomised(dtype: torch.dtype = torch.float32, **options) -> EnsembleModel:
    """A model with random weights and random scalers everywhere, as after a fit."""
    model = make(**options)
    g = generator(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=g))
        model.target_std.copy_(torch.rand(D, generator=g) + 0.5)
        model.target_mean.copy_(torch.randn(D, generator=g))
        model.input_mean.copy_(torch.randn(model.input_mean.shape, generator=g))
        model.input_scale.copy_(torch.rand(model.input_scale.shape, generator=g) + 0.5)
    return model.to(dtype)


def inputs(*shape: int, seed: int = 2, dtype: torch.dtype = torch.float32):
    g = generator(seed)
    state = torch.randn(*shape, D, generator=g, dtype=dtype)
    return state, torch.rand(*shape, U, generator=g, dtype=dtype) * 2 - 1


def member_by_hand(model: EnsembleModel, member: int, state, action):
    """One member's network, layer by layer, on standardised features written out by hand."""
    x, theta, z = state.unbind(-1)
    raw_inputs = torch.stack([x, z, theta.sin(), theta.cos(), *action.unbind(-1)], -1)
    hidden = (raw_inputs - model.input_mean) * model.input_scale
    for layer, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        hidden = hidden @ weight[member] + bias[member, 0]
        if layer + 1 < len(model.weights):
            hidden = hidden * hidden.sigmoid()
    raw = hidden[..., D:]
    std = (LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * raw.sigmoid()).exp() * model.target_std
    return state + hidden[..., :D] * model.target_std + model.target_mean, std


# prediction ------------------------------------------------------------------------------------------------


def test_a_batch_is_a_loop_over_the_members():
    model = randomised(torch.float64)
    state, action = inputs(6, dtype=torch.float64)
    prediction = model.predict(state, action)
    for i in range(6):
        mean, std = member_by_hand(model, i // 2, state[i], action[i])
        torch.testing.assert_close(prediction.mean[i], mean)
        torch.testing.assert_close(prediction.std[i], std)


@pytest.mark.parametrize("replicates", [(), (2,), (2, 3)])
@pytest.mark.parametrize("member", [0, 1, 2])
def test_a_member_serves_its_own_block_of_particles_and_no_other(replicates, member):
    model = randomised()
    state, action = inputs(*replicates, 6)
    before = model.predict(state, action)
    with torch.no_grad():
        model.weights[0][member] += 0.1
    after = model.predict(state, action)
    changed = (before.mean != after.mean).any(-1)
    assert torch.equal(changed, (torch.arange(6) // 2 == member).expand(*replicates, 6))


def test_replicates_are_a_loop():
    model = randomised(torch.float64)
    state, action = inputs(2, 4, 6, dtype=torch.float64)
    together = model.predict(state, action)
    for i in range(2):
        for j in range(4):
            alone = model.predict(state[i, j], action[i, j])
            torch.testing.assert_close(together.mean[i, j], alone.mean)
            torch.testing.assert_close(together.std[i, j], alone.std)


def test_a_full_turn_makes_no_difference():
    model = randomised(torch.float64)
    state, action = inputs(6, dtype=torch.float64)
    turned = state.clone()
    turned[:, 1] += 2 * math.pi
    one, other = model.predict(state, action), model.predict(turned, action)
    torch.testing.assert_close(other.mean - turned, one.mean - state)
    torch.testing.assert_close(other.std, one.std)


def test_fixed_propagation_needs_no_more_noise():
    assert make().noise_dims == D


def test_per_step_propagation_deals_the_particles_out_evenly():
    model = randomised(torch.float64, propagation="per-step")
    assert model.noise_dims == D + 1
    state, action = inputs(2, 60, dtype=torch.float64)
    by_member = [member_by_hand(model, m, state, action)[0] for m in range(3)]
    owners = []
    for seed in range(2):
        extra = torch.randn(2, 60, 1, generator=generator(seed), dtype=torch.float64)
        prediction = model.predict(state, action, extra)
        distance = torch.stack([(prediction.mean - mean).abs().amax(-1) for mean in by_member])
        assert float(distance.min(0).values.max()) < 1e-9
        owners.append(distance.argmin(0))  # (2, 60)
        for replicate in owners[-1]:
            assert replicate.bincount(minlength=3).tolist() == [20, 20, 20]
    assert not torch.equal(owners[0], owners[1])
    assert not torch.equal(owners[0][0], owners[0][1])


@pytest.mark.parametrize("raw", [-1e6, -3.0, 0.0, 3.0, 1e6])
def test_the_standard_deviation_is_bounded(raw):
    model = randomised()
    with torch.no_grad():
        model.biases[-1][..., D:] = raw
    std = model.predict(*inputs(6)).std / model.target_std
    assert bool((std >= math.exp(LOG_STD_MIN) * 0.999).all())
    assert bool((std <= math.exp(LOG_STD_MAX) * 1.001).all())


# fit -------------------------------------------------------------------------------------------------------


def test_a_linear_gaussian_system_is_recovered():
    model = make(angles=(), members=2, hidden=(64, 64), fit_steps=300)
    model.fit(data(300), generator(1))
    fresh = data(300, seed=9, noise=0.0)
    prediction = model.predict(fresh.states, fresh.actions)
    error = (prediction.mean - fresh.next_states).square().mean().sqrt()
    assert float(error) < 0.08  # the noise is 0.1, the changes have a standard deviation of 0.5
    assert 0.08 < float(prediction.std.mean()) < 0.15  # with what a member does not know


def test_a_fit_repeats_bitwise_and_leaves_the_global_generator_alone():
    models = [make() for _ in range(2)]
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        report = model.fit(data(), generator(7))
        assert torch.equal(torch.get_rng_state(), before)
        assert report.curve.shape == (20,)
        assert report.train_nll == float(report.curve[-1])
    one, other = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_fit_depends_on_its_generator_and_not_on_earlier_fits():
    model, fresh = make(), make()
    model.fit(data(seed=5), generator(1))
    model.fit(data(), generator(7))
    fresh.fit(data(), generator(7))
    assert all(torch.equal(model.state_dict()[k], v) for k, v in fresh.state_dict().items())
    fresh.fit(data(), generator(8))
    assert not torch.equal(model.weights[0], fresh.weights[0])


def test_a_warm_start_goes_on_from_the_last_fit():
    """Whatever the units of the data are now: a fit that hardly moves leaves the predictions alone."""
    first = make(fit_steps=200)
    first.fit(data(), generator())
    warm = make(fit_steps=1, learning_rate=1e-9, weight_decay=0.0, warm_start=True)
    warm.load_state_dict(first.state_dict())
    other = data(60, seed=5)
    shifted = Transitions(3 * other.states + 7, other.actions, 3 * other.next_states + 8)
    state, action = inputs(6)
    before = warm.predict(state, action)
    warm.fit(shifted, generator(1))
    after = warm.predict(state, action)
    assert not torch.equal(warm.weights[0], first.weights[0])
    torch.testing.assert_close(after.mean, before.mean, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(warm.input_mean, first.input_mean)
    cold = make(fit_steps=1, learning_rate=1e-9, weight_decay=0.0)
    cold.load_state_dict(first.state_dict())
    cold.fit(shifted, generator(1))
    assert not torch.allclose(cold.predict(state, action).mean, before.mean, atol=0.1)


def test_the_first_fit_is_the_same_with_and_without_a_warm_start():
    models = [make(warm_start=warm) for warm in (False, True)]
    curves = [model.fit(data(), generator()).curve for model in models]
    assert torch.equal(*curves)


def test_the_loss_falls_and_the_members_differ():
    model = make(fit_steps=200)
    report = model.fit(data(), generator(1))
    assert report.train_nll < float(report.curve[0]) - 0.3
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert not torch.allclose(model.weights[0][one], model.weights[0][other], atol=1e-2)


def test_a_member_is_not_fitted_to_what_it_leaves_out():
    g = generator(2)
    layers = make()._draw_layers(g)
    inputs = torch.randn(20, 6, generator=g)
    targets = inputs[:, :D].clone()  # what a fit predicts better at every step
    left_out = torch.zeros(3, 20, dtype=torch.bool)
    left_out[1, 4] = True
    one = fit_layers(layers, inputs, targets, left_out, Ensemble(fit_steps=3)).layers
    targets[4] += 1e-3  # (little, so that it judges the fit of all alike)
    other = fit_layers(layers, inputs, targets, left_out, Ensemble(fit_steps=3)).layers
    changed = [not torch.equal(one[0][0][member], other[0][0][member]) for member in range(3)]
    assert changed == [True, False, True]


def test_the_gradient_of_a_fit_is_that_of_autograd():
    """In double precision, of the loss written out anew; a dimension that never varies does not count."""
    g = generator(2)
    layers = [(w.double() + 0.1, b.double() + 0.2) for w, b in make()._draw_layers(g)]
    inputs = torch.randn(20, 6, generator=g).double()
    targets, weights = torch.randn(20, D, generator=g).double(), torch.rand(3, 20, generator=g).double()
    shares = torch.tensor([0.0] + [1 / (D - 1)] * (D - 1), dtype=torch.float64)
    terms = weights.unsqueeze(-1) * shares / 20
    leaves = [value.requires_grad_() for layer in layers for value in layer]
    hidden = inputs.expand(3, 20, 6)
    for weight, bias in layers[:-1]:
        hidden = torch.nn.functional.silu(hidden @ weight + bias)
    mean, raw = (hidden @ layers[-1][0] + layers[-1][1]).chunk(2, dim=-1)
    std = (LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * raw.sigmoid()).exp()
    expected = -(torch.distributions.Normal(mean, std).log_prob(targets) @ shares * weights).mean(-1)
    by_leaves = torch.autograd.grad(expected.sum(), leaves)
    with torch.no_grad():
        found = loss_gradient(layers, inputs.expand(3, 20, 6).contiguous(), targets, terms)
    torch.testing.assert_close(found.losses, expected.detach())
    gradients = [*found.by_weights, *found.by_biases]
    for own, other in zip(gradients, [*by_leaves[::2], *by_leaves[1::2]], strict=True):
        torch.testing.assert_close(own, other)


def test_a_fit_in_float64():
    transitions = Transitions(*(tensor.double() for tensor in vars(data()).values()))
    model = make().double()
    model.fit(transitions, generator(1))
    prediction = model.predict(transitions.states[:30], transitions.actions[:30])
    assert prediction.mean.dtype == torch.float64


# score -----------------------------------------------------------------------------------------------------


def test_the_score_is_what_it_says():
    model = randomised(torch.float64)
    d = data(7)
    state, action, after = (tensor.double() for tensor in (d.states, d.actions, d.next_states))
    score = model.score(Transitions(state, action, after))
    total, means = 0.0, []
    for member in range(3):
        mean, std = member_by_hand(model, member, state, action)
        error = shorter_way_round(after - mean)
        normal = torch.distributions.Normal(torch.zeros_like(error), std / model.target_std)
        total += float(-normal.log_prob(error / model.target_std).mean()) / 3
        means.append(error)
    assert score.nll == pytest.approx(total)
    rmse = torch.stack(means).mean(0).square().mean(0).sqrt()
    assert score.rmse == pytest.approx(rmse.tolist())


def shorter_way_round(error):
    wrapped = error.clone()
    wrapped[:, ANGLES] = torch.atan2(error[:, ANGLES].sin(), error[:, ANGLES].cos())
    return wrapped


def test_a_wrapped_angle_is_fitted_like_an_unwrapped_one():
    d = data()
    seam = d.next_states.clone()
    seam[::3, ANGLES[0]] -= 2 * math.pi
    wrapped = Transitions(d.states, d.actions, seam)
    plain, across = make(), make()
    plain.fit(d, generator(1))
    across.fit(wrapped, generator(1))
    expected = plain.predict(d.states[:30], d.actions[:30])
    torch.testing.assert_close(
        across.predict(d.states[:30], d.actions[:30]).mean, expected.mean, atol=1e-2, rtol=0
    )
    assert across.score(wrapped).rmse == pytest.approx(across.score(d).rmse, rel=1e-3)


# derivatives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("propagation", ["fixed", "per-step"])
@pytest.mark.parametrize("angles", [(), (1,), (2, 0), (0, 1, 2)])
@pytest.mark.parametrize("hidden", [(8,), (8, 6), (5, 7, 6)])
@pytest.mark.parametrize("replicates", [(), (2,), (2, 3)])
def test_the_derivative_is_autograds(propagation, angles, hidden, replicates):
    model = randomised(torch.float64, propagation=propagation, angles=angles, hidden=hidden)
    state, action = inputs(*replicates, 6, dtype=torch.float64)
    g = generator(3)
    noise = torch.randn(*replicates, 6, 1, generator=g, dtype=torch.float64)
    extra = noise if propagation == "per-step" else None
    own, pull_back = model.predictor().vjp(state, action, extra)
    general = model.predict(state, action, extra)
    assert torch.equal(own.mean, general.mean)
    assert torch.equal(own.std, general.std)
    by_mean, by_std = (torch.randn(state.shape, generator=g, dtype=torch.float64) for _ in range(2))
    for by in ((by_mean, by_std), (by_mean, None), (0 * by_mean, by_std)):
        held = [None if value is None else value.clone() for value in by]
        reference = Predictor(model.predict).vjp(state, action, extra)[1](*by)
        for found, expected in zip(pull_back(*by), reference, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        assert all(a is b or torch.equal(a, b) for a, b in zip(by, held, strict=True))


# errors and storage ----------------------------------------------------------------------------------------


def test_too_few_transitions():
    with pytest.raises(ValueError, match=r"at least 5 transitions, got 4: collect a longer episode"):
        make().fit(data(4), generator())


@pytest.mark.parametrize("field", ["states", "actions", "next_states"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite(field, value):
    transitions = data()
    getattr(transitions, field)[3, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        make().fit(transitions, generator())


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({"weight_decay": 1.0, "fit_steps": 200}, "nan"),
        ({"weight_decay": 1.0, "fit_steps": 5}, r"\S+"),
        ({"weight_decay": 0.0, "fit_steps": 20}, r"\S+"),  # finite, and of no use
    ],
)
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_fit_that_diverges(options, last, warm_start):
    model = make(learning_rate=1e3, warm_start=warm_start, **options)
    message = rf"diverged: its loss went from \S+ to {last} in {options['fit_steps']} steps; .* than 1000"
    with pytest.raises(DivergedError, match=message):
        model.fit(data(), generator())
    assert all(value.isfinite().all() for value in model.parameters())


def test_networks_that_end_not_finite_have_diverged():
    layers = make()._draw_layers(generator())
    layers[0][0][0, 0, 0] = math.inf
    parameters = [value for layer in layers for value in layer]
    with pytest.raises(DivergedError):
        _check_converged(parameters, torch.tensor([2.0, 1.0]), Ensemble())


def test_particles_must_be_a_multiple_of_the_members():
    make().validate(12)
    with pytest.raises(ValueError, match=r"10 particles do not split evenly over 3 .* for example 9"):
        make().validate(10)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"members": 0}, ValueError),
        ({"members": 2.0}, TypeError),
        ({"hidden": ()}, ValueError),
        ({"hidden": (8, 0)}, ValueError),
        ({"hidden": 8}, TypeError),
        ({"propagation": "sometimes"}, ValueError),
        ({"fit_steps": 0}, ValueError),
        ({"learning_rate": 0.0}, ValueError),
        ({"learning_rate": math.nan}, ValueError),
        ({"weight_decay": -1.0}, ValueError),
    ],
)
def test_options_are_checked(options, error):
    with pytest.raises(error, match=next(iter(options))):
        Ensemble(**options)


def test_a_state_dict_round_trip_predicts_the_same():
    model, copy = make(), make(seed=5)
    model.fit(data(), generator(1))
    copy.load_state_dict(model.state_dict())
    state, action = inputs(6)
    one, other = model.predict(state, action), copy.predict(state, action)
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.std, other.std)
