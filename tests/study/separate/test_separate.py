"""The arms differ in what they say they differ in, the effects are differences, the command writes it all."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from envs.cartpole.cost import AngleCost, TipCost
from mbrl_agent.resampling import NoResampling
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.gradient_step import GradientStep
from mbrl_agent.study.__main__ import main
from mbrl_agent.study.gradients.scene import untrained_scene
from mbrl_agent.study.separate.arms import ARMS, GAUSSIAN, NONE, REDRAW, TANGENT, BeliefCost, widened
from mbrl_agent.study.separate.descent import _simulation, descend
from mbrl_agent.study.separate.effects import BEYOND, DERIVATIVES, TOTAL, VALUES, ArmOutcome, effects_of
from mbrl_agent.study.separate.options import ADAM, SGD, SeparateOptions
from mbrl_agent.study.separate.separation import cost_options

OPTIONS = SeparateOptions(untrained=True, steps=2, policies=2, particles=30, seed=3)


@pytest.fixture(scope="module")
def scene():
    return replace(untrained_scene(seed=0, horizon=4), cost=TipCost(0.5)).double()


@pytest.fixture(scope="module")
def starts(scene):
    return scene.policy.initial_parameters(scene.visited, 2, torch.Generator().manual_seed(0))


def particles(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    normals = torch.randn(3, count, 4, generator=generator, dtype=torch.float64)
    mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    return 0.3 + 0.4 * normals @ mixing


# the cost of a belief ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_the_cost_of_a_belief_is_the_expectation_under_its_gaussian(known):
    """Of 1 - exp(-(x^2 + theta^2) / 2) there is a formula, with S the covariance of (x, theta)."""
    states = particles(50)
    cost = AngleCost() if known else lambda state, action: AngleCost()(state)
    found = BeliefCost(cost, points=4096)(states, torch.zeros(3, 50, 1, dtype=torch.float64))
    assert found.shape == (3, 50)
    assert bool((found == found[:, :1]).all())
    for row, state in zip(found, states, strict=True):
        m, s = state[:, [0, 2]].mean(0).numpy(), np.cov(state[:, [0, 2]].T.numpy())
        inverse = np.linalg.inv(np.eye(2) + s)
        exact = 1 - math.exp(-0.5 * m @ inverse @ m) * math.sqrt(np.linalg.det(inverse))
        assert float(row[0]) == pytest.approx(exact, abs=1e-10 if known else 2e-3)


def test_its_derivative_goes_through_the_moments():
    states, actions = particles(12), torch.zeros(3, 12, 1, dtype=torch.float64)
    for cost in (AngleCost(), TipCost(0.25)):

        def total(values, cost=cost):
            return BeliefCost(cost, points=16)(values, actions).mean(-1)

        assert torch.autograd.gradcheck(total, states[:, :, :].clone().requires_grad_())


def test_a_wider_cost():
    assert widened(TipCost(0.25), 2.0) == TipCost(0.5)
    with pytest.raises(ValueError, match="AngleCost has no width"):
        widened(AngleCost(), 2.0)


# arms -------------------------------------------------------------------------------------------------------


def rolled(scene, starts, label):
    arm = next(arm for arm in ARMS if arm.label == label)
    resampler = arm.resampler(False).for_task((2,), 1)
    simulation = _simulation(scene, resampler, starts, OPTIONS, 0)
    gradient = Reparameterization()(starts, simulation).gradient
    return simulation(starts).states, torch.cat([value.flatten() for value in gradient.values()])


def test_rows_share_values_and_columns_share_noise(scene, starts):
    values = {label: rolled(scene, starts, label)[0] for label in (NONE, TANGENT, REDRAW, GAUSSIAN)}
    torch.testing.assert_close(values[NONE], values[TANGENT])
    assert all(torch.equal(values[NONE][0], state[0]) for state in values.values())
    for moment in (lambda s: s.mean(-2), lambda s: s.std(-2)):  # after one step: of the same draws
        torch.testing.assert_close(moment(values[REDRAW][1]), moment(values[GAUSSIAN][1]))
    assert (values[GAUSSIAN][1] - values[NONE][1]).abs().max() > 1e-3


def test_gradients_of_all_cells_differ(scene, starts):
    gradients = [rolled(scene, starts, label)[1] for label in (NONE, TANGENT, REDRAW, GAUSSIAN)]
    for index, one in enumerate(gradients):
        assert all((one - other).norm() > 1e-3 * one.norm() for other in gradients[:index])


def test_wrap_goes_to_what_fits_angles():
    wrapped = {arm.label: getattr(arm.resampler(True), "wrap", False) for arm in ARMS}
    assert wrapped == {label: label in (TANGENT, REDRAW, GAUSSIAN) for label in wrapped}


# descent ----------------------------------------------------------------------------------------------------


def test_plain_steps_follow_the_gradient(scene, starts):
    found = descend(scene, NoResampling(), starts, SGD, replace(OPTIONS, steps=1, sgd_rate=0.5))
    gradient = Reparameterization()(starts, _simulation(scene, NoResampling(), starts, OPTIONS, 0)).gradient
    for name, value in starts.items():
        torch.testing.assert_close(found.parameters[name], value - 0.5 * gradient[name])


def test_adam_is_the_search_s(scene, starts):
    found = descend(scene, NoResampling(), starts, ADAM, replace(OPTIONS, steps=1, learning_rate=0.1))
    step = GradientStep(
        Reparameterization(), starts, _simulation(scene, NoResampling(), starts, OPTIONS, 0), 0.1, 1.0
    )
    step()
    torch.testing.assert_close(found.parameters, step.parameters)


def test_a_policy_whose_gradient_is_not_finite_stays(scene, starts):
    def cost(state, action):
        return torch.where(torch.arange(2)[:, None] == 1, math.nan, 1.0) * state[..., 0]

    found = descend(replace(scene, cost=cost), NoResampling(), starts, SGD, OPTIONS)
    assert found.skipped.tolist() == [0, 2]
    for name, value in starts.items():
        assert torch.equal(found.parameters[name][1], value[1])
    assert not torch.equal(found.parameters["weights"][0], starts["weights"][0])


# effects ----------------------------------------------------------------------------------------------------


def outcome(arm, reward):
    values = np.array(reward)
    return ArmOutcome(
        0.5, 30, ADAM, arm, -2 * values, values, values, values, values > 9, values, values, values
    )


def test_effects_of_a_sum():
    """Derivatives gain 3, Gaussian values 1, both together 2 more."""
    base = np.array([0.0, 1.0, 5.0])
    arms = {NONE: base, TANGENT: base + 3, REDRAW: base + 1, GAUSSIAN: base + 6}
    found = {e.name: e for e in effects_of([outcome(arm, values) for arm, values in arms.items()])}
    assert set(found) == {DERIVATIVES, VALUES, BEYOND, TOTAL}  # the other arms are not there
    gains = {name: (e.reward.value, e.predicted.value) for name, e in found.items()}
    assert gains == {DERIVATIVES: (4, 8), VALUES: (2, 4), BEYOND: (1, 2), TOTAL: (6, 12)}
    assert found[TOTAL].reward.low == found[TOTAL].reward.high == 6  # start by start there is no spread


def test_what_diverges_counts_as_its_start(tmp_path):
    words = ["--untrained", "--horizons", "3", "--widths", "0", "--steps", "2", "--policies", "2"]
    more = ["--particles", "20", "--episodes", "2", "--sgd-rate", "1e38", "--out", str(tmp_path)]
    assert main(["separate", *words, *more, "--optimizers", "sgd"]) == 0
    diverged = [row for row in rows(tmp_path / "study_separate_arms.csv") if row["diverged"] == "1"]
    assert diverged
    assert all(row["reward_before"] == row["reward_after"] for row in diverged)


# the command ------------------------------------------------------------------------------------------------


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_command_writes_arms_effects_and_a_figure(tmp_path, capsys):
    words = ["--untrained", "--horizons", "3", "4", "--widths", "0", "0.5", "--steps", "1", "--policies", "2"]
    more = ["--particles", "20", "--episodes", "2", "--wrap", "--out", str(tmp_path)]
    assert main(["separate", *words, *more]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("left out: wider cost at width 0: AngleCost has no width") == 1
    assert "derivatives through moments" in captured.out
    arms = rows(tmp_path / "study_separate_arms.csv")
    assert len(arms) == 2 * 2 * (5 + 6) * 2  # horizons, optimisers, arms of the two costs, policies
    before = {(row["width"], row["horizon"], row["start"], row["reward_before"]) for row in arms}
    assert len(before) == 8  # the same policies in all arms
    assert all(0 <= float(row["reward_after"]) <= 1 for row in arms)
    assert len(rows(tmp_path / "study_separate.csv")) == 2 * 2 * (5 + 6)
    assert Image.open(tmp_path / "study_separate.png").size[0] > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--untrained", "--steps", "0"], "--steps: must be at least 1"),
        (["--untrained", "--horizons", "30", "30"], "--horizons: a value is given twice: 30"),
        (["--untrained", "--widths", "-1"], "--widths: must not be negative"),
        (["--untrained", "--trial", "2"], "--trial: belongs to a run"),
        (["--run", "nowhere"], "nowhere is not the directory of a run"),
        ([], "one of --run DIR and --untrained must be given"),
        (
            ["--untrained", "--optimizers", "lbfgs"],
            "expected one of adam, sgd, got 'lbfgs'",
        ),
    ],
)
def test_a_mistake_is_one_line(words, message, capsys):
    assert main(["separate", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_cost_without_a_width():
    assert cost_options("CartPoleSwingUp-v0", 0.25) == {"cost_width": 0.25, "cost": "tip"}
    assert cost_options("AcrobotSwingUp-v0", 0.25) == {"cost_width": 0.25}
    assert cost_options("Pendulum-v1", 0) == {}
    with pytest.raises(ValueError, match="Pendulum-v1 has no option cost_width: give --widths 0"):
        cost_options("Pendulum-v1", 0.25)
