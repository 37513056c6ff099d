"""The network with dropout: its masks, its derivatives, its fit, and learned rates."""

import pytest
import torch

from mbrl_agent import Dropout, OptionError
from mbrl_agent.dynamics.base import DynamicsModel
from mbrl_agent.features import AngleFeatures
from mbrl_agent.targets import Targets
from mbrl_agent.types import Transitions

FEATURES = AngleFeatures(3, (1,))


def build(velocity_dims=(), **options):
    model = Dropout(**({"hidden": (16, 12), "functions": 6} | options)).build(
        FEATURES, 2, torch.Generator().manual_seed(0), Targets(FEATURES, velocity_dims)
    )
    for name in ("input_scale", "target_std"):
        getattr(model, name).uniform_(0.5, 2.0)
    return model


def inputs(model, particles=12, dtype=torch.float32):
    torch.manual_seed(1)
    state, action = torch.randn(2, particles, 3, dtype=dtype), torch.randn(2, particles, 2, dtype=dtype)
    extra = model.noise_dims - 3
    return state, action, torch.randn(2, particles, extra, dtype=dtype) if extra else None


@pytest.mark.parametrize("propagation", ["fixed", "per-step"])
@pytest.mark.parametrize("velocity_dims", [(), ((1, 2),)])
def test_derivatives_are_those_of_autograd(propagation, velocity_dims):
    model = build(propagation=propagation, velocity_dims=velocity_dims).double()
    state, action, extra = inputs(model, dtype=torch.float64)
    prediction, pull_back = model.predictor().vjp(state, action, extra)
    general, by_autograd = DynamicsModel.predictor(model).vjp(state, action, extra)
    torch.testing.assert_close(prediction.mean, general.mean)
    torch.testing.assert_close(prediction.std, general.std)
    by = torch.randn_like(prediction.mean)
    for own, other in zip(pull_back(by, None), by_autograd(by, None), strict=True):
        torch.testing.assert_close(own, other)


def test_a_particle_keeps_its_function_and_particles_differ():
    model = build()
    state, action, _ = inputs(model)
    same = state[:, :1].expand_as(state), action[:, :1].expand_as(action)
    mean = model.predict(*same).mean
    assert torch.equal(mean, model.predict(*same).mean)
    assert torch.equal(mean[:, 0], mean[:, 1])  # particles 0 and 1 of 12 have the first of 6 masks
    assert not torch.allclose(mean[:, 0], mean[:, 2])
    assert torch.equal(mean[0, 2], mean[0, 3])


def test_masks_drawn_at_each_step_drop_the_stated_share():
    model = build(hidden=(400,), propagation="per-step", rate=0.3)
    noise = torch.randn(1, 1000, model.noise_dims - 3, generator=torch.Generator().manual_seed(2))
    (mask,) = model.predictor().dropout.of_particles(1000, noise)
    assert float((mask == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.02)  # the mean of a unit stays as it is


def test_masks_of_a_model_drop_the_stated_share():
    model = Dropout(hidden=(300,), functions=300, rate=0.2).build(
        FEATURES, 1, torch.Generator().manual_seed(0)
    )
    assert float(model.kept.float().mean()) == pytest.approx(0.8, abs=0.01)


def wave(count, noise=0.05):
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    actions = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 2 - 1
    change = torch.stack([states[:, 1].sin(), actions[:, 0], 0.5 * states[:, 0]], dim=-1)
    noise = noise * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return Transitions(states, actions, states + change + noise)


def test_a_fit_finds_the_function_and_the_noise():
    model = Dropout(rate=0.02, fit_steps=1000).build(FEATURES, 2, torch.Generator().manual_seed(0))
    report = model.fit(wave(300), torch.Generator().manual_seed(0))
    assert report.train_nll == pytest.approx(float(report.curve[-1]))
    assert float(report.curve[-1]) < float(report.curve[0]) - 1
    score = model.score(wave(1000))
    assert all(error < 0.25 for error in score.rmse)
    std = model.predict(torch.zeros(1, 3), torch.zeros(1, 2)).std
    assert (std > 0.03).all()
    assert (std < 0.3).all()


def test_a_learned_rate_is_lower_where_data_leave_less_doubt():
    rates = []
    for count in (20, 1000):
        model = Dropout(concrete=True, fit_steps=600).build(FEATURES, 2, torch.Generator().manual_seed(0))
        model.fit(wave(count, noise=0.01), torch.Generator().manual_seed(0))
        rates.append(model.rates)
    assert (rates[1] < rates[0]).all()
    assert all(((rate >= 0.002) & (rate <= 0.5)).all() for rate in rates)


def test_equal_seeds_give_equal_models():
    states = []
    for _ in range(2):
        model = Dropout(hidden=(8,), fit_steps=5, functions=4).build(
            FEATURES, 2, torch.Generator().manual_seed(0)
        )
        model.fit(wave(30), torch.Generator().manual_seed(5))
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.7}, "must be at most 0.5"),
        ({"rate": 0.0}, "rate"),
        ({"hidden": ()}, "needs at least one layer"),
        ({"propagation": "often"}, "propagation"),
        ({"functions": 0}, "functions"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Dropout(**options)
