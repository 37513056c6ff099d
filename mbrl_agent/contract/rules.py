"""What the suites share: the error of a broken rule, comparisons, and a watch over what is global."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

REPLICATES: tuple[tuple[int, ...], ...] = ((), (2,), (2, 3))
DTYPES = (torch.float32, torch.float64)
EXACT = 1e-8
"""Largest difference of two derivatives in float64, relative and absolute."""

Rule = Callable[[Any], None]
"""Raises ContractError where the instance that it is given breaks it."""


class ContractError(AssertionError):
    """A rule of the contract is broken; the message says which."""


def require(holds: bool | Tensor, rule: str) -> None:
    """Raise ContractError unless the rule holds."""
    if not bool(holds):
        raise ContractError(rule)


def check_all(rules: Sequence[Rule], instance: Any, label: str) -> None:
    """Check one rule after the other.

    Raises:
        ContractError: One is broken; the message begins with what was checked.
    """
    __tracebackhide__ = True
    for rule in rules:
        try:
            rule(instance)
        except ContractError as error:
            raise ContractError(f"{label}: {error}") from error
        except Exception as error:  # code of the user's own may raise anything
            raise ContractError(
                f"{label}: {type(error).__name__} while checking {rule.__name__!r}: {error}"
            ) from error


def require_close(found: Tensor | None, expected: Tensor | None, rule: str, tolerance: float = EXACT) -> None:
    """Raise ContractError unless two tensors are alike; None stands for zero."""
    if found is None or expected is None:
        left = expected if found is None else found
        require(left is None or not left.any(), f"{rule} (one of them is zero)")
        return
    require(found.shape == expected.shape, f"{rule} (shapes {tuple(found.shape)}, {tuple(expected.shape)})")
    if not torch.allclose(found.double(), expected.double(), rtol=tolerance, atol=tolerance, equal_nan=True):
        gap = float((found.double() - expected.double()).detach().abs().max())
        raise ContractError(f"{rule} (they differ by up to {gap:.2g})")


def require_tensor(
    value: Any, shape: Sequence[int], like: torch.dtype | None, name: str, finite: bool = True
) -> None:
    """Raise ContractError unless it is a tensor of this shape and dtype.

    Args:
        value: What was returned.
        shape: Expected shape.
        like: Expected dtype, that of the inputs; None for any.
        name: What the value is called.
        finite: Whether its values must be finite.
    """
    require(isinstance(value, Tensor), f"{name} must be a tensor, got {type(value).__name__}")
    require(
        tuple(value.shape) == tuple(shape),
        f"{name} must have the shape {tuple(shape)}, got {tuple(value.shape)}",
    )
    require(
        like is None or value.dtype == like,
        f"{name} must have the dtype of the inputs, {like}, got {value.dtype}",
    )
    require(not finite or value.isfinite().all(), f"{name} must be finite")


@contextmanager
def nothing_global(what: str, *inputs: Tensor) -> Iterator[None]:
    """Run a block that must not draw from a global generator, nor change the tensors.

    Raises:
        ContractError: It did.
    """
    held = [value.detach().clone() for value in inputs]
    before = torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    yield
    after = np.random.get_state(legacy=False)
    drawn = not torch.equal(torch.get_rng_state(), before[0]) or random.getstate() != before[2]
    drawn = drawn or not _equal_states(before[1], after)
    require(not drawn, f"{what} must not draw from the global random generators: take the noise it is given")
    same = all(torch.equal(a, b.detach()) for a, b in zip(held, inputs, strict=True))
    require(same, f"{what} must not change the tensors that it is given")


def _equal_states(one: Any, other: Any) -> bool:
    return all(np.array_equal(one["state"][key], other["state"][key]) for key in one["state"])


def require_same(one: Sequence[Any], other: Sequence[Any], what: str) -> None:
    """Raise ContractError unless the tensors of two calls are equal bit by bit."""
    for a, b in zip(one, other, strict=True):
        same = a is b or (isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b))
        require(same, f"{what} must be a pure function: two calls with the same arguments differ")


def refuses(call: Callable[[], object]) -> bool:
    """Whether a call raises ValueError."""
    try:
        call()
    except ValueError:
        return True
    return False


def generator(seed: int = 0) -> torch.Generator:
    """Return a generator of its own."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard-normal numbers, which do not depend on the dtype."""
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def tolerance_of(dtype: torch.dtype) -> float:
    """Return what rounding may add up to where sums are taken in another order."""
    return 1e-3 if dtype == torch.float32 else EXACT
