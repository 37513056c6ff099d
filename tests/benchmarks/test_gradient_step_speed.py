"""Wall time of one policy-gradient step: strategies, sizes, and the adjoint sweep next to autograd.

pytest -m benchmark -s tests/benchmarks/test_gradient_step_speed.py
"""

import statistics
import time

import pytest
import torch

from mbrl_agent.dynamics import DYNAMICS
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.resampling import RESAMPLERS, NoResampling
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.estimators.total_propagation import TotalPropagation
from tests.support.timing import (
    PAIRS,
    Setting,
    first_parameters,
    fitted,
    gradient_step,
    interleaved,
    make_search,
    matrix_products,
)

NAMES = ["gaussian", *[name for name in RESAMPLERS.names() if name != "gaussian"]]


@pytest.mark.benchmark
@pytest.mark.parametrize("particles", [300, 3000])
def test_strategies_next_to_the_matrix_products(particles, records):
    settings = [Setting(particles, resampler=RESAMPLERS.resolve(name)) for name in NAMES]
    runs = [matrix_products(settings[0]), *map(gradient_step, settings)]
    floor, *steps = interleaved(runs, rounds=7)
    records.add(f"matrix products, {particles} x 30", floor)
    for name, times in zip(NAMES, steps, strict=True):
        records.add(f"gradient step, {particles} x 30, {name}", times)
        print(f", {statistics.median(times) / statistics.median(floor):.2f} times the products")  # noqa: T201


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("name", "values"),
    [("particles", [100, 1000, 10000, 30000]), ("horizon", [10, 30, 100, 300]), ("members", [1, 5, 10])],
)
def test_sizes(name, values, records):
    settings = [Setting(**({"particles": 300} | {name: value})) for value in values]
    for value, times in zip(values, interleaved([*map(gradient_step, settings)], rounds=5), strict=True):
        records.add(f"gradient step, gaussian, {name} {value}", times)


@pytest.mark.benchmark
def test_what_a_candidate_costs(records):
    """CPU time: what halving saves, and what workers with a share of the candidates each could save."""
    counts = [1, 2, 4, 8]
    steps = [gradient_step(Setting(150, candidates=count)) for count in counts]
    rounds = [[processor_seconds(step) for step in steps] for _ in range(15)]
    for count, times in zip(counts, zip(*rounds, strict=True), strict=True):
        records.add(f"gradient step, {count} x 150 x 30, gaussian, processor", list(times))


@pytest.mark.benchmark
def test_the_adjoint_sweep_next_to_autograd(records):
    """Both through the same rollout, with the same noise; the ratio is what the sweep gives."""
    dynamics = fitted(Ensemble(fit_steps=200), 90)
    runs = []
    for name in NAMES:
        search = make_search(Setting(resampler=RESAMPLERS.resolve(name)), dynamics)
        simulation = search.simulation(1, torch.Generator().manual_seed(0))
        runs += [adjoint(search, simulation), autograd(search, simulation)]
    times = interleaved(runs, rounds=9)
    for name, sweep, tape in zip(NAMES, times[::2], times[1::2], strict=True):
        records.add(f"gradient by the adjoint sweep, {name}", sweep)
        records.add(f"gradient by autograd, {name}", tape)
        print(f", {statistics.median(tape) / statistics.median(sweep):.2f} times the sweep")  # noqa: T201


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["ensemble", "gp", "gp:propagation=independent"])
@pytest.mark.parametrize(("candidates", "particles"), [(4, 150), (1, 300)])
def test_total_propagation_next_to_the_pathwise_gradient(candidates, particles, name, records):
    setting = Setting(particles, candidates=candidates, resampler=NoResampling())
    dynamics = fitted(DYNAMICS.resolve(name), 90)
    estimators = (Reparameterization(), TotalPropagation())
    searches = [make_search(setting, dynamics, estimator=estimator) for estimator in estimators]
    times = interleaved([gradient_step(setting, search) for search in searches], rounds=15)
    for estimator, own in zip(estimators, times, strict=True):
        records.add(f"gradient step, {candidates} x {particles} x 30, {name}, {estimator.name}", own)
    pathwise, total = map(statistics.median, times)
    print(f", {total / pathwise:.2f} times the pathwise one")  # noqa: T201


def adjoint(search, simulation):
    parameters = first_parameters(search)
    return lambda: Reparameterization()(parameters, simulation)


def autograd(search, simulation):
    parameters = {name: value.requires_grad_() for name, value in first_parameters(search).items()}

    def run():
        cost = simulation(parameters).expected_cost().sum()
        return torch.autograd.grad(cost, list(parameters.values()))

    return run


@pytest.mark.benchmark
@pytest.mark.parametrize(("particles", "rounds"), [(300, 41), (3000, 15)])
def test_cost_of_a_step_that_integrates_positions(particles, rounds):
    """CPU time, not wall time, of pairs: the two are close, and beside other programs the latter is noise."""
    steps = [gradient_step(Setting(particles, velocity_dims=pairs)) for pairs in ((), PAIRS)]
    pairs = [[processor_seconds(step) for step in steps] for _ in range(rounds)]
    ratios = statistics.quantiles(integrated / plain for plain, integrated in pairs)
    text = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\n{particles} particles: integrated / plain, quartiles of {rounds}: {text}")  # noqa: T201
    assert min(ratios) > 0


def processor_seconds(run):
    """CPU time of the second of two calls."""
    run()
    began = time.process_time()
    run()
    return time.process_time() - began
