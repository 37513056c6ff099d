"""Labels of an environment as parts of tags."""

import numpy as np
import pytest

from envs.cartpole.task import OBSERVATION_LABELS
from mbrl_agent.agent.dimension_names import dimension_names


def test_units_are_left_out():
    assert dimension_names(OBSERVATION_LABELS, 4) == ["x", "x_dot", "theta", "theta_dot"]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["a b", "c/d"], ["a_b", "c_d"]),
        (["θ [rad]", "dθ/dt [rad/s]"], ["θ", "dθ_dt"]),
        (["x,y\n", 'say "x"'], ["x_y", "say_x"]),
        (["a [m]", "a [m/s]"], ["a_0", "a_1"]),
        (["", "[m]"], ["0", "1"]),
        (["1", ""], ["1_0", "1_1"]),
        (["a", "a", "a_0"], ["a_0", "a_1", "a_0_2"]),
        (np.array(["x", "y"]), ["x", "y"]),
        ([1, 2.5], ["1", "2.5"]),
        (["long " * 20 + "x", "long " * 20 + "y"], ["long_long_long_long_0", "long_long_long_long_1"]),
    ],
)
def test_what_may_not_stand_in_a_tag_is_replaced_and_names_differ(labels, names):
    cleaned = dimension_names(labels, len(labels))
    assert cleaned == names
    assert len(set(cleaned)) == len(labels)


@pytest.mark.parametrize("labels", [None, ["x"], ["x", "y", "z"], "xy", b"xy", 2, {"x", "y"}, np.float64(1)])
def test_indices_where_there_are_no_such_labels(labels):
    assert dimension_names(labels, 2) == ["0", "1"]
