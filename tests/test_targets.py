"""What a model predicts of a step, and the way back to states."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.targets import Integration, Targets
from mbrl_agent.types import Transitions
from mbrl_agent.vjp import by_autograd

PAIRS = ((0, 1), (2, 3))
STEP = 0.1


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def targets(pairs=PAIRS, angles=(2,)):
    return Targets(AngleFeatures(4, angles), pairs)


def falling(count=50, unit=1.0, wrapped=False):
    """Make steps of constant acceleration: the trapezoidal rule is exact."""
    g = generator()
    state = torch.randn(count, 4, generator=g, dtype=torch.float64)
    change = torch.randn(count, 2, generator=g, dtype=torch.float64)
    after = state.clone()
    after[:, [1, 3]] += change
    after[:, [0, 2]] += unit * STEP * (state[:, [1, 3]] + change / 2)
    if wrapped:
        state[:, 2], after[:, 2] = (
            torch.remainder(x[:, 2] + math.pi, 2 * math.pi) - math.pi for x in (state, after)
        )
    return Transitions(state, torch.zeros(count, 1, dtype=torch.float64), after)


def test_only_the_other_dimensions_are_predicted():
    chosen = targets()
    data = falling()
    assert (chosen.predicted, len(chosen)) == ((1, 3), 2)
    torch.testing.assert_close(chosen.changes(data), (data.next_states - data.states)[:, [1, 3]])
    assert targets(()).predicted == (0, 1, 2, 3)


@pytest.mark.parametrize("unit", [1.0, -1.0, 180 / math.pi, 1e-3])
def test_the_step_is_found_and_the_rule_is_exact(unit):
    data = falling(unit=unit)
    integration = Integration(targets(angles=()), 1).double()
    integration.fit(data)
    torch.testing.assert_close(integration.step, torch.full((2,), unit * STEP, dtype=torch.float64))
    assert float(integration.noise.max()) < 1e-12 * max(1, abs(unit))
    change = (data.next_states - data.states)[:, [1, 3]]
    prediction, _ = integration.rule().vjp(data.states, data.actions, change, torch.full_like(change, 0.3))
    torch.testing.assert_close(prediction.mean, data.next_states)
    torch.testing.assert_close(prediction.std[:, [1, 3]], torch.full_like(change, 0.3))
    assert float(prediction.std[:, [0, 2]].max()) < 1e-12 * max(1, abs(unit))


def test_a_wrapped_angle_is_followed_over_its_seam():
    data = falling(400, wrapped=True)
    assert float((data.next_states - data.states)[:, 2].abs().max()) > 3  # some steps cross it
    integration = Integration(targets(), 1).double()
    integration.fit(data)
    torch.testing.assert_close(integration.step, torch.full((2,), STEP, dtype=torch.float64))


def test_what_is_left_over_is_the_noise_of_the_position():
    data = falling(4000)
    data.next_states[:, 0] += 0.05 * torch.randn(4000, generator=generator(1), dtype=torch.float64)
    integration = Integration(targets(), 1).double()
    integration.fit(data)
    assert integration.noise.tolist() == pytest.approx([0.05, 0.0], abs=0.003)


def test_a_position_that_never_moves_is_predicted_exactly():
    data = falling()
    states, after = data.states.clone(), data.next_states.clone()
    states[:, :2], after[:, :2] = 7.0, 7.0
    states[:, 1], after[:, 1] = 0.0, 0.0
    integration = Integration(targets(), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        integration.fit(Transitions(states, data.actions, after))
    assert (integration.step[0], integration.noise[0]) == (0, 0)


def test_a_velocity_of_something_else_is_told():
    data = falling(200)
    noise = torch.randn(200, 2, generator=generator(1), dtype=torch.float64)
    data.states[:, 1], data.next_states[:, 1] = noise[:, 0], noise[:, 1]
    with pytest.warns(UserWarning, match="0:1: dimension 1 tells nothing of how dimension 0 changes"):
        Integration(targets(), 1).fit(
            Transitions(data.states, data.actions, data.states.flip(0) * torch.tensor([5.0, 1, 0, 0]))
        )


def test_two_positions_may_share_a_velocity():
    data = falling()
    data.next_states[:, 2] = data.states[:, 2] - (data.next_states[:, 0] - data.states[:, 0])
    integration = Integration(targets(((0, 1), (2, 1)), angles=()), 1).double()
    integration.fit(data)
    torch.testing.assert_close(integration.step, torch.tensor([STEP, -STEP], dtype=torch.float64))
    change = (data.next_states - data.states)[:, [1, 3]]
    prediction, _ = integration.rule().vjp(data.states, data.actions, change, torch.zeros_like(change))
    torch.testing.assert_close(prediction.mean, data.next_states)


def cruising(noise=0.0, seen=0.7, origin=0.0, count=200):
    """Make steps at a constant speed, of which the velocity's dimension shows `seen`."""
    track = origin + 0.7 * STEP * torch.arange(count + 1, dtype=torch.float64).unsqueeze(-1)
    track = torch.cat([track, torch.full_like(track, seen)], -1)
    track = track + noise * torch.randn(track.shape, generator=generator(), dtype=torch.float64)
    return Transitions(track[:-1], torch.zeros(count, 1, dtype=torch.float64), track[1:])


@pytest.mark.parametrize("noise", [0.0, 1e-3, 1e-2])
@pytest.mark.parametrize("origin", [0.0, 1e5])
def test_a_constant_velocity_is_not_blamed(noise, origin):
    data = cruising(noise, origin=origin)
    integration = Integration(Targets(AngleFeatures(2), ((0, 1),)), 1).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        integration.fit(data)
    assert float(integration.step) == pytest.approx(STEP, rel=1e-2)


def test_a_velocity_that_is_always_zero_is_blamed_where_the_position_moves():
    with pytest.warns(UserWarning, match="dimension 1 tells nothing of how dimension 0 changes") as told:
        Integration(Targets(AngleFeatures(2), ((0, 1),)), 1).fit(cruising(seen=0.0))
    assert len(told) == 1


class Operations(TorchDispatchMode):
    """Notes down the operations of a block."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


def test_the_rule_takes_nothing_from_the_host():
    """It is made anew in each gradient step, where a CUDA graph has no place for copies and indices."""
    integration = Integration(targets(), 1)
    integration.fit(falling())
    with Operations() as seen:
        rule = integration.rule()
        rule.vjp(torch.zeros(3, 4), torch.zeros(3, 1), torch.zeros(3, 2), torch.zeros(3, 2))
    assert "mul" in seen.names
    assert not seen.names & {"index", "index_put_", "copy_", "_to_copy", "lift_fresh", "_local_scalar_dense"}


@pytest.mark.parametrize(
    ("pairs", "copies"),
    [
        ((), ()),
        (PAIRS, ()),
        (((2, 1),), ()),
        ((), ((1, 0), (3, 4))),
        (((2, 1),), ((0, 3),)),
        (((2, 1),), ((0, 5), (3, 0))),
    ],
)
@pytest.mark.parametrize("with_std", [True, False])
def test_the_pull_back_is_that_of_autograd(pairs, copies, with_std):
    integration = Integration(Targets(AngleFeatures(4, (2,)), pairs, copies), 2).double()
    integration.fit(falling())
    rule, g = integration.rule(), generator(2)
    count = 4 - len(pairs) - len(copies)
    sizes = (4, 2, count, count)
    state, action, change, std = (torch.randn(2, 3, n, generator=g, dtype=torch.float64) for n in sizes)
    prediction, pull_back = rule.vjp(state, action, change, std)
    before = torch.cat([state, action], dim=-1)
    for index, source in copies:
        assert torch.equal(prediction.mean[..., index], before[..., source])
        assert not prediction.std[..., index].any()
    by_mean = torch.randn(2, 3, 4, generator=g, dtype=torch.float64)
    by_std = torch.randn(2, 3, 4, generator=g, dtype=torch.float64) if with_std else None

    def values(*inputs):
        found = rule.vjp(*inputs)[0]
        return found.mean, found.std

    (mean, _), expected = by_autograd(values, state, action, change, std)
    torch.testing.assert_close(prediction.mean, mean)
    for ours, theirs in zip(pull_back(by_mean, by_std), expected(by_mean, by_std), strict=True):
        if ours is None or theirs is None:
            assert not any(value.any() for value in (ours, theirs) if value is not None)
        else:
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (((0, 4),), "0:4: a state has dimensions 0 to 3"),
        (((-1, 1),), "a state has dimensions 0 to 3"),
        (((0, 0),), "dimension 0 cannot be its own velocity"),
        (((1, 3), (0, 1)), "dimension 1 is a position and a velocity"),
        (((0, 1), (1, 3)), "of a chain only one position"),
        (((0, 1), (0, 3)), "gives a position twice"),
        (((0, 2),), "dimension 2 is an angle"),
    ],
)
def test_pairs_that_cannot_be(pairs, message):
    with pytest.raises(ValueError, match=message):
        targets(pairs)


@pytest.mark.parametrize(
    ("pairs", "copies", "message"),
    [
        ((), ((4, 0),), "4:0: a state has dimensions 0 to 3"),
        ((), ((1, -1),), "a state has dimensions 0 to 3"),
        (((2, 3),), ((3, 1),), "dimension 3 is one of velocity_dims, too"),
        (((2, 3),), ((2, 1),), "dimension 2 is one of velocity_dims, too"),
        ((), ((0, 1), (0, 4)), "gives a dimension twice"),
        ((), ((0, 1), (1, 4), (2, 1), (3, 1)), "no dimension is left to predict"),
        ((), ((0, 6),), "sources are the 4 dimensions of a state and the 2 of an action, got 6"),
    ],
)
def test_copies_that_cannot_be(pairs, copies, message):
    with pytest.raises(ValueError, match=message):
        Integration(Targets(AngleFeatures(4), pairs, copies), 2)


def test_an_ensemble_learns_velocities_and_its_positions_agree_with_them():
    data = falling(100)
    model = Ensemble(members=2, hidden=(8,), fit_steps=30).build(
        AngleFeatures(4, (2,)), 1, generator(), targets()
    )
    assert model.weights[-1].shape[-1] == 2 * 2
    model.fit(data, generator())
    state = torch.randn(10, 4, generator=generator(1))
    prediction = model.predict(state, torch.zeros(10, 1))
    change = prediction.mean - state
    expected = STEP * (state[:, [1, 3]] + change[:, [1, 3]] / 2)
    torch.testing.assert_close(change[:, [0, 2]], expected, atol=1e-5, rtol=1e-4)
    score = model.score(data)
    assert len(score.rmse) == 4
    assert np.isfinite(score.nll)
    copy = Ensemble(members=2, hidden=(8,), fit_steps=30).build(
        AngleFeatures(4, (2,)), 1, generator(5), targets()
    )
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.predict(state, torch.zeros(10, 1)).mean, prediction.mean)
