"""Bias against finite differences, and the forward error of bimodal starts."""

import numpy as np
import pytest
import torch

import envs  # noqa: F401
from mbrl_agent.search.initial_states import InitialStates
from mbrl_agent.study.gradients.bias import compare_slopes, finite_differences, moved, projected_gradients
from mbrl_agent.study.gradients.bimodal import BimodalStates, Modes, forward_errors
from mbrl_agent.study.gradients.directions import random_directions
from mbrl_agent.study.gradients.sampling import Sampling
from mbrl_agent.study.gradients.scene import untrained_scene
from mbrl_agent.study.strategies import parse_strategy


@pytest.fixture(scope="module")
def scene():
    return untrained_scene(seed=0, horizon=4).double()


@pytest.fixture(scope="module")
def directions(scene):
    return random_directions(scene.parameters, "weights", 3, torch.Generator().manual_seed(0))


def test_finite_differences_are_the_gradient_without_resampling(scene, directions, monkeypatch):
    """On the same random numbers."""
    monkeypatch.setattr(
        "mbrl_agent.study.gradients.bias.derive_generator", lambda *_: torch.Generator().manual_seed(0)
    )
    monkeypatch.setattr(
        "mbrl_agent.study.gradients.sampling.derive_generator", lambda *_: torch.Generator().manual_seed(0)
    )
    monkeypatch.setattr("mbrl_agent.study.gradients.sampling.BLOCK", 1)
    sampling = Sampling(particles=20, repeats=2)
    slopes = finite_differences(scene, directions, 1e-5, 2, sampling)
    exact = projected_gradients(scene, parse_strategy("none"), directions, sampling)
    assert slopes.shape == exact.shape == (2, 3)
    np.testing.assert_allclose(slopes, exact, rtol=1e-5)


def test_comparing_slopes():
    rng = np.random.default_rng(0)
    true = rng.standard_normal(20)
    reference = true + 0.1 * rng.standard_normal((50, 20))
    right = compare_slopes("a", 0.0, true + rng.standard_normal((400, 20)), reference)
    assert right.cosine.value == pytest.approx(1, abs=0.02)
    assert right.slope.value == pytest.approx(1, abs=0.05)
    assert right.relative_bias.value < 0.1
    wrong = compare_slopes("b", 0.0, -2 * true + 0.1 * rng.standard_normal((400, 20)), reference)
    assert wrong.cosine.value == pytest.approx(-1, abs=0.02)
    assert wrong.relative_bias.value == pytest.approx(3, abs=0.05)
    assert abs(wrong.relative_bias.value - 3) < 4 * wrong.relative_bias.error + 0.01
    assert wrong.norm.value == pytest.approx(2 * right.reference_norm.value, rel=0.02)


def test_an_exploded_gradient_is_lost_in_noise():
    estimates = np.random.default_rng(0).standard_normal((16, 5)) * 1e30
    row = compare_slopes("none", 0.0, estimates, np.ones((4, 5)))
    infinite = compare_slopes("none", 0.0, estimates * np.inf, np.ones((4, 5)))
    assert row.norm.error > 1e28 or np.isnan(row.norm.error)
    assert np.isnan(infinite.cosine.value)


def test_bimodal_starts_are_half_here_and_half_there():
    usual = InitialStates(torch.tensor([0.0, 0.0, 3.0, 0.0]), torch.full((4,), 0.1))
    states = BimodalStates(usual, Modes(2, -3.0, 3.0)).sample(5, 300, torch.Generator().manual_seed(0))
    low = states[..., 2] < 0
    assert (low.sum(-1) == 150).all()
    assert states[..., 2][low].mean() == pytest.approx(-3.0, abs=0.02)
    assert states[..., 2][~low].std() == pytest.approx(0.1, rel=0.1)
    assert states[..., 0].std() == pytest.approx(0.1, rel=0.1)
    assert 30 < low[0, :60].sum() + low[0, 240:].sum() < 90  # not tied to the order of the particles


def test_forward_errors(scene):
    rows = forward_errors(
        scene, [parse_strategy("none"), parse_strategy("gaussian")], Modes(0, -1.0, 1.0), Sampling(40, 4)
    )
    assert [row.strategy for row in rows] == ["none", "gaussian", "true physics"]
    assert rows[0].error.value == 0
    assert rows[1].error.value != 0
    assert abs(rows[2].error.value) < 0.2  # the model is the truth with a little noise
    assert rows[1].cost.value - rows[0].cost.value == pytest.approx(rows[1].error.value)


def test_a_dimension_that_is_not_there(scene):
    with pytest.raises(ValueError, match="dimensions 0 to 3, got 4"):
        forward_errors(scene, [], Modes(4, -1.0, 1.0), Sampling(40, 4))


def test_moved_leaves_the_rest(scene, directions):
    parameters = moved(scene.parameters, directions[0], 0.5)
    assert parameters["centers"] is scene.parameters["centers"]
    torch.testing.assert_close(
        parameters["weights"], scene.parameters["weights"] + 0.5 * directions[0]["weights"]
    )
