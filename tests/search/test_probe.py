"""Figures of heavy-tailed samples: pairs of estimates, quartiles."""

import math

import pytest
import torch

from mbrl_agent.search.probe import Quartiles, pair_variances, quartiles


def test_the_mean_over_the_pairs_is_the_variance():
    estimates = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = pair_variances(estimates)
    assert pairs.shape == (3, 21)
    torch.testing.assert_close(pairs.mean(-1), estimates.var(1).sum(-1))


def test_an_outlier_moves_the_variance_and_not_the_median():
    estimates = torch.randn(16, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wild = estimates.clone()
    wild[3] *= 1e12
    calm, changed = (Quartiles.of(pair_variances(values)) for values in (estimates, wild))
    assert float(pair_variances(wild).mean()) > 1e20
    assert changed.median == pytest.approx(calm.median, rel=0.1)
    assert calm.low < calm.median < calm.high
    assert calm.median == pytest.approx(50, rel=0.1)  # the trace of the covariance


def test_pairs_of_what_is_not_finite_are_the_largest():
    estimates = torch.tensor([[0.0], [1.0], [2.0], [math.inf], [math.nan]])
    found = Quartiles.of(pair_variances(estimates))  # 3 of 10 pairs are finite
    assert (found.low, found.median, found.high) == (2.0, math.inf, math.inf)


def test_quartiles_over_the_last_axis():
    values = torch.stack([torch.arange(9.0).flip(0), torch.arange(9.0) * 2])
    torch.testing.assert_close(
        quartiles(values), torch.tensor([[2, 4], [4, 8], [6, 12]], dtype=torch.float64)
    )
