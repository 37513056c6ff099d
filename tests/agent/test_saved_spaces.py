"""Box spaces as two arrays in a checkpoint: equal again, and clear errors for everything else."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mbrl_agent.agent.saving import read_box

FLOATS = [np.float16, np.float32, np.float64]
INTEGERS = [np.int8, np.int16, np.int32, np.int64]


def through_arrays(space):
    return read_box({"space/low": space.low, "space/high": space.high}, "space")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (1,)),
        spaces.Box(-np.inf, np.inf, (4,), np.float64),
        spaces.Box(np.float32([0.1, -np.inf, -0.0]), np.float32([np.inf, 0.3, 0.0])),
        spaces.Box(0, 255, (3, 2, 1), np.uint8),
        spaces.Box(-np.inf, np.inf, (2,), np.int64),
        spaces.Box(-128, np.inf, (2, 2), np.int8),
        spaces.Box(0, 1, (2,), np.bool_),
        spaces.Box(0, 1, (0, 3), np.float32),
        spaces.Box(np.float32(np.finfo(np.float32).min), np.float32(np.finfo(np.float32).max), (1,)),
    ],
    ids=str,
)
def test_boxes_come_back_equal(space):
    restored = through_arrays(space)
    assert restored == space
    assert restored.dtype == space.dtype
    if space.dtype.kind == "f":  # of integers, Gymnasium also keeps whether a bound was declared
        assert np.array_equal(restored.bounded_below, space.bounded_below)
        assert np.array_equal(restored.bounded_above, space.bounded_above)


@given(st.data(), st.sampled_from(FLOATS + INTEGERS), hnp.array_shapes(min_dims=0, max_side=3))
def test_any_box_comes_back_equal(data, dtype, shape):
    numbers = {"allow_nan": False} if dtype in FLOATS else None
    bounds = [data.draw(hnp.arrays(dtype, shape, elements=numbers)) for _ in range(2)]
    space = spaces.Box(np.minimum(*bounds), np.maximum(*bounds), dtype=dtype)
    assert through_arrays(space) == space


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (np.zeros(2), np.ones(3), r"float64 \(2,\) and float64 \(3,\)"),
        (np.zeros(2, np.float32), np.ones(2), "float32"),
        (np.zeros(2, complex), np.ones(2, complex), "complex128"),
        (np.ones(2), np.zeros(2), "not below"),
        (np.array([np.nan]), np.ones(1), "not below"),
    ],
)
def test_bounds_that_are_refused(low, high, message):
    with pytest.raises(ValueError, match=message):
        read_box({"space/low": low, "space/high": high}, "space")
