"""Reading what is compared."""

import pytest

from mbrl_agent.resampling.interpolated import Interpolated
from mbrl_agent.resampling.mixture import Mixture
from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.search.estimators.total_propagation import TotalPropagation
from mbrl_agent.study.gradients.colours import looks
from mbrl_agent.study.gradients.paper import all_strategies
from mbrl_agent.study.strategies import combine, parse_strategy


@pytest.mark.parametrize(
    ("text", "resampler"),
    [
        ("none", NoResampling()),
        ("interpolated:0.25", Interpolated(0.25)),
        ("interpolated:ratio=0.75", Interpolated(0.75)),
        ("mixture:components=2,em-iterations=4", Mixture(2, 4)),
        ("mixture:5,em_iterations=1", Mixture(5, 1)),
        ("mixture:5,5,detach-responsibilities=true", Mixture(5, 5, detach_responsibilities=True)),
    ],
)
def test_a_strategy_is_read(text, resampler):
    strategy = parse_strategy(text)
    assert strategy.resampler == resampler
    assert strategy.label == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gausian", "did you mean 'gaussian'"),
        ("interpolated:1.5", "from 0 to 1"),
        ("interpolated:half", "expected a number, got 'half'"),
        ("mixture:componets=3", "unknown option; did you mean components"),
        ("mixture:components=3,4", "cannot read '4'; write NAME"),
        ("mixture:3,components=4", "components: is given twice"),
        ("none:1", "cannot read '1'"),
        ("", "unknown resampling ''"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(ValueError, match=message):
        parse_strategy(text)


def test_estimators_are_combined_with_what_they_work_with():
    strategies, left_out = combine(["none", "gaussian"], ["reparameterization", "total-propagation"])
    assert [s.label for s in strategies] == ["none", "gaussian", "none + total-propagation"]
    assert strategies[-1].estimator == TotalPropagation()
    assert left_out == ["estimator 'total-propagation' does not work with gaussian"]


def test_an_estimator_that_works_with_none_of_them_is_refused():
    with pytest.raises(ValueError, match="use resampling 'none'"):
        combine(["gaussian"], ["likelihood-ratio"])


def test_twice_the_same_is_refused():
    with pytest.raises(ValueError, match="'none' is given twice"):
        combine(["none", "none"], ["reparameterization"])


def test_every_curve_of_the_figures_has_a_look_of_its_own():
    styles = looks(all_strategies())
    assert len(set(styles.values())) == len(styles)
    assert styles["gaussian"].colour == looks([parse_strategy("gaussian")])["gaussian"].colour
