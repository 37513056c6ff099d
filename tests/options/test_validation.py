"""Checks of users' values, and numbers that are not Python's own."""

import numpy as np
import pytest
import yaml

from mbrl_agent.options import to_plain
from mbrl_agent.options.validation import (
    require_amount,
    require_count,
    require_flag,
    require_number,
    require_seed,
)
from mbrl_agent.resampling import Interpolated, Mixture
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.search.policy_search import SearchOptions


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_counts(value):
    assert type(require_count("n", value)) is int
    assert type(require_seed("n", value)) is int
    require_number("n", value)


@pytest.mark.parametrize("value", [1e5, np.float32(1e5), 100_000, np.int32(100_000)])
def test_amounts(value):
    assert require_amount("n", value) == 100_000
    assert type(require_amount("n", value)) is int


@pytest.mark.parametrize("value", [1.5, np.inf, np.nan, 0.0, -3.0])
def test_amounts_that_are_none(value):
    with pytest.raises(ValueError, match=r"^n must be"):
        require_amount("n", value)


@pytest.mark.parametrize("value", [True, np.bool_(True), 1.0, np.float64(1), "1", None, np.array([1])])
def test_what_is_no_count(value):
    with pytest.raises(TypeError, match=r"^n must be a whole number"):
        require_count("n", value)


def test_flags_of_numpys():
    require_flag("f", np.bool_(False))
    with pytest.raises(TypeError):
        require_flag("f", 0)


def test_a_configuration_with_numpys_numbers_is_written_as_any_other(tmp_path):
    given = TrainConfig(
        trials=np.int64(7),
        seed=np.uint32(5),
        search=SearchOptions(steps=np.int16(9), learning_rate=np.float64(0.5)),
        resampling=Mixture(components=np.int64(2), detach_responsibilities=np.bool_(True)),
    )
    given.save(tmp_path / "config.yaml")
    read = TrainConfig.load(tmp_path / "config.yaml")
    assert read == given
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["search"]["steps"] == 9
    changed = TrainConfig().updated({"trials": np.int64(7), "search": {"learning_rate": np.float64(0.5)}})
    assert (changed.trials, changed.search.learning_rate) == (7, 0.5)
    assert type(changed.trials) is int


def test_plain_data():
    value = {"a": (np.int64(1), 2), "b": np.float32(0.5), "c": np.arange(2), "d": None}
    assert to_plain(value) == {"a": [1, 2], "b": 0.5, "c": [0, 1], "d": None}
    assert Interpolated(ratio=np.float64(0.25)) == Interpolated(ratio=0.25)
