"""Wall time of one policy-gradient step with every strategy, next to its matrix products alone.

    pytest -m benchmark -s tests/benchmarks/test_gradient_step_speed.py

The full table, over particles, horizons, members and threads: `python -m mbrl_agent.study speed`.
"""

import pytest

from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.study.speed.command import speed_text
from mbrl_agent.study.speed.measure import Setting, measure


@pytest.mark.benchmark
@pytest.mark.parametrize("particles", [300, 3000])
def test_gradient_step_speed(particles):
    names = ["gaussian", *[name for name in RESAMPLERS.names() if name != "gaussian"]]
    settings = [Setting(particles, resampler=RESAMPLERS.resolve(name)) for name in names]
    timings = measure(settings, rounds=7)
    print("\n" + speed_text(timings))  # noqa: T201
    assert [timing.setting for timing in timings] == settings
