"""How sure models are of noise that they cannot know: likelihood of their data, and of fresh ones.

pytest -m benchmark -n 0 -s tests/benchmarks/test_calibration.py
"""

import statistics

import pytest
import torch

from mbrl_agent.dynamics import DYNAMICS
from mbrl_agent.features import AngleFeatures
from tests.support.linear_system import linear_system, mixture_nll, true_nll

NOISE = 0.5
SEEDS = range(10)


@pytest.mark.benchmark
@pytest.mark.parametrize("count", [60, 300])
@pytest.mark.parametrize(("name", "functions"), [("ensemble", 5), ("gp", 100)])
def test_likelihood_of_a_noisy_linear_system(name, functions, count):
    found = []
    for seed in SEEDS:
        model = DYNAMICS.resolve(name).build(AngleFeatures(2), 1, torch.Generator().manual_seed(seed))
        data, new = linear_system(count, seed, NOISE), linear_system(1000, 100 + seed, NOISE)
        model.fit(data, torch.Generator().manual_seed(seed))
        found.append((mixture_nll(model, data, functions), mixture_nll(model, new, functions)))
    trained, fresh = zip(*found, strict=True)
    print(  # noqa: T201
        f"\n{name}, {count} transitions: {statistics.median(trained):.2f} nats of its data, "
        f"{statistics.median(fresh):.2f} of fresh ones ({min(fresh):.2f} to {max(fresh):.2f} on "
        f"{len(SEEDS)} seeds); the truth has {true_nll(NOISE):.2f}",
        end="",
    )
