"""What the paper claims, and what this package adds to it, measured: `pytest -m slow tests/study`.

Maxima of a gradient variance are heavy-tailed: they move by a decade or more with the number of
repeats. The bounds leave room for that.
"""

from functools import cache

import numpy as np
import pytest

import envs  # noqa: F401
from mbrl_agent.randomness import derive_generator
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.experiment import new_run
from mbrl_agent.study.gradients.bimodal import Modes, forward_errors
from mbrl_agent.study.gradients.directions import random_directions
from mbrl_agent.study.gradients.landscape import landscape
from mbrl_agent.study.gradients.sampling import Sampling
from mbrl_agent.study.gradients.scene import run_scene, untrained_scene
from mbrl_agent.study.strategies import parse_strategy

pytestmark = pytest.mark.slow

SEEDS = range(6)
UNTRAINED_DELTA = np.array([0.0, 0.5, 1.0, 2.0, 3.0])
TRAINED_DELTA = np.linspace(0.0, 4.0, 17)


def log_variances(scene, text, delta, sampling, estimator="reparameterization"):
    """log10 of the gradient variance at every place of the line."""
    generator = derive_generator(sampling.seed, "study direction")
    (direction,) = random_directions(scene.parameters, "weights", 1, generator)
    with np.errstate(divide="ignore"):
        return np.log10(
            landscape(scene, parse_strategy(text, estimator), direction, delta, sampling).variance
        )


@cache
def untrained(text, seed):
    """The largest on the line."""
    scene = untrained_scene(seed=seed)
    return log_variances(scene, text, UNTRAINED_DELTA, Sampling(300, 8, seed)).max()


def test_without_training_gaussian_resampling_tames():
    ratios = [untrained("none", seed) - untrained("gaussian", seed) for seed in SEEDS]
    assert min(ratios) >= 3
    assert np.median(ratios) >= 6


def test_without_training_the_detached_mixture_tames_where_em_does_not():
    ratios = [untrained("mixture:3,3", seed) - untrained("detached-mixture:3", seed) for seed in SEEDS]
    assert min(ratios) >= 1.5


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run with the ensemble."""
    config = {"trials": 6, "eval_episodes": 0, "quiet": True, "logdir": str(tmp_path_factory.mktemp("runs"))}
    experiment = new_run(TrainConfig().updated(config))
    experiment.run()
    return run_scene(experiment.directory)


@pytest.fixture(scope="module")
def variances(trained):
    """log10 of the variance by strategy, each computed once."""

    @cache
    def compute(text, estimator="reparameterization"):
        return log_variances(trained, text, TRAINED_DELTA, Sampling(), estimator)

    return compute


def test_after_learning_gaussian_resampling_tames(variances):
    assert variances("none").max() - variances("gaussian").max() >= 4


def test_the_variance_grows_with_the_interpolation(variances):
    """From a quarter to three quarters of the old particle; the tails of the maxima hide a finer order."""
    quarter, *more = (variances(f"interpolated:{ratio}").max() for ratio in (0.25, 0.75, 0.9))
    assert min(more) - quarter >= 2


def test_the_mixture_of_the_paper_does_not_tame(variances):
    mixture = variances("mixture:5,5")
    assert mixture.max() - variances("gaussian").max() >= 4
    assert mixture[0] > variances("none")[0]


def test_one_component_is_as_tame_as_the_gaussian(variances):
    mixture, gaussian = variances("mixture:1,1"), variances("gaussian")
    assert abs(np.median(mixture) - np.median(gaussian)) <= 0.5
    assert abs(mixture.max() - gaussian.max()) <= 2


def test_detached_responsibilities_tame_the_mixture(variances):
    detached = variances("mixture:5,5,detach-responsibilities=true")
    assert variances("mixture:5,5").max() - detached.max() >= 4


def test_the_detached_mixture_is_nearly_as_tame_as_the_gaussian(variances):
    """The medians; of the maxima, single spikes on six runs were from 10^-1.8 to 10^1.9 of gaussian's."""
    mixture, gaussian = variances("detached-mixture:3"), variances("gaussian")
    assert np.median(mixture) - np.median(gaussian) <= np.log10(30)
    assert mixture.max() - gaussian.max() <= 3
    assert variances("mixture:3,3").max() - mixture.max() >= 1


def test_total_propagation_is_tame_without_resampling(variances):
    """Where it is wildest; 10^1.5 to 10^3.2 of gaussian resampling's on six runs."""
    wild = int(variances("none").argmax())
    total = variances("none", "total-propagation")[wild]
    assert total - variances("gaussian")[wild] <= 4
    assert variances("none")[wild] - total >= 4


def test_the_detached_mixture_predicts_two_ways_up(trained):
    texts = ["gaussian", "detached-mixture:5"]
    rows = forward_errors(
        trained, [parse_strategy(text) for text in texts], Modes(2, -np.pi, np.pi), Sampling(300, 64)
    )
    gaussian, mixture, _ = (abs(row.true_error.value) for row in rows)
    assert mixture <= gaussian / 2
