"""IQM, bootstrap and intervals against independent implementations; quantiles with censored runs."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mbrl_agent.study.compare.statistics import (
    Reached,
    bootstrap_iqm,
    interquartile_mean,
    reached_quantile,
)


@pytest.mark.parametrize("count", range(1, 14))
def test_iqm_is_the_trimmed_mean_of_every_value_four_times(count):
    values = np.random.default_rng(count).normal(size=(3, count))
    expected = [stats.trim_mean(np.repeat(row, 4), 0.25) for row in values]
    np.testing.assert_allclose(interquartile_mean(values), expected, rtol=1e-12)
    if count % 4 == 0:
        np.testing.assert_allclose(interquartile_mean(values), stats.trim_mean(values, 0.25, axis=1))


def test_iqm_by_hand():
    # a quarter of three runs is 0.75 of a run: 0.25 of the outer ones stays, 1.5 runs in all
    assert interquartile_mean(np.array([0.0, 0.6, 30.0])) == pytest.approx((0.6 + 0.25 * 30) / 1.5)
    assert interquartile_mean(np.array([9.0, 1.0, 2.0, -50.0])) == 1.5


@pytest.mark.parametrize("values", [[0.1, 0.5, 0.9, 1.0], [0.0, 0.3, 0.4, 1.0, 0.7]])
def test_bootstrap_against_all_samples_there_are(values):
    def iqm(sample):
        return stats.trim_mean(np.repeat(sample, 4), 0.25)

    everything = [iqm(sample) for sample in itertools.product(values, repeat=len(values))]
    found = bootstrap_iqm(np.array(values), resamples=40000)
    assert found.value == pytest.approx(iqm(values))
    low, high = np.quantile(everything, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_bootstrap_against_scipy():
    values = np.random.default_rng(3).beta(2, 1, size=9)
    theirs = stats.bootstrap(
        (values,),
        lambda x, axis: stats.trim_mean(np.repeat(x, 4, axis=axis), 0.25, axis=axis),
        n_resamples=20000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    ours = bootstrap_iqm(values, resamples=20000)
    assert (ours.low, ours.high) == (
        pytest.approx(theirs.low, abs=0.01),
        pytest.approx(theirs.high, abs=0.01),
    )


def test_bootstrap_is_the_same_every_time_and_says_nothing_of_a_single_run():
    values = np.random.default_rng(0).normal(size=7)
    assert bootstrap_iqm(values) == bootstrap_iqm(values)
    assert bootstrap_iqm(values) != bootstrap_iqm(values, seed=1)
    single = bootstrap_iqm(np.array([0.3]))
    assert single.value == 0.3
    assert math.isnan(single.low)
    assert math.isnan(single.high)
    assert math.isnan(bootstrap_iqm(np.zeros(0)).value)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("count", [1, 2, 5, 8, 9])
def test_a_quantile_of_runs_that_all_got_there(share, count):
    times = np.random.default_rng(count).permutation(np.arange(3.0, 3 + 3 * count, 3))
    expected = np.quantile(times, share, method="inverted_cdf")
    assert reached_quantile(times.tolist(), (times + 1).tolist(), share) == Reached(expected)


def test_a_quantile_with_runs_that_did_not_get_there():
    reached, watched = [12.0, None, 9.0, None], [30.0, 30.0, 30.0, 30.0]
    assert reached_quantile(reached, watched, 0.5) == Reached(12.0)
    assert reached_quantile(reached, watched, 0.75) == Reached(30.0, open=True)
    assert reached_quantile([None, None], [30.0, 6.0], 0.5) == Reached(6.0, open=True)  # not above 30


def test_a_run_that_was_not_watched_long_counts_as_later_than_those_that_got_there():
    reached, watched = [500.0, None, None, None], [600.0, 10.0, 10.0, 0.0]
    quartiles = [reached_quantile(reached, watched, share) for share in (0.25, 0.5, 0.75)]
    assert quartiles == [Reached(500.0), Reached(500.0, open=True), Reached(500.0, open=True)]
