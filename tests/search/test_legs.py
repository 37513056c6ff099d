"""Legs of a search: how long they are, who goes on, and when the cost has stopped falling."""

import math

import pytest
import torch

from mbrl_agent.search.gradient_step import StepResult
from mbrl_agent.search.legs import Leg, better_half, is_flat, leg_lengths


def results(costs: torch.Tensor) -> list[StepResult]:
    """Steps with the given costs (steps, R)."""
    zeros = torch.zeros(costs.shape[1], dtype=torch.long)
    return [StepResult(cost, cost, zeros, zeros) for cost in costs]


@pytest.mark.parametrize(
    ("steps", "candidates", "expected"),
    [
        (150, 4, [50, 50, 50]),
        (150, 1, [150]),
        (151, 2, [76, 75]),
        (100, 5, [25, 25, 25, 25]),
        (2, 16, [1, 1]),
    ],
)
def test_the_legs_share_the_steps_and_halve_the_candidates_to_one(steps, candidates, expected):
    assert leg_lengths(steps, candidates, halving=True) == expected
    assert leg_lengths(steps, candidates, halving=False) == [steps]
    assert sum(expected) == steps
    left = candidates
    for _ in expected[1:]:
        left = len(better_half(torch.arange(float(left))))
    assert left == 1 or len(expected) == steps


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([3.0, 1.0, 2.0, 4.0], [1, 2]),
        ([2.0, 1.0, 0.0], [1, 2]),
        ([1.0, 1.0, 1.0, 1.0], [0, 1]),
        ([math.inf, 1.0, math.inf, math.inf], [0, 1]),
        ([5.0], [0]),
    ],
)
def test_the_better_half_goes_on(costs, expected):
    assert better_half(torch.tensor(costs)) == expected


def test_a_leg_says_nothing_of_those_that_were_left_behind():
    leg = Leg([0, 1, 2], results=results(torch.ones(4, 3))).followed_by([0, 2])
    assert (leg.candidates, leg.first) == ([0, 2], 4)
    leg.results.extend(results(torch.tensor([[1.0, 2.0], [3.0, 4.0]])))
    found = leg.spread("expected_cost", 3)
    assert found[:, [0, 2]].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert bool(found[:, 1].isnan().all())


def asked(costs: torch.Tensor, window: int) -> list[int]:
    """After which numbers of steps the costs (steps, R) are flat."""
    taken = results(costs)
    return [count for count in range(1, len(taken) + 1) if is_flat(taken[:count], window)]


def test_costs_that_do_not_change_are_flat_as_soon_as_that_can_be_known():
    assert asked(torch.full((20, 2), 3.0), window=5) == [10, 15, 20]
    assert asked(torch.full((9, 1), 3.0), window=5) == []


def test_costs_that_fall_or_that_nobody_asks_about_are_not_flat():
    falling = torch.linspace(10, 0, 20).unsqueeze(1)
    assert asked(falling, window=5) == []
    assert asked(falling.flip(0), window=5) == [10, 15, 20]
    assert asked(torch.full((20, 2), 3.0), window=0) == []


def test_noise_hides_a_fall_that_is_smaller():
    """Of flat costs 84 % are within a standard error; of those that fall by four of them hardly one is."""
    g = torch.Generator().manual_seed(0)
    window, runs = 25, 400
    noise = torch.randn(runs, 2 * window, 1, generator=g)
    fall = 4 * math.sqrt(2 / window)
    steps = torch.cat([torch.full((window, 1), fall), torch.zeros(window, 1)])
    flat = sum(is_flat(results(costs), window) for costs in noise)
    falls = sum(is_flat(results(costs + steps), window) for costs in noise)
    assert flat / runs == pytest.approx(0.84, abs=0.06)
    assert falls / runs < 0.02


def test_the_candidate_that_leads_is_asked():
    flat, falling = torch.full((10, 1), 3.0), torch.linspace(10, 4, 10).unsqueeze(1)
    assert asked(torch.cat([flat, falling], 1), window=5) == [10]
    assert asked(torch.cat([flat + 5, falling], 1), window=5) == []
    bad = torch.full((10, 1), math.nan)
    assert asked(torch.cat([bad, falling], 1), window=5) == []


def test_costs_that_are_not_finite_are_not_flat():
    bad = torch.full((10, 1), math.nan)
    assert asked(bad, window=5) == []
    assert asked(torch.cat([bad[:5], torch.ones(5, 1)]), window=5) == []
    assert asked(torch.cat([torch.ones(5, 1), bad[:5]]), window=5) == []
