"""Box spaces as JSON: exactly back, and clear errors for everything else."""

import json
import math

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mbrl_agent.agent.spaces_json import space_from_json, space_to_json
from mbrl_agent.files.archive import CheckpointError

FLOATS = [np.float16, np.float32, np.float64]
INTEGERS = [np.int8, np.int16, np.int32, np.int64]


def through_json(space):
    return space_from_json(json.loads(json.dumps(space_to_json(space))))


def assert_same(one, other):
    """Every attribute that a Box's behaviour depends on, bit by bit."""
    assert type(one) is type(other) is spaces.Box
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    for name in ("low", "high", "bounded_below", "bounded_above"):
        a, b = getattr(one, name), getattr(other, name)
        assert (name, a.dtype, a.shape, a.tobytes()) == (name, b.dtype, b.shape, b.tobytes())


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (1,)),
        spaces.Box(-np.inf, np.inf, (4,), np.float64),
        spaces.Box(np.float32([0.1, -np.inf, -0.0]), np.float32([np.inf, 0.3, 0.0])),
        spaces.Box(0, 255, (3, 2, 1), np.uint8),
        spaces.Box(-np.inf, np.inf, (2,), np.int64),
        spaces.Box(-(2**63), 2**63 - 2, (2,), np.int64),
        spaces.Box(-128, np.inf, (2, 2), np.int8),
        spaces.Box(0, 1, (2,), np.bool_),
        spaces.Box(0, 1, (), np.float32),
        spaces.Box(0, 1, (0, 3), np.float32),
        spaces.Box(np.float32(np.finfo(np.float32).min), np.float32(np.finfo(np.float32).max), (1,)),
    ],
    ids=str,
)
def test_boxes_come_back_exactly(space):
    assert_same(through_json(space), space)


@given(st.data(), st.sampled_from(FLOATS + INTEGERS), hnp.array_shapes(min_dims=0, max_side=3))
def test_any_box_comes_back_exactly(data, dtype, shape):
    bounds = [data.draw(hnp.arrays(dtype, shape, elements={"allow_nan": False} if dtype in FLOATS else None))]
    bounds.append(
        data.draw(hnp.arrays(dtype, shape, elements={"allow_nan": False} if dtype in FLOATS else None))
    )
    space = spaces.Box(np.minimum(*bounds), np.maximum(*bounds), dtype=dtype)
    assert_same(through_json(space), space)


def test_samples_of_a_restored_box_are_those_of_the_original():
    """Also where an integer box has no bound, which its `low` and `high` alone do not tell."""
    for dtype in (np.float32, np.int32):
        space = spaces.Box(-np.inf, np.inf, (5,), dtype)
        restored = through_json(space)
        space.seed(3)
        restored.seed(3)
        assert np.array_equal(restored.sample(), space.sample())


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3),
        spaces.MultiBinary(2),
        spaces.Dict(a=spaces.Box(0, 1)),
        spaces.Tuple([spaces.Box(0, 1)]),
    ],
    ids=str,
)
def test_other_spaces_are_refused(space):
    with pytest.raises(TypeError, match=rf"must be gymnasium\.spaces\.Box, got {type(space).__name__}\("):
        space_to_json(space)


GOOD = {"type": "Box", "dtype": "float32", "shape": [2], "low": [-1.0, -math.inf], "high": [0.5, 1]}


def test_the_example_is_good():
    expected = spaces.Box(np.float32([-1, -np.inf]), np.float32([0.5, 1]))
    assert_same(space_from_json(GOOD), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "Discrete"}, "must be described as a Box"),
        ({"extra": 1}, "needs type, dtype, shape, low and high, got dtype, extra"),
        ({"dtype": "object"}, "'object' is not a dtype of a Box"),
        ({"dtype": "float31"}, "not a valid Box: .*float31"),
        ({"dtype": "f4,f4"}, "not a dtype"),
        ({"dtype": "(2,f4"}, "not a dtype"),
        ({"dtype": "complex64"}, "not a dtype"),
        ({"dtype": ["float32"]}, "not a dtype"),
        ({"dtype": None}, "'None' is not a dtype"),
        ({"shape": [3]}, "reshape"),
        ({"shape": [-1]}, "not a valid Box"),
        ({"shape": [10**30]}, "not a valid Box"),
        ({"shape": [2.0]}, "not a valid Box"),
        ({"shape": "2"}, "not a valid Box"),
        ({"shape": None}, "not a valid Box"),
        ({"shape": [1] * 70 + [2]}, "not a valid Box"),
        ({"low": [-1.0]}, "reshape"),
        ({"low": "ab"}, "must be a list of numbers"),
        ({"low": [[-1.0], [-1.0]]}, "must be a list of numbers"),
        ({"low": ["-1.0", "0"]}, "must be a list of numbers"),
        ({"low": [None, -1.0]}, "must be a list of numbers"),
        ({"low": None}, "must be a list of numbers"),
        ({"low": [math.nan, 0.0]}, "a bound that float32 cannot represent"),
        ({"low": [0.1, 0.0]}, "a bound that float32 cannot represent"),
        ({"high": [1e300, 1.0]}, "a bound that float32 cannot represent"),
        ({"high": [10**400, 1.0]}, "not a valid Box"),
        ({"low": [1.0, 0.0]}, "low values must be less"),
        ({"dtype": "uint8", "low": [0, -1], "high": [1, 1]}, "not a valid Box"),
        ({"dtype": "uint8", "low": [0, -math.inf], "high": [1, 1]}, "not a valid Box"),
        ({"dtype": "int8", "low": [0.5, 0], "high": [1, 1]}, "a bound that int8 cannot represent"),
        ({"dtype": "int8", "low": [0, 0], "high": [1, 300]}, "not a valid Box"),
        ({"dtype": "int8", "low": [0, math.inf], "high": [1, 1]}, "not a valid Box"),
        ({"dtype": "bool", "low": [0, 0], "high": [1, 2]}, "a bound that bool cannot represent"),
    ],
    ids=str,
)
def test_data_that_is_refused(changes, message):
    with pytest.raises(CheckpointError, match=message):
        space_from_json(GOOD | changes)


@pytest.mark.parametrize("data", [None, [], 3, "Box", {}, {"type": "Box"}], ids=str)
def test_data_that_is_not_a_box_at_all(data):
    with pytest.raises(CheckpointError, match=r"must be described as a Box|needs type, dtype"):
        space_from_json(data)


def test_unbounded_entries_are_legal_json_to_read():
    assert space_to_json(spaces.Box(-np.inf, np.inf, (1,), np.int32)) == {
        "type": "Box",
        "dtype": "int32",
        "shape": [1],
        "low": [-math.inf],
        "high": [math.inf],
    }
