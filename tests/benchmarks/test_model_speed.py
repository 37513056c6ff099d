"""Wall time of fits and of gradient steps of every model, over the number of transitions.

pytest -m benchmark -s tests/benchmarks/test_model_speed.py
"""

import pytest

from mbrl_agent.dynamics import DYNAMICS
from mbrl_agent.resampling import NoResampling
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.search.rollouts import ROLLOUTS
from tests.support.timing import (
    Setting,
    fitted,
    gradient_step,
    interleaved,
    make_search,
    seconds,
)

MODELS = ["ensemble", "gp", "gp:propagation=independent", "dropout"]


@pytest.mark.benchmark
@pytest.mark.parametrize("count", [30, 90, 300])
def test_fits(count, records):
    for name in MODELS:
        times = [seconds(lambda name=name: fitted(DYNAMICS.resolve(name), count)) for _ in range(3)]
        records.add(f"fit to {count} transitions, {name}", times)


@pytest.mark.benchmark
@pytest.mark.parametrize("count", [30, 90, 300])
def test_steps_in_every_model(count, records):
    """Of the search's default size: 4 candidates x 150 particles x 30 steps, without resampling."""
    setting = Setting(particles=150, candidates=4, resampler=NoResampling())
    models = {name: fitted(DYNAMICS.resolve(name), count) for name in MODELS}
    searches = {name: make_search(setting, model) for name, model in models.items()}
    gp, ensemble = models["gp"], models["ensemble"]
    searches["gp, moment-matching"] = make_search(setting, gp, ROLLOUTS.resolve("moment-matching"))
    for estimator in ("likelihood-ratio", "total-propagation"):
        searches[f"ensemble, {estimator}"] = make_search(
            setting, ensemble, estimator=ESTIMATORS.resolve(estimator)
        )
    times = interleaved([gradient_step(setting, search) for search in searches.values()], rounds=5)
    for name, own in zip(searches, times, strict=True):
        records.add(f"gradient step, 4 x 150 x 30, {count} transitions, {name}", own)
