"""Wall time of one policy-gradient step with every strategy, next to its matrix products alone.

    pytest -m benchmark -s tests/benchmarks/test_gradient_step_speed.py

The full table, over particles, horizons, members and threads: `python -m mbrl_agent.study speed`.
"""

import statistics
import time

import pytest

from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.study.speed.command import speed_text
from mbrl_agent.study.speed.measure import Setting, gradient_step, measure

PAIRS = ((0, 1), (2, 3))


@pytest.mark.benchmark
@pytest.mark.parametrize("particles", [300, 3000])
def test_gradient_step_speed(particles):
    names = ["gaussian", *[name for name in RESAMPLERS.names() if name != "gaussian"]]
    settings = [Setting(particles, resampler=RESAMPLERS.resolve(name)) for name in names]
    timings = measure(settings, rounds=7)
    print("\n" + speed_text(timings))  # noqa: T201
    assert [timing.setting for timing in timings] == settings


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
