"""Values together with the way back: functions that carry derivatives from outputs to inputs.

A pull-back is a vector-Jacobian product: given the derivatives of some scalar J by a function's outputs
(None where J does not depend on one), it returns the derivatives of J by the function's inputs, None for
zero. A function written with its own pull-back costs a fraction of what a tape of all its operations
does; `by_autograd` makes one from such a tape for everything else. That of a model's prediction may
be called again, with other derivatives; any other is called once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Gradients = tuple[Tensor | None, ...]
PullBack = Callable[..., Gradients]


def by_autograd(
    function: Callable[..., Sequence[Tensor | None]], *inputs: Tensor | None
) -> tuple[list[Tensor | None], PullBack]:
    """Evaluate a function of tensors, and make its pull-back by automatic differentiation.

    Args:
        function: Returns a sequence of tensors; None is allowed among its inputs and outputs.
        inputs: What to call it with.
    """
    leaves = [None if value is None else _leaf(value) for value in inputs]
    with torch.enable_grad():
        outputs = function(*leaves)

    def pull_back(*by_outputs: Tensor | None) -> Gradients:
        live = [
            (value, by)
            for value, by in zip(outputs, by_outputs, strict=True)
            if value is not None and by is not None and value.requires_grad
        ]
        wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        if not live or not wanted:
            return (None,) * len(leaves)
        values, by_values = zip(*live, strict=True)
        # the tape stays for another call, and goes with the pull-back
        found = iter(torch.autograd.grad(values, wanted, by_values, retain_graph=True, allow_unused=True))
        return tuple(None if leaf is None or not leaf.requires_grad else next(found) for leaf in leaves)

    return [None if value is None else value.detach() for value in outputs], pull_back


def on_tape(vjp: Callable[..., tuple[Sequence[Tensor], PullBack]], *inputs: Tensor) -> tuple[Tensor, ...]:
    """Evaluate a function that knows its pull-back so that autograd knows it, too; once differentiable.

    Args:
        vjp: Tensors -> outputs and their pull-back.
        inputs: What to call it with.
    """
    outputs: tuple[Tensor, ...] = _OnTape.apply(vjp, *inputs)  # type: ignore[no-untyped-call]
    return outputs


class _OnTape(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vjp: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, ctx.pull_back = vjp(*inputs)
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_outputs: Tensor | None) -> Gradients:
        return None, *ctx.pull_back(*by_outputs)


def _leaf(value: Tensor) -> Tensor:
    """Return the same value, to be differentiated by; labels and masks have no derivatives."""
    return value.detach().requires_grad_(value.is_floating_point())


def recorded(vjp: Callable[..., tuple[Any, PullBack]], record: list[PullBack]) -> Callable[..., Any]:
    """Make a function that gives the value alone, and puts the way back on record."""

    def call(*inputs: Any) -> Any:
        value, pull_back = vjp(*inputs)
        record.append(pull_back)
        return value

    return call


def product(one: Tensor, other: Tensor) -> Tensor:
    """Give `one @ other`, the product of matrices.

    With one batch axis it is the kernel itself: what `@` does around it takes as long as a small product.
    """
    if one.ndim == other.ndim == 3 and len(one) == len(other):
        return torch.bmm(one, other)
    return one @ other


def total(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Sum of two derivatives of which either may be zero."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def filled(gradient: Tensor | None, like: Tensor) -> Tensor:
    """Compute a derivative by `like` with its zeros spelt out."""
    return torch.zeros_like(like) if gradient is None else gradient


def keep_in_step(cls: type, function: str, derivative: str, general: Any) -> None:
    """Undo the inheritance of a derivative that belongs to another function.

    A class that overrides `function` alone would inherit the derivative of what it has overridden, and
    a search would follow a wrong gradient without a word. It is given the general derivative instead.

    Raises:
        TypeError: The class has a `linearize`, which nobody asks for any more.
    """
    if "linearize" in vars(cls):
        raise TypeError(f"{cls.__name__}.linearize would never be called: name it {derivative}")
    owner = next(owner for owner in cls.__mro__ if function in vars(owner) or derivative in vars(owner))
    if derivative not in vars(owner):
        setattr(cls, derivative, general)
