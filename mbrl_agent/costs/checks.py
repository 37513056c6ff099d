"""Settings of costs as tuples of plain numbers, and errors where they are something else."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from mbrl_agent.options.validation import require_not_negative, require_number

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]


def to_number(name: str, value: Any) -> float:
    """Read a finite number as float (NumPy's too).

    Raises:
        TypeError: It is not a number.
        ValueError: It is not finite.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else value
    require_number(name, number)
    return float(number)


def to_vector(name: str, values: Any) -> Vector:
    """Read a sequence or an array of finite numbers as a tuple.

    Raises:
        TypeError: It is something else.
        ValueError: It is empty, or a number is not finite.
    """
    if isinstance(values, np.ndarray | Tensor):
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a sequence of numbers, got {values!r}")
    if not values:
        raise ValueError(f"{name} must hold at least one number, got {values!r}")
    return tuple(to_number(f"{name}[{index}]", value) for index, value in enumerate(values))


def to_indices(name: str, values: Any) -> tuple[int, ...]:
    """Read a sequence of different indices of dimensions as a tuple.

    Raises:
        TypeError: It is something else.
        ValueError: An index is negative or appears twice.
    """
    try:
        if isinstance(values, str) or any(isinstance(value, bool) for value in values):
            raise TypeError("no indices")
        indices = tuple(operator.index(value) for value in values)
    except TypeError as error:
        raise TypeError(f"{name} must be a sequence of indices, for example (2,), got {values!r}") from error
    if any(index < 0 for index in indices) or len(set(indices)) != len(indices):
        raise ValueError(f"{name} must hold different indices of at least 0, got {indices}")
    return indices


def to_weights(name: str, values: Any, dims: int) -> Vector:
    """Return one weight for each of `dims` dimensions, none negative, not all zero.

    Raises:
        TypeError: They are not numbers.
        ValueError: They are too many, too few, negative, not finite or all zero.
    """
    weights = to_vector(name, values)
    if len(weights) != dims:
        raise ValueError(f"{name} must hold {dims} numbers, one a dimension, got {len(weights)}")
    for index, weight in enumerate(weights):
        require_not_negative(f"{name}[{index}]", weight)
    if not any(weights):
        raise ValueError(f"{name} must hold a number above zero, got {weights}: this cost would be zero")
    return weights


def to_weight_matrix(name: str, values: Any, dims: int) -> Matrix:
    """Read a symmetric, positive semi-definite matrix (dims, dims) as rows.

    Raises:
        TypeError: Its entries are not numbers.
        ValueError: It is of another shape, not finite, not symmetric, not positive semi-definite, or zero.
    """
    if isinstance(values, np.ndarray | Tensor):
        values = values.tolist()
    rows = tuple(to_vector(f"{name}[{index}]", row) for index, row in enumerate(values))
    if len(rows) != dims or any(len(row) != dims for row in rows):
        raise ValueError(f"{name} must be a matrix of {dims} rows and {dims} columns, got {rows}")
    matrix = np.array(rows)
    if not np.array_equal(matrix, matrix.T):
        raise ValueError(f"{name} must be symmetric (take (W + W.T) / 2), got {rows}")
    eigenvalues = np.linalg.eigvalsh(matrix)
    if eigenvalues[0] < -1e-9 * abs(eigenvalues).max():
        raise ValueError(
            f"{name} must be positive semi-definite, or this cost would have no least value; its smallest "
            f"eigenvalue is {eigenvalues[0]:.3g}"
        )
    if not matrix.any():
        raise ValueError(f"{name} must hold a number other than zero: this cost would be zero")
    return rows


def check_dims(name: str, indices: Sequence[int], state: Tensor) -> None:
    """Raise ValueError unless states (..., D) have the dimensions."""
    if max(indices) >= state.shape[-1]:
        raise ValueError(f"{name} {tuple(indices)}: a state has dimensions 0 to {state.shape[-1] - 1}")
