"""Wall time of one policy-gradient step, next to its matrix products alone (the floor).

    pytest -m benchmark -s tests/benchmarks/test_gradient_step_speed.py

A step is a rollout of 300 particles over 30 steps (4 state dimensions, one of them an angle; 5 members of
64 x 64; RBF policy with 50 centres), its backward pass and Adam. The floor is each matrix product of the
rollout and its two products of the backward pass, 30 times over, and nothing else. Rounds are interleaved,
so that a busy machine slows down all rows alike; the table shows medians.
"""

import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.estimators.reparameterization import Reparameterization
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.policy_search import PolicySearch, SearchOptions
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.tasks import InitialStates

P, T, D, U, MEMBERS, HIDDEN, CENTERS = 300, 30, 4, 1, 5, (64, 64), 50
FEATURES = D + 1
ROUNDS = 7


def cost(state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    return 1 - (-0.5 * (state[..., 0] ** 2 + state[..., 2] ** 2)).exp()


def gradient_step(name: str) -> Callable[[], None]:
    """One step of the policy search with this resampler, as the agent takes it with one candidate."""
    g = torch.Generator().manual_seed(0)
    dynamics = Ensemble(members=MEMBERS, hidden=HIDDEN).build(AngleFeatures(D, (2,)), U, g)
    dynamics.target_std.fill_(0.1)
    box = spaces.Box(-np.inf, np.inf, (D,), np.float32)
    policy = RbfPolicy(box, spaces.Box(-1, 1, (U,), np.float32), angle_dims=(2,), centers=CENTERS)
    start = InitialStates(torch.tensor([0.0, 0.0, np.pi, 0.0]), torch.full((D,), 0.1))
    options = SearchOptions(steps=1, num_particles=P, candidates=1)
    resampler = RESAMPLERS.resolve(name)
    search = PolicySearch(options, policy, dynamics, cost, resampler, Reparameterization(), start, T)
    parameters = policy.initial_parameters(start.sample(1, 100, g)[0], 1, g)
    return lambda: search.improve(parameters, g) and None


def matrix_products() -> Callable[[], None]:
    """The products of a rollout's forward pass, and the two of the backward pass for each."""
    sizes = (FEATURES + U, *HIDDEN, 2 * D)
    layers = [
        (torch.randn(MEMBERS, P // MEMBERS, a), torch.randn(MEMBERS, a, b), torch.randn(MEMBERS, 1, b))
        for a, b in itertools.pairwise(sizes)
    ]
    outputs = [torch.randn(MEMBERS, P // MEMBERS, b) for b in sizes[1:]]
    policy = [
        (torch.randn(P, 2 * FEATURES), torch.randn(2 * FEATURES, CENTERS), torch.randn(P, CENTERS)),
        (torch.randn(P, CENTERS), torch.randn(CENTERS, U), torch.randn(P, U)),
    ]

    def run() -> None:
        for _ in range(T):
            for x, weight, output in policy:
                torch.matmul(x, weight)
                torch.matmul(output, weight.mT)
                torch.matmul(x.mT, output)
            for (x, weight, bias), output in zip(layers, outputs, strict=True):
                torch.baddbmm(bias, x, weight)
                torch.bmm(output, weight.mT)  # the weights of the model need no gradient ...
                torch.bmm(x.mT, output)  # ... but the floor is that of a plain backward pass

    return run


@pytest.mark.benchmark
def test_gradient_step_speed():
    names = ["gaussian", *[name for name in RESAMPLERS.names() if name != "gaussian"]]
    rows = {"matrix products alone": matrix_products()} | {name: gradient_step(name) for name in names}
    times: dict[str, list[float]] = {name: [] for name in rows}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for run in rows.values():
            run()  # warm up
        for _ in range(ROUNDS):
            for name, run in rows.items():
                began = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    floor = statistics.median(times["matrix products alone"])
    print(f"\none gradient step, {P} particles x {T} steps, one thread, median of {ROUNDS}")  # noqa: T201
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:24s} {1e3 * median:8.1f} ms   {median / floor:6.1f} x the floor")  # noqa: T201
    assert all(len(values) == ROUNDS for values in times.values())
