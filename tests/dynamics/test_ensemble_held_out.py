"""What members leave out stops a fit in time, and tells how noisy the data are."""

import math

import pytest
import torch

from mbrl_agent.dynamics.ensemble import Ensemble, EnsembleModel
from mbrl_agent.dynamics.ensemble_held_out import FEWEST_FOLDS, HeldOut, folds
from mbrl_agent.features import AngleFeatures
from mbrl_agent.types import Transitions
from tests.support.linear_system import linear_system, mixture_nll, true_nll

NOISE = 0.5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fitted(transitions: Transitions, seed: int = 0, **options) -> EnsembleModel:
    model = Ensemble(**options).build(AngleFeatures(2), 1, generator(seed))
    model.fit(transitions, generator(seed + 50))
    return model


@pytest.mark.parametrize("members", [1, 3, 5, 10])
@pytest.mark.parametrize("count", [5, 23, 60])
def test_nothing_is_left_out_twice(members, count):
    left_out = folds(members, count, generator())
    parts = max(members, FEWEST_FOLDS)
    assert bool((left_out.sum(0) <= 1).all())
    assert bool((left_out.sum(1) <= -(-count // parts)).all())  # each member sees most of the data
    assert int(left_out.sum()) >= count * members // parts


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_is_not_learned_by_heart(seed):
    """60 transitions of a linear system: the truth has 0.73 nats, networks fitted to the end had 20 to 50."""
    data, new = linear_system(60, seed, NOISE), linear_system(500, 100 + seed, NOISE)
    model = fitted(data, seed)
    fresh = mixture_nll(model, new, 5)
    assert fresh < true_nll(NOISE) + 0.4
    assert abs(fresh - mixture_nll(model, data, 5)) < 0.4  # it knows what it does not know
    std = model.predict(torch.zeros(5, 2), torch.zeros(5, 1)).std
    assert bool((std > 0.6 * NOISE).all())
    assert bool((std < 2.0 * NOISE).all())


def test_without_noise_a_fit_goes_on():
    model = fitted(linear_system(60, 0, 0.0))
    fresh = linear_system(500, 9, 0.0)
    assert max(model.score(fresh).rmse) < 0.1
    assert bool((model.noise_factor < 4).all())


def test_the_networks_with_the_least_error_are_kept():
    unseen = torch.tensor([[True, False], [False, True]])
    held_out = HeldOut(unseen, torch.ones(1), [torch.zeros(())])
    seen = 100.0  # what a member has seen does not count
    for number, error in enumerate([3.0, 1.0, 2.0, math.nan]):
        errors = torch.tensor([[[error], [seen]], [[seen], [error]]])
        held_out.look(errors, [torch.tensor(float(number))])
    assert float(held_out.parameters[0]) == 1.0


def test_where_nothing_is_held_out_the_last_networks_are_kept():
    held_out = HeldOut(torch.zeros(2, 3, dtype=torch.bool), torch.ones(1), [torch.zeros(())])
    for number in range(3):
        held_out.look(torch.randn(2, 3, 1), [torch.tensor(float(number))])
    assert float(held_out.parameters[0]) == 2.0
    assert held_out.noise_factor(torch.randn(2, 3, 1), torch.zeros(2, 3, 1)).tolist() == [1.0]


def test_the_noise_factor_is_that_of_what_was_not_seen():
    unseen = torch.tensor([[True, True, False], [False, False, True]])
    held_out = HeldOut(unseen, torch.ones(3) / 3, [])
    errors = torch.where(unseen.unsqueeze(-1), torch.tensor([3.0, 0.1, 0.0]), 50.0)
    factor = held_out.noise_factor(errors, torch.zeros(2, 3, 3))
    assert factor.tolist() == pytest.approx([3.0 / 0.6745, 1.0, 1.0], rel=1e-3)  # never below 1


def test_a_dimension_that_never_varies_stays_exact():
    transitions = linear_system(60, 0, NOISE)
    still = Transitions(
        *(
            torch.cat([values, torch.full((60, 1), 7.0, dtype=torch.float64)], -1)
            if name != "actions"
            else values
            for name, values in vars(transitions).items()
        )
    )
    model = Ensemble(fit_steps=50).build(AngleFeatures(3), 1, generator())
    model.fit(still, generator(1))
    prediction = model.predict(still.states[:50].float(), still.actions[:50].float())
    assert torch.equal(prediction.mean[:, 2], torch.full((50,), 7.0))
    assert not prediction.std[:, 2].any()
