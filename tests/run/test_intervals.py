"""Intervals against independent implementations."""

import math

import numpy as np
import pytest
from scipy import stats

from mbrl_agent.run.intervals import bootstrap, wilson


@pytest.mark.parametrize(("successes", "count"), [(0, 8), (8, 8), (7, 8), (1, 1), (50, 100)])
def test_wilson_against_scipy(successes, count):
    theirs = stats.binomtest(successes, count).proportion_ci(method="wilson")
    ours = wilson(successes, count)
    assert ours.value == successes / count
    np.testing.assert_allclose([ours.low, ours.high], [theirs.low, theirs.high], atol=1e-12)


def test_wilson_needs_runs():
    with pytest.raises(ValueError, match="at least one run"):
        wilson(0, 0)


def mean(sample):
    return sample.mean(-1)


def test_bootstrap_of_a_mean_against_scipy():
    values = np.random.default_rng(3).gamma(2, 1, size=40)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=5)
    ours = bootstrap(values, mean, 20000)
    assert ours.value == values.mean()
    expected = [theirs.confidence_interval.low, theirs.confidence_interval.high]
    np.testing.assert_allclose([ours.low, ours.high], expected, atol=0.02)


def test_bootstrap_says_nothing_of_a_single_value_or_none():
    single = bootstrap(np.array([2.0]), mean, 100)
    assert single.value == 2.0
    assert math.isnan(single.low)
    assert math.isnan(bootstrap(np.zeros(0), mean, 100).value)
