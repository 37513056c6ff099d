"""Errors, spread and maps against a model and a policy whose answers are known."""

import io
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image

from mbrl_agent.agent.replay import Episode
from mbrl_agent.dynamics.base import DynamicsModel
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.run import inspection
from mbrl_agent.run.figures import encode_png
from mbrl_agent.types import Prediction

LABELS = ["x [m]", "theta [rad]"]


class Shift(DynamicsModel):
    """s' = s + (a, a) + bias of the particle's function, of which there are two; std is constant."""

    def __init__(self, bias=(0.0, 0.0), std=0.0, extra=0):
        super().__init__()
        self.bias, self.std, self.noise_dims = torch.tensor(bias), std, 2 + extra
        self.extra = extra

    def predict(self, state, action, extra_noise=None):
        assert (extra_noise is None) == (self.extra == 0)
        if extra_noise is not None:
            assert extra_noise.shape == (*state.shape[:-1], self.extra)
        particles = state.shape[-2]
        which = torch.arange(particles) // (particles // 2)
        mean = state + action + self.bias[which][:, None]
        return Prediction(mean, torch.full_like(mean, self.std))

    def validate(self, num_particles):
        if num_particles % 2:
            raise ValueError("an even number of particles, please")

    def fit(self, transitions, generator):
        raise NotImplementedError

    def score(self, transitions):
        raise NotImplementedError


def episode(steps, seed=0, drift=0.0):
    """s' = s + (a, a) + drift."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (steps, 1))
    start = np.array([0.3, 3.0])
    states = np.concatenate([start[None], start + np.cumsum(actions + drift, axis=0)])
    return Episode(states, actions, np.zeros(steps))


def generator():
    return torch.Generator().manual_seed(0)


def errors(model, episodes, steps=5, angles=(), particles=400):
    features = AngleFeatures(2, angles)
    return inspection.prediction_errors(model, features, episodes, steps, particles, generator())


def spread(model, episodes, angles=(), particles=400):
    return inspection.prediction_spread(model, AngleFeatures(2, angles), episodes, particles, generator())


# errors ----------------------------------------------------------------------------------------------------


def test_a_right_model_has_no_error_at_any_number_of_steps_ahead():
    found = errors(Shift(), [episode(8), episode(6, 1)])
    assert found.starts.tolist() == [14, 12, 10, 8, 6]
    np.testing.assert_allclose(found.error, 0, atol=1e-5)
    np.testing.assert_allclose(found.spread, 0, atol=1e-5)
    moved = [np.diff(e.observations, axis=0) for e in (episode(8), episode(6, 1))]
    np.testing.assert_allclose(
        found.unchanged[0], np.sqrt(np.mean(np.square(np.concatenate(moved)), axis=0)), rtol=1e-5
    )


def test_an_error_adds_up_over_the_steps():
    found = errors(Shift(), [episode(8, drift=0.1)])
    np.testing.assert_allclose(found.error, 0.1 * np.arange(1, 6)[:, None] * np.ones(2), rtol=1e-4)


def test_the_spread_grows_by_noise_and_by_disagreement():
    found = errors(Shift(bias=(0.2, -0.2), std=0.1), [episode(8)], particles=4000)
    ahead = np.arange(1, 6)
    expected = np.sqrt(ahead * 0.1**2 + (0.2 * ahead) ** 2)
    np.testing.assert_allclose(found.spread, expected[:, None] * np.ones(2), rtol=0.02)
    np.testing.assert_allclose(found.error, 0, atol=0.02)


def test_angles_are_compared_by_the_shorter_way():
    e = episode(8)
    wrapped = Episode((e.observations + math.pi) % (2 * math.pi) - math.pi, e.actions, e.rewards)
    assert np.abs(wrapped.observations - e.observations).max() > 1
    assert errors(Shift(), [wrapped], angles=(0, 1)).error.max() < 1e-5
    assert spread(Shift(), [wrapped], angles=(0, 1)).error.max() < 1e-5
    assert errors(Shift(), [wrapped]).error.max() > 1


def test_steps_are_cut_to_the_longest_episode():
    assert errors(Shift(), [episode(3), episode(2)], steps=50).starts.tolist() == [5, 3, 1]


def test_a_model_with_noise_of_its_own_gets_it():
    assert errors(Shift(extra=3), [episode(3)]).error.shape == (3, 2)


def test_equal_seeds_give_equal_numbers():
    model = Shift((0.1, -0.1), 0.3)
    first, second = (errors(model, [episode(5)]) for _ in range(2))
    np.testing.assert_array_equal(first.spread, second.spread)


def test_numbers_are_those_of_the_models_precision():
    """Where the model computes in float64, nothing is rounded to float32 on the way."""
    model = Shift()
    model.register_buffer("scale", torch.ones((), dtype=torch.float64))
    assert errors(Shift(), [episode(8)]).error.max() > 0
    assert errors(model, [episode(8)]).error.max() < 1e-13


def test_many_states_are_thinned_out():
    assert errors(Shift(), [episode(900)], particles=2).starts[0] == 200


# spread ----------------------------------------------------------------------------------------------------


def test_noise_and_disagreement_are_told_apart():
    found = spread(Shift(bias=(0.3, -0.1), std=0.05), [episode(8), episode(3, 1)])
    assert found.noise.shape == found.disagreement.shape == found.error.shape == (8, 2)
    np.testing.assert_allclose(found.noise, 0.05, rtol=1e-4)
    np.testing.assert_allclose(found.disagreement, 0.2, rtol=1e-4)
    np.testing.assert_allclose(found.error, 0.1, rtol=1e-3)


def test_episodes_of_other_lengths_count_where_they_are():
    found = spread(Shift(), [episode(2, drift=0.3), episode(4, drift=0.1), episode(0)])
    both = math.sqrt((0.3**2 + 0.1**2) / 2)
    np.testing.assert_allclose(found.error[:, 0], [both, both, 0.1, 0.1], rtol=1e-4)


# the policy ------------------------------------------------------------------------------------------------


def policy():
    """u in [-2, 4] of the first of two dimensions."""
    box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    made = LinearPolicy(box, spaces.Box(np.float32(-2), np.float32(4), (1,), np.float32))
    return made


def test_a_map_is_what_the_policy_predicts():
    made, visited = policy(), np.random.default_rng(0).normal(size=(50, 2))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator())
    found = inspection.policy_map(made, visited, (1, 0), points=7)
    assert found.actions.shape == (7, 7, 1)
    low, high = visited[:, 1].min(), visited[:, 1].max()
    assert found.horizontal[[0, -1]] == pytest.approx([low - 0.1 * (high - low), high + 0.1 * (high - low)])
    state = np.array([found.vertical[5], found.horizontal[2]], np.float32)
    assert found.actions[5, 2] == pytest.approx(made.predict(state, deterministic=True)[0], abs=1e-6)
    assert np.ptp(found.actions) > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": (0, 0)}, "two different ones of 0 to 1"),
        ({"dims": (0, 2)}, "two different ones of 0 to 1"),
        ({"dims": (0,)}, "a map has two dimensions"),
        ({"dims": (-1, 0)}, "at least 0"),
        ({"visited": np.zeros((0, 2))}, "at least one"),
        ({"visited": np.zeros((5, 3))}, r"\(N, 2\)"),
        ({"others": (1, 2, 3)}, "a state of 2 dimensions"),
        ({"points": 1}, "at least 2"),
    ],
)
def test_maps_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        inspection.policy_map(policy(), **{"visited": np.zeros((5, 2)), "dims": (0, 1)} | changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: errors(Shift(), []), "the episodes are empty"),
        (lambda: errors(Shift(), [episode(0)]), "the episodes are empty"),
        (lambda: errors(Shift(), [episode(3)], steps=0), "steps must be at least 1"),
        (lambda: errors(Shift(), [episode(3)], particles=3), "an even number"),
        (lambda: spread(Shift(), []), "the episodes are empty"),
        (lambda: spread(Shift(), [episode(3)], particles=3), "an even number"),
    ],
)
def test_predictions_that_cannot_be(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# pictures and tables ---------------------------------------------------------------------------------------


def test_pictures_show_the_numbers():
    found = errors(Shift(bias=(0.2, -0.2), std=0.1), [episode(8)])
    figure = inspection.error_figure(found, LABELS, 0.1)
    assert [axis.get_ylabel() for axis in figure.axes] == LABELS
    line = figure.axes[1].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0.1, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_array_equal(line.get_ydata(), found.error[:, 1])
    along = spread(Shift(bias=(0.2, -0.2), std=0.1), [episode(8)])
    figure = inspection.spread_figure(along, LABELS)
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), along.disagreement[:, 0])
    assert figure.axes[0].get_xlabel() == "steps of the episode"


def test_pictures_are_pictures():
    one = errors(Shift(), [episode(1)])
    found = inspection.policy_map(policy(), np.zeros((5, 2)), (0, 1), points=5)  # nothing ever moved
    for figure in (
        inspection.error_figure(one, LABELS),
        inspection.policy_figure(found, LABELS, np.zeros((5, 2))),
    ):
        assert Image.open(io.BytesIO(encode_png(figure))).format == "PNG"


def test_tables_hold_the_numbers():
    found = errors(Shift(), [episode(8, drift=0.1)])
    table = inspection.error_table(found, LABELS)
    assert table.rows[3] == [2, LABELS[1], 7, found.error[1, 1], found.spread[1, 1], found.unchanged[1, 1]]
    along = spread(Shift(std=0.1), [episode(8)])
    assert inspection.spread_table(along, LABELS).rows[5][:4] == [3, LABELS[1], along.noise[2, 1], 0.0]
    grid = inspection.policy_map(policy(), np.eye(2), (0, 1), points=3)
    table = inspection.policy_table(grid, LABELS)
    assert table.columns == [*LABELS, "action_0"]
    assert table.rows[5] == [grid.horizontal[2], grid.vertical[1], grid.actions[1, 2, 0]]
    assert len(table.text().splitlines()) == 10


# over one dimension, and over the trials --------------------------------------------------------------------


def test_a_curve_is_what_the_policy_predicts():
    made, visited = policy(), np.random.default_rng(0).normal(size=(50, 2))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator())
    found = inspection.policy_curve(made, visited, 1, others=(0.5, 9.0), points=5)
    states = np.column_stack([np.full(5, 0.5), found.values]).astype(np.float32)
    np.testing.assert_allclose(found.actions, made.predict(states)[0], atol=1e-6)
    assert inspection.curve_table(found, LABELS).rows[3] == [found.values[3], found.actions[3, 0]]
    for dim in (2, -1):
        with pytest.raises(ValueError, match="the dimension must be"):
            inspection.policy_curve(made, visited, dim)


def test_the_dimension_that_matters_comes_first():
    made, visited = policy(), np.random.default_rng(0).normal(size=(50, 2)) * [100.0, 0.01]
    with torch.no_grad():
        made.bias.zero_()
        for weights, expected in (((1e-3, 1e-5), [0, 1]), ((1e-6, 10.0), [1, 0])):
            made.weights.copy_(torch.tensor(weights)[:, None])
            assert inspection.influential_dims(made, visited) == expected
