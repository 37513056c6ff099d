"""What never changes is predicted exactly, and noise is relative to a dimension's own change."""

import math
from dataclasses import replace

import pytest
import torch

from mbrl_agent.dynamics.base import Predictor
from mbrl_agent.dynamics.ensemble import Ensemble, EnsembleModel
from mbrl_agent.dynamics.ensemble_fit import LOG_STD_MIN
from mbrl_agent.errors import DivergedError
from mbrl_agent.features import AngleFeatures
from mbrl_agent.types import Transitions

D, U = 4, 2
GOAL, CLOCK = 2, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(count: int = 60, goal: float | None = None, magnitude: float = 1.0, seed: int = 0) -> Transitions:
    """A pushed position and its velocity, a goal, and a clock with ticks of 0.1 s; float64.

    Args:
        count: N.
        goal: The same in all episodes; None for one of its own in each.
        magnitude: Unit of the position.
        seed: Of the data.
    """
    g = generator(seed)
    states = torch.randn(count, D, generator=g, dtype=torch.float64)
    actions = torch.rand(count, U, generator=g, dtype=torch.float64) * 2 - 1
    if goal is not None:
        states[:, GOAL] = goal
    clock = 0.1 * torch.arange(count + 1, dtype=torch.float64) + 1e6
    states[:, CLOCK] = clock[:-1]
    noise = 0.05 * torch.randn(count, 2, generator=g, dtype=torch.float64)
    push = 0.3 * states[:, 1:2] + 0.2 * actions[:, :1] + noise
    after = states.clone()
    after[:, :2] += push
    after[:, CLOCK] = clock[1:]
    unit = torch.tensor([magnitude, 1.0, 1.0, 1.0], dtype=torch.float64)
    return Transitions(states * unit, actions, after * unit)


def fitted(transitions: Transitions, dtype: torch.dtype = torch.float32, **options) -> EnsembleModel:
    settings = {"members": 2, "hidden": (8,), "fit_steps": 20} | options
    model = Ensemble(**settings).build(AngleFeatures(D), U, generator()).to(dtype)
    model.fit(transitions, generator(1))
    return model


def predicted(model: EnsembleModel, transitions: Transitions):
    like = model.target_std
    return model.predict(transitions.states.to(like), transitions.actions.to(like))


@pytest.mark.parametrize("goal", [None, 0.1, 293.15])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_goal_stays_and_a_clock_ticks_exactly(goal, dtype):
    transitions = data(goal=goal)
    prediction = predicted(fitted(transitions, dtype), transitions)
    assert torch.equal(prediction.mean[:, GOAL], transitions.states[:, GOAL].to(dtype))
    assert not prediction.std[:, [GOAL, CLOCK]].any()
    assert bool((prediction.std[:, :2] > 0).all())
    ticks = prediction.mean[:, CLOCK].double() - transitions.states[:, CLOCK].to(dtype)
    resolution = 1e6 * torch.finfo(dtype).eps
    torch.testing.assert_close(ticks, torch.full_like(ticks, 0.1), rtol=0.0, atol=resolution)


@pytest.mark.parametrize("rounded", [False, True])
def test_rounding_is_no_change(rounded):
    """Of an ambient temperature that is computed anew at each step, or that is single precision."""
    transitions = data(goal=293.15)
    size = 3e-5 if rounded else 1e-13
    for values in (transitions.states, transitions.next_states):
        values[:, GOAL] += size * torch.randn(len(values), generator=generator(7), dtype=torch.float64)
        if rounded:
            values[:, GOAL] = values[:, GOAL].float().double()
    prediction = predicted(fitted(transitions, torch.float64), transitions)
    assert torch.equal(prediction.mean[:, GOAL], transitions.states[:, GOAL])
    assert not prediction.std[:, GOAL].any()


@pytest.mark.parametrize("magnitude", [1e-4, 1.0, 1e4])
def test_the_noise_floor_is_relative_to_a_dimensions_own_change(magnitude):
    transitions = data(magnitude=magnitude)
    prediction = predicted(fitted(transitions), transitions)
    change = (transitions.next_states - transitions.states)[:, 0].std()
    relative = prediction.std[:, 0] / change
    assert bool((relative >= 0.999 * math.exp(LOG_STD_MIN)).all())
    assert bool((relative < 3).all())


def test_a_dimension_that_hardly_changes_keeps_its_own_noise():
    transitions = data()
    slow = 1e-6 * torch.randn(60, generator=generator(3), dtype=torch.float64)
    transitions.next_states[:, GOAL] = transitions.states[:, GOAL] + slow
    std = predicted(fitted(transitions), transitions).std[:, GOAL]
    assert bool((std > 0).all())
    assert float(std.max()) < 5e-6


def test_inputs_that_never_varied_are_ignored():
    transitions = data(goal=0.5)
    transitions.actions[:, 1] = 0.25
    model = fitted(transitions)
    state, action = transitions.states.float(), transitions.actions.float()
    before = model.predict(state, action)
    action[:, 1] = -1.0
    state[:, GOAL] += 7.0
    after = model.predict(state, action)
    assert torch.equal(after.mean[:, :2], before.mean[:, :2])
    assert torch.equal(after.std, before.std)


def test_constant_dimensions_do_not_count_in_fit_and_score():
    transitions = data(goal=0.5)
    few = Transitions(*(values[:, :2] for values in vars(transitions).values()))
    model = fitted(transitions, fit_steps=300)
    small = Ensemble(members=2, hidden=(8,), fit_steps=300).build(AngleFeatures(2), U, generator())
    report = small.fit(few, generator(1))
    score, expected = model.score(transitions), small.score(few)
    assert score.nll == pytest.approx(expected.nll, abs=0.2)
    assert score.rmse[GOAL] == 0.0
    assert report.train_nll == pytest.approx(float(model.fit(transitions, generator(1)).train_nll), abs=0.4)
    other = Transitions(transitions.states, transitions.actions, transitions.next_states + 1.0)
    assert math.isfinite(model.score(other).nll)
    assert model.score(other).rmse[GOAL] == pytest.approx(1.0)


def test_where_nothing_ever_changes():
    transitions = data()
    still = Transitions(transitions.states, transitions.actions, transitions.states)
    model = fitted(still)
    prediction = predicted(model, still)
    assert torch.equal(prediction.mean, still.states.float())
    assert not prediction.std.any()
    score = model.score(still)
    assert score.nll == 0.0
    assert score.rmse == [0.0] * D


@pytest.mark.parametrize("first", [0.1, None])
def test_a_warm_start_from_data_in_which_a_dimension_did_not_vary(first):
    """It is predicted by its old value's function until the fit has learned more."""
    model = fitted(data(goal=first), warm_start=True)
    transitions = data(seed=4)
    transitions.next_states[:, GOAL] += transitions.actions[:, 0]
    report = model.fit(transitions, generator(2))
    assert bool(report.curve.isfinite().all())
    prediction = predicted(model, transitions)
    assert bool(prediction.mean.isfinite().all())
    assert bool((prediction.std[:, GOAL] > 0).all())
    model.fit(data(goal=0.1), generator(3))
    assert not predicted(model, data(goal=0.1)).std[:, GOAL].any()


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    model = fitted(data(), learning_rate=3e-3)
    model.options = replace(model.options, learning_rate=1e3, weight_decay=1.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    broken = data(seed=3)
    broken.states[0, 0] = math.inf
    with pytest.raises(ValueError, match="not finite"):
        model.fit(broken, generator())
    with pytest.raises(DivergedError):
        model.fit(data(seed=3, magnitude=7.0), generator())
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


def test_changes_are_taken_before_they_are_rounded():
    """A pressure of 101325 Pa that moves by 0.3 Pa, which single precision resolves to 0.008."""
    transitions = data()
    moved = torch.zeros(D, dtype=torch.float64)
    moved[0] = 101325.0
    plain = transitions
    offset = Transitions(plain.states + moved, plain.actions, plain.next_states + moved)
    one, other = fitted(plain, torch.float64), fitted(offset, torch.float64)
    torch.testing.assert_close(
        predicted(other, offset).mean - moved, predicted(one, plain).mean, rtol=1e-5, atol=1e-6
    )
    single = fitted(offset)
    torch.testing.assert_close(single.target_std.double(), one.target_std, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(
        predicted(single, offset).mean.double(), predicted(other, offset).mean, rtol=0.0, atol=0.1
    )


@pytest.mark.parametrize("propagation", ["fixed", "per-step"])
def test_the_derivative_with_constant_dimensions_is_autograds(propagation):
    model = fitted(data(goal=0.5), torch.float64, propagation=propagation)
    transitions = data(seed=8)
    extra = torch.randn(60, 1, generator=generator(5), dtype=torch.float64)
    arguments = (transitions.states, transitions.actions, extra if propagation == "per-step" else None)
    by = (transitions.next_states, transitions.states)
    found = model.predictor().vjp(*arguments)[1](*by)
    expected = Predictor(model.predict).vjp(*arguments)[1](*by)
    for own, reference in zip(found, expected, strict=True):
        assert bool(own.isfinite().all())
        torch.testing.assert_close(own, reference, rtol=1e-10, atol=1e-12)
