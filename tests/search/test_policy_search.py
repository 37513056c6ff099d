"""The policy search: it improves, candidates do not touch each other, bad gradients are skipped."""

import math
import warnings
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent.dynamics.base import DynamicsModel, FitReport, Score
from mbrl_agent.errors import SearchFailedError
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling import Gaussian, NoResampling
from mbrl_agent.search import policy_search
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.gradient_step import MAX_SKIPPED, GradientStep
from mbrl_agent.search.initial_states import InitialStates
from mbrl_agent.search.policy_search import PolicySearch, SearchOptions
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import GradientEstimate, Prediction

LOOKS = pytest.mark.parametrize("look_every", [1, MAX_SKIPPED], ids=["each step", "now and then"])
BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)


class PointMassModel(DynamicsModel):
    """x' = x + 0.4 v, v' = v + 0.4 u, known."""

    noise_dims = 2

    def __init__(self, std: float = 0.02) -> None:
        super().__init__()
        self.std = std

    def predict(self, state, action, extra_noise=None):
        x, v = state.split(1, dim=-1)
        mean = torch.cat([x + 0.4 * v, v + 0.4 * action], -1)
        return Prediction(mean, torch.full_like(mean, self.std))

    def fit(self, transitions, generator):
        return FitReport(0.0, torch.zeros(1))

    def score(self, transitions):
        return Score(0.0, [0.0, 0.0])


def cost(state, action):
    return 1 - (-0.5 * (state[..., 0] ** 2 + 0.25 * state[..., 1] ** 2)).exp()


@dataclass(frozen=True)
class Scripted(Estimator):
    """Gives the gradients of a script, call by call, and remembers the simulations."""

    name: ClassVar[str] = "scripted"
    script: list = field(default_factory=list)
    simulations: list = field(default_factory=list)

    def __call__(self, parameters, simulation):
        call = len(self.simulations)
        noise = Noise(simulation.noise.model.clone(), simulation.noise.resampling.clone())
        self.simulations.append(replace(simulation, noise=noise))  # the search renews it in place
        values = torch.tensor(self.script[call % len(self.script)])  # (R)
        gradient = {
            key: values.view(-1, *[1] * (value.ndim - 1)).expand_as(value).clone()
            for key, value in parameters.items()
        }
        return GradientEstimate(gradient, values.nan_to_num(0.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(estimator=None, horizon=6, resampler=None, dynamics=None, **options) -> PolicySearch:
    settings = {"steps": 3, "num_particles": 20, "candidates": 3, "learning_rate": 0.05, "halving": False}
    settings |= options
    return PolicySearch(
        SearchOptions(**settings),
        LinearPolicy(BOX, spaces.Box(-1, 1, (1,), np.float32)),
        dynamics or PointMassModel(),
        cost,
        resampler or Gaussian(),
        estimator or Reparameterization(),
        InitialStates(torch.tensor([1.0, 0.0]), torch.tensor([0.1, 0.1])),
        horizon,
    )


def start(replicates: int = 3, seed: int = 5) -> dict[str, torch.Tensor]:
    g = generator(seed)
    return {
        "weights": 0.1 * torch.randn(replicates, 2, 1, generator=g),
        "bias": 0.1 * torch.randn(replicates, 1, generator=g),
    }


# the search ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resampler", [Gaussian(), NoResampling()], ids=lambda r: r.name)
def test_it_improves_every_candidate(resampler):
    search = make(steps=60, resampler=resampler, horizon=8)
    before, report = start(), search.improve(start(), generator())
    simulation = search.ranking_simulation(generator(1))
    gain = search.predicted_cost(before, simulation) - search.predicted_cost(report.parameters, simulation)
    assert bool((gain > 0.5).all())
    assert report.expected_cost.shape == report.grad_norm.shape == (60, 3)
    assert bool((report.expected_cost[-5:].mean(0) < report.expected_cost[0] - 0.5).all())
    assert (report.skipped, report.jitter) == (0, 0)


def test_it_repeats_bitwise_and_leaves_its_arguments_alone():
    before = start()
    torch.manual_seed(0)
    one = make().improve(before, generator(3))
    torch.manual_seed(1)
    other = make().improve(before, generator(3))
    for key, value in start().items():
        assert torch.equal(before[key], value)
        assert torch.equal(one.parameters[key], other.parameters[key])
    different = make().improve(before, generator(4))
    assert not torch.equal(one.parameters["bias"], different.parameters["bias"])


def test_candidates_do_not_touch_each_other():
    one = make(max_grad_norm=0.1, steps=4).improve(start(), generator())
    moved = start()
    moved["weights"][1] *= -30.0
    other = make(max_grad_norm=0.1, steps=4).improve(moved, generator())
    for key in one.parameters:
        assert torch.equal(one.parameters[key][[0, 2]], other.parameters[key][[0, 2]])
        assert not torch.equal(one.parameters[key][1], other.parameters[key][1])
    assert torch.equal(one.expected_cost[:, [0, 2]], other.expected_cost[:, [0, 2]])


def test_every_candidate_has_its_own_noise():
    same = {key: value[:1].expand(3, *value.shape[1:]) for key, value in start().items()}
    report = make(steps=1).improve(same, generator())
    assert len(report.expected_cost[0].unique()) == 3


def test_the_first_cost_and_norm_are_those_of_the_start():
    search = make(steps=1)
    report = search.improve(start(), generator(2))
    estimate = Reparameterization()(start(), search.simulation(3, generator(2)))
    torch.testing.assert_close(report.expected_cost[0], estimate.expected_cost)
    flat = torch.cat([value.flatten(1) for value in estimate.gradient.values()], 1)
    torch.testing.assert_close(report.grad_norm[0], flat.norm(dim=1))


def test_the_step_is_adams():
    """Adam's first step has the size of the learning rate, whatever the gradient's scale."""
    report = make(Scripted(script=[[1.0, -2.0, 3.0]]), steps=1).improve(start(), generator())
    for sign, i in ((-1, 0), (1, 1), (-1, 2)):
        for key, value in start().items():
            torch.testing.assert_close(
                report.parameters[key][i], value[i] + sign * 0.05, rtol=1e-4, atol=1e-5
            )


def test_gradients_are_clipped_candidate_by_candidate():
    """Adam hardly sees the scale of a gradient, but it does see how it changes from step to step."""
    script = [[1.0, 1e-3, 1e6], [0.1, 1e-4, 1e6]]
    search = make(Scripted(script=script), steps=2, max_grad_norm=0.5)
    report = search.improve(start(), generator())
    torch.testing.assert_close(report.grad_norm, 3**0.5 * torch.tensor(script))
    clipped = 0.5 / 3**0.5
    for i, gradients in enumerate([(clipped, 0.1), (1e-3, 1e-4), (clipped, clipped)]):
        value = torch.zeros(1)
        adam = torch.optim.Adam([value], lr=0.05)
        for gradient in gradients:
            value.grad = torch.tensor([gradient])
            adam.step()
        for key, before in start().items():
            moved = report.parameters[key][i] - before[i]
            torch.testing.assert_close(moved, value.expand_as(moved), rtol=1e-3, atol=1e-6)


def test_progress_is_reported_after_every_step():
    seen = []
    report = make(steps=4).improve(start(), generator(), lambda step, costs: seen.append((step, costs)))
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert torch.equal(torch.stack([costs for _, costs in seen]), report.expected_cost)


@pytest.mark.parametrize(("renewal", "groups"), [(1, [0, 1, 2, 3, 4]), (2, [0, 0, 1, 1, 2]), (9, [0] * 5)])
def test_noise_renewal(renewal, groups):
    estimator = Scripted(script=[[0.0] * 3])
    make(estimator, steps=5, noise_renewal=renewal).improve(start(), generator())
    noises = [simulation.noise.model for simulation in estimator.simulations]
    for i in range(5):
        for j in range(5):
            assert torch.equal(noises[i], noises[j]) == (groups[i] == groups[j])


# halving, flat costs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Downhill(Estimator):
    """The gradient of half the squared parameters, candidate by candidate."""

    name: ClassVar[str] = "downhill"

    def __call__(self, parameters, simulation):
        cost = sum(value.flatten(1).square().sum(1) / 2 for value in parameters.values())
        return GradientEstimate({key: value.clone() for key, value in parameters.items()}, cost)


def test_without_halving_a_search_is_one_leg():
    """Step for step a loop over fresh simulations, which no other draw comes between, bit by bit."""
    report = make(steps=7).improve(start(), generator(3))
    search, g = make(steps=7), generator(3)
    step = GradientStep(search.estimator, start(), search.simulation(3, g), 0.05, 1.0)
    costs = [step().expected_cost]
    for _ in range(6):
        step.renew(search.simulation(3, g))
        costs.append(step().expected_cost)
    assert torch.equal(report.expected_cost, torch.stack(costs))
    assert report.steps == [7, 7, 7]
    for key, value in step.parameters.items():
        assert torch.equal(report.parameters[key], value)


def test_halving_leaves_the_worse_where_they_are():
    """The better half under common noise goes on, with its moments; the costs of the others end."""
    search = make(Downhill(), steps=9, halving=True)
    whole = {steps: make(Downhill(), steps=steps).improve(start(4), generator()) for steps in (3, 6, 9)}
    report = search.improve(start(4), generator())
    costs = search.predicted_cost(whole[3].parameters, search.ranking_simulation(generator(9)))
    order = costs.argsort().tolist()
    assert sorted(report.steps) == [3, 3, 6, 9]
    assert {report.steps[i] for i in order[2:]} == {3}  # (far enough apart that any noise finds it)
    for i, steps in enumerate(report.steps):
        for key, value in whole[steps].parameters.items():
            assert torch.equal(report.parameters[key][i], value[i])
        assert torch.equal(report.expected_cost[:steps, i], whole[9].expected_cost[:steps, i])
        assert bool(report.expected_cost[steps:, i].isnan().all())
        assert bool(report.grad_norm[steps:, i].isnan().all())
    assert (report.skipped, report.stalled) == (0, 0)


def test_on_a_gpu_all_go_on(monkeypatch):
    """There a captured step takes as long for all."""
    monkeypatch.setattr(policy_search, "_on_gpu", lambda parameters: True)
    whole = make(steps=9).improve(start(4), generator())
    report = make(steps=9, halving=True).improve(start(4), generator())
    assert report.steps == [9] * 4
    assert torch.equal(report.expected_cost, whole.expected_cost)


def test_halving_repeats_bitwise():
    one, other = (make(steps=7, halving=True).improve(start(4), generator(3)) for _ in range(2))
    assert one.steps == other.steps
    for key, value in one.parameters.items():
        assert torch.equal(value, other.parameters[key])


def test_halving_drops_candidates_that_are_not_finite_first():
    bad = spoiled(start(4), 0, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = make(steps=9, halving=True).improve(bad, generator())
    assert [report.steps[i] for i in (0, 2)] == [3, 3]
    assert report.skipped == 6


@LOOKS
def test_a_search_that_is_halved_ends_where_all_have_failed(monkeypatch, look_every):
    monkeypatch.setattr(policy_search, "_steps_between_looks", lambda parameters: look_every)
    bad = spoiled(start(4), 0, 1, 2, 3)
    with pytest.warns(UserWarning, match=r"ended at step 20 of 300"):
        report = make(steps=300, halving=True).improve(bad, generator())
    assert len(report.expected_cost) == 20
    assert report.stalled == 4


def test_a_search_ends_where_its_cost_is_flat():
    flat = make(Scripted(script=[[1.0, 2.0, 3.0]]), steps=50, flat_steps=4)
    report = flat.improve(start(), generator())
    assert report.steps == [8, 8, 8]
    falling = Scripted(script=[[50.0 - i] * 3 for i in range(50)])
    assert make(falling, steps=50, flat_steps=4).improve(start(), generator()).steps == [50] * 3


def test_a_flat_leg_leaves_the_next_to_fewer_candidates():
    search = make(Flat(), steps=90, halving=True, flat_steps=5)
    assert sorted(search.improve(start(4), generator()).steps) == [10, 10, 20, 30]


@dataclass(frozen=True)
class Flat(Downhill):
    """The same gradient, and costs that do not show it."""

    name: ClassVar[str] = "flat"

    def __call__(self, parameters, simulation):
        estimate = super().__call__(parameters, simulation)
        return replace(estimate, expected_cost=torch.ones_like(estimate.expected_cost))


# what is not finite ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_skips_its_candidate_alone(bad):
    good = make(Scripted(script=[[1.0, 1.0, 1.0]]), steps=4).improve(start(), generator())
    script = [[1.0, 1.0, 1.0], [1.0, bad, 1.0], [1.0, bad, 1.0], [1.0, 1.0, 1.0]]
    report = make(Scripted(script=script), steps=4).improve(start(), generator())
    assert report.skipped == 2
    for key in good.parameters:
        assert torch.equal(report.parameters[key][[0, 2]], good.parameters[key][[0, 2]])
        assert bool(report.parameters[key].isfinite().all())
        moved = (report.parameters[key] - start()[key])[1].abs()
        assert bool((moved > 0.06).all())  # it went on afterwards: two steps of 0.05 ...
        assert bool((moved < 0.11).all())  # ... and did not coast through the two that were skipped


def test_a_skipped_candidate_stays_where_it_was():
    report = make(Scripted(script=[[1.0, math.nan, 1.0]]), steps=3).improve(start(), generator())
    for key, value in start().items():
        assert torch.equal(report.parameters[key][1], value[1])
        assert not torch.equal(report.parameters[key][0], value[0])
    assert report.skipped == 3


@LOOKS
@pytest.mark.parametrize("good", [0, 1, 7, 30])
def test_twenty_bad_steps_in_a_row_end_the_search(monkeypatch, good, look_every):
    """Exactly there, also where nobody looks before step 40: what is done in between does not count."""
    monkeypatch.setattr(policy_search, "_steps_between_looks", lambda parameters: look_every)
    script = [*[[1.0, 1.0, 1.0]] * good, *[[math.nan] * 3] * 20, *[[1.0, 1.0, 1.0]] * 30]
    end = good + 20
    with pytest.warns(UserWarning, match=rf"ended at step {end} of 50: .* not finite 20 times in a row"):
        report = make(Scripted(script=script), steps=50).improve(start(), generator())
    assert report.expected_cost.shape == report.grad_norm.shape == (end, 3)
    assert (report.skipped, report.stalled, report.jitter) == (60, 3, 0)
    before = start()
    if good:
        before = make(Scripted(script=script), steps=good).improve(start(), generator()).parameters
    for key, value in before.items():
        assert torch.equal(report.parameters[key], value)


@LOOKS
def test_a_search_may_end_in_its_last_step(monkeypatch, look_every):
    monkeypatch.setattr(policy_search, "_steps_between_looks", lambda parameters: look_every)
    with pytest.warns(UserWarning, match=r"ended at step 25 of 25"):
        report = make(Scripted(script=[*[[1.0] * 3] * 5, *[[math.nan] * 3] * 20]), steps=25).improve(
            start(), generator()
        )
    assert len(report.expected_cost) == 25


@LOOKS
def test_failures_of_different_candidates_at_different_times(monkeypatch, look_every):
    """Twenty steps end the search in which all have failed, whoever has failed for longer."""
    monkeypatch.setattr(policy_search, "_steps_between_looks", lambda parameters: look_every)
    bad = math.nan
    script = [*[[bad, 1.0, 1.0]] * 15, *[[bad, bad, 1.0]] * 10, [bad, 1.0, 1.0], *[[bad, bad, bad]] * 24]
    with pytest.warns(UserWarning, match=r"ended at step 46 of 50"):
        report = make(Scripted(script=script), steps=50).improve(start(), generator())
    assert report.skipped == 46 + 30 + 20


def test_on_a_gpu_nobody_waits_for_each_step():
    values = {"weights": torch.ones(2, 2)}
    assert policy_search._steps_between_looks(values) == 1
    values["weights"] = values["weights"].as_subclass(OnGpu)
    assert policy_search._steps_between_looks(values) == MAX_SKIPPED


class OnGpu(torch.Tensor):
    is_cuda = True


def test_a_candidate_that_fails_for_good_is_counted_and_stays_at_its_last_good_parameters():
    script = [*[[1.0, 1.0, 1.0]] * 3, *[[1.0, math.nan, 1.0]] * 30]
    report = make(Scripted(script=script), steps=33).improve(start(), generator())
    good = make(Scripted(script=script), steps=3).improve(start(), generator()).parameters
    assert (report.skipped, report.stalled, len(report.expected_cost)) == (30, 1, 33)
    for key, value in good.items():
        assert torch.equal(report.parameters[key][1], value[1])
        assert not torch.equal(report.parameters[key][0], value[0])


def test_one_good_candidate_keeps_the_search_going():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = make(Scripted(script=[[1.0, math.nan, math.nan]]), steps=30).improve(start(), generator())
    assert len(report.expected_cost) == 30


def test_bad_steps_must_be_in_a_row():
    script = [*[[math.nan] * 3] * 19, [1.0] * 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make(Scripted(script=script), steps=45).improve(start(), generator()).skipped == 3 * 43


# ranking ---------------------------------------------------------------------------------------------------


def spoiled(values: dict[str, torch.Tensor], *which: int) -> dict[str, torch.Tensor]:
    """Make the actions of some candidates nan."""
    values = {key: value.clone() for key, value in values.items()}
    values["bias"][list(which)] = math.nan
    return values


def test_the_predicted_cost_is_that_of_many_particles_without_resampling():
    search = make(num_particles=30)
    simulation = search.ranking_simulation(generator(1))
    assert simulation.initial_particles.shape == (1, 990, 2)
    assert simulation.resampler == NoResampling()
    costs = search.predicted_cost(start(), simulation)
    for i in range(3):
        alone = {key: value[i : i + 1] for key, value in start().items()}
        torch.testing.assert_close(costs[i : i + 1], simulation(alone).expected_cost())
    assert not costs.requires_grad


def test_equal_candidates_have_equal_predicted_costs():
    search = make()
    same = {key: value[:1].expand(3, *value.shape[1:]) for key, value in start().items()}
    assert len(search.predicted_cost(same, search.ranking_simulation(generator())).unique()) == 1


def test_many_candidates_are_compared_some_at_a_time(monkeypatch):
    search = make()
    simulation = search.ranking_simulation(generator())
    expected = search.predicted_cost(start(7), simulation)
    monkeypatch.setattr(policy_search, "RANKING_NUMBERS", 2 * 1000 * 2 * 6)  # of two candidates
    sizes = []
    original = Simulation.__call__
    monkeypatch.setattr(
        Simulation, "__call__", lambda own, values: sizes.append(len(values["bias"])) or original(own, values)
    )
    torch.testing.assert_close(search.predicted_cost(start(7), simulation), expected)
    assert sizes == [2, 2, 2, 1]


def test_each_candidate_is_the_better_of_its_start_and_its_end():
    search = make(steps=40, horizon=8)
    improved = search.improve(start(), generator()).parameters
    mixed = {key: torch.stack([start()[key][0], value[1], value[2]]) for key, value in improved.items()}
    other = {
        key: torch.stack([value[0], start()[key][1], start()[key][2]]) for key, value in improved.items()
    }
    ranking = search.rank(mixed, other, generator(1))
    assert ranking.starts_kept == 2
    for key, value in improved.items():
        assert torch.equal(ranking.parameters[key], value)
    costs = search.predicted_cost(improved, search.ranking_simulation(generator(1)))
    torch.testing.assert_close(ranking.costs, costs)
    assert ranking.best == int(costs.argmin())


def test_a_search_that_changes_nothing_keeps_no_start():
    assert make().rank(start(), start(), generator()).starts_kept == 0


def test_what_is_not_finite_is_never_kept_where_the_other_is():
    ranking = make().rank(spoiled(start(), 0, 2), spoiled(start(), 1, 2), generator())
    assert ranking.starts_kept == 1
    assert ranking.costs.isfinite().tolist() == [True, True, False]
    assert ranking.best != 2
    for key, value in start().items():
        assert torch.equal(ranking.parameters[key][:2], value[:2])


class Diverging(PointMassModel):
    def predict(self, state, action, extra_noise=None):
        prediction = super().predict(state, action, extra_noise)
        return replace(prediction, mean=prediction.mean / (state[..., :1].abs() < 2.0))


FAULTS = {
    "model": (
        {"dynamics": Diverging(std=3.0)},
        r"state that the model predicts is not finite at predicted step \d; shorten",
    ),
    "cost": (
        {"cost": lambda state, action: cost(state, action) / 0.0},
        r"cost is not finite at predicted step 1",
    ),
    "sum": (
        {"cost": lambda state, action: 1e38 * (1 + cost(state, action))},
        r"sum of the costs is too large",
    ),
    "start": (
        {"initial_states": InitialStates(torch.tensor([1.0, math.inf]), torch.tensor([0.1, 0.1]))},
        r"initial states are not finite",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_where_nothing_is_finite_the_error_names_the_cause(fault):
    changes, message = FAULTS[fault]
    search = replace(make(), **changes)
    with pytest.raises(
        SearchFailedError, match=rf"^no policy was deployed: .* 3 candidates .*; the {message}"
    ):
        search.rank(start(), start(), generator())


def test_where_no_policy_is_finite_the_error_names_it():
    bad = spoiled(start(), 0, 1, 2)
    with pytest.raises(SearchFailedError, match=r"the parameters of the policy are not finite"):
        make().rank(bad, bad, generator())
    huge = {key: value * 1e38 for key, value in start().items()}  # which makes inf - inf of finite parameters
    huge["weights"][:, 1] = -huge["weights"][:, 0]
    search = replace(make(), initial_states=InitialStates(torch.full((2,), 1e3), torch.zeros(2)))
    with pytest.raises(
        SearchFailedError, match=r"the action of the policy is not finite at predicted step 1"
    ):
        search.rank(huge, huge, generator())


# probe, initial states -------------------------------------------------------------------------------------


def test_the_probe_is_the_variance_of_repeated_estimates():
    search, parameters = make(), {key: value[0] for key, value in start().items()}
    probe = search.probe(parameters, 6, generator(4))
    copies = {key: value.expand(6, *value.shape).clone() for key, value in parameters.items()}
    gradient = Reparameterization()(copies, search.simulation(6, generator(4))).gradient
    variance, mean_square = 0.0, 0.0
    for value in gradient.values():
        for column in value.flatten(1).T:
            mean = float(column.mean())
            variance += sum((float(g) - mean) ** 2 for g in column) / 5
            mean_square += mean**2
    assert float(probe.variance) == pytest.approx(variance, rel=1e-4)
    assert float(probe.snr) == pytest.approx((mean_square / variance) ** 0.5, rel=1e-4)
    assert probe.pairs.low <= probe.pairs.median <= probe.pairs.high
    assert probe.energy_change is None


def test_initial_states_are_normal():
    states = InitialStates(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.0])).sample(3, 4000, generator())
    assert states.shape == (3, 4000, 2)
    torch.testing.assert_close(states.mean((0, 1)), torch.tensor([1.0, -2.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(states.std((0, 1)), torch.tensor([0.5, 0.0]), atol=0.03, rtol=0)
    assert not torch.equal(states[0], states[1])


def test_rollouts_start_from_the_initial_states_and_last_the_horizon():
    search = make(horizon=5)
    simulation = search.simulation(2, generator(1))
    expected = search.initial_states.sample(2, 20, generator(1))
    assert torch.equal(simulation.initial_particles, expected)
    assert simulation.noise.model.shape[0] == 5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"steps": 0}, ValueError),
        ({"num_particles": 0}, ValueError),
        ({"candidates": 0}, ValueError),
        ({"noise_renewal": 0}, ValueError),
        ({"horizon": -1}, ValueError),
        ({"flat_steps": -1}, ValueError),
        ({"halving": 1}, TypeError),
        ({"learning_rate": 0.0}, ValueError),
        ({"max_grad_norm": math.inf}, ValueError),
        ({"steps": 1.5}, TypeError),
        ({"learning_rate": "fast"}, TypeError),
    ],
)
def test_options_are_checked(options, error):
    with pytest.raises(error, match=next(iter(options))):
        SearchOptions(**options)


# policies that are noisy while they are improved -----------------------------------------------------------


def with_dropout(
    rate: float, estimator: Estimator | None = None
) -> tuple[PolicySearch, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    policy = RbfPolicy(BOX, spaces.Box(-1, 1, (1,), np.float32), centers=6, dropout=rate)
    parameters = policy.initial_parameters(torch.randn(20, 2, generator=generator(8)), 3, generator(5))
    return replace(make(estimator=estimator), policy=policy), parameters


def test_only_rollouts_in_which_policies_are_improved_are_noisy():
    search, _ = with_dropout(0.3)
    assert search.improving_simulation(2, generator()).noise.policy.shape == (6, 2, 20, 6)
    assert search.simulation(2, generator()).noise.policy is None
    assert search.ranking_simulation(generator()).noise.policy is None


def test_dropout_changes_no_other_random_number():
    (noisy, _), (plain, _) = with_dropout(0.3), with_dropout(0.0)
    one, other = (search.improving_simulation(2, generator(4)) for search in (noisy, plain))
    assert torch.equal(one.initial_particles, other.initial_particles)
    assert torch.equal(one.noise.model, other.noise.model)
    assert torch.equal(one.noise.resampling, other.noise.resampling)
    assert other.noise.policy is None


def test_candidates_are_compared_without_dropout():
    (noisy, parameters), (plain, _) = with_dropout(0.3), with_dropout(0.0)
    costs = [s.predicted_cost(parameters, s.ranking_simulation(generator(2))) for s in (noisy, plain)]
    assert torch.equal(*costs)


def test_a_search_with_dropout_improves_repeats_and_differs():
    search, parameters = with_dropout(0.3)
    search = replace(search, options=replace(search.options, steps=40))
    one, same = (search.improve(parameters, generator(3)) for _ in range(2))
    assert all(torch.equal(value, same.parameters[key]) for key, value in one.parameters.items())
    plain = replace(with_dropout(0.0)[0], options=search.options).improve(parameters, generator(3))
    assert not torch.equal(one.expected_cost, plain.expected_cost)
    before, after = (
        search.predicted_cost(values, search.ranking_simulation(generator(1)))
        for values in (parameters, one.parameters)
    )
    assert bool((after < before - 0.1).all())


def test_a_model_is_renewed_with_the_noise_and_before_candidates_are_compared():
    class Renewed(PointMassModel):
        def renew(self, generator):
            self.std = 0.02 + 0.02 * float(torch.rand((), generator=generator))
            renewals.append(self.std)

    renewals: list[float] = []
    search = make(dynamics=Renewed(), steps=7, noise_renewal=3)
    report = search.improve(start(), generator(3))
    assert len(set(renewals)) == 2  # with steps 3 and 6
    search.rank(start(), report.parameters, generator(4))
    assert len(set(renewals)) == 3
