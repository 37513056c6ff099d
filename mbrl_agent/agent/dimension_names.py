"""Names of state dimensions that can stand in a tag of TensorBoard and at the head of a column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agent.agent.observation_changes import Attributes

MAX_LENGTH = 20  # Stable-Baselines3's table on the terminal cuts long names, and fails where two become one


def offered_names(env: VecEnv | None, dims: int) -> list[str]:
    """Return the (D) names in the environments' `observation_labels`, or indices where they have none."""
    return dimension_names(None if env is None else Attributes(env).get("observation_labels"), dims)


def dimension_names(labels: Any, dims: int) -> list[str]:
    """Return one name a dimension, all different: "theta_dot [rad/s]" becomes "theta_dot".

    A unit in square brackets at the end is left out, and what may not stand in a tag becomes "_". A label of
    which nothing is left becomes the dimension's index, and one that two dimensions share gets it appended.

    Args:
        labels: What the environment offers as `observation_labels`; the indices are taken where that is not
            a sequence of `dims` labels.
        dims: D.
    """
    is_sequence = isinstance(labels, Sequence | np.ndarray) and not isinstance(labels, str | bytes)
    if not is_sequence or len(labels) != dims:
        return [str(index) for index in range(dims)]
    cleaned = [_clean(str(label)) or str(index) for index, label in enumerate(labels)]
    counts = Counter(cleaned)
    names = [name if counts[name] == 1 else f"{name}_{index}" for index, name in enumerate(cleaned)]
    if len(set(names)) < dims:  # one label looks like another with its index
        names = [f"{name}_{index}" for index, name in enumerate(cleaned)]
    return names


def _clean(label: str) -> str:
    without_unit = re.sub(r"\s*\[[^\]]*\]\s*$", "", label)
    return re.sub(r"[^\w.-]+", "_", without_unit)[:MAX_LENGTH].strip("_")
