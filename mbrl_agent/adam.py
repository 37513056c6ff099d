"""Adam with decoupled weight decay, in place: PyTorch's fused kernel without the classes around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETAS = 0.9, 0.999
EPSILON = 1e-8


class Adam:
    """Moments of the gradients of some parameters, and the steps that they lead to.

    It does what `torch.optim.AdamW(fused=True)` does, bit by bit. Making one of those imports PyTorch's
    compiler, which takes as long as a fit, and half the time of its steps goes into hooks.

    Args:
        parameters: Changed in place.
        weight_decay: Decoupled, a unit of step size.

    Reference:
        Kingma, Ba (2015), Adam; Loshchilov, Hutter (2019), Decoupled Weight Decay Regularization.
    """

    def __init__(self, parameters: Sequence[Tensor], weight_decay: float = 0.0) -> None:
        self._parameters = list(parameters)
        self._weight_decay = weight_decay
        self._first = [torch.zeros_like(value) for value in self._parameters]
        self._second = [torch.zeros_like(value) for value in self._parameters]
        self._counts = [
            torch.zeros((), dtype=torch.float32, device=value.device) for value in self._parameters
        ]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], learning_rate: float, skipped: Tensor | None = None) -> None:
        """Take one step.

        Args:
            gradients: One a parameter.
            learning_rate: Size of the step.
            skipped: Scalar, one where nothing shall change, the count of steps neither; else zero. Nobody
                has to wait for the GPU to know it: so gradient scalers skip a step.
        """
        adamw(
            self._parameters,
            list(gradients),
            self._first,
            self._second,
            [],
            self._counts,
            fused=True,
            capturable=self._counts[0].is_cuda,
            found_inf=skipped,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def reset(self) -> None:
        """Forget all steps so far, in the same storage."""
        for value in (*self._first, *self._second, *self._counts):
            value.zero_()

    def take_over(self, other: Adam) -> None:
        """Go on from the moments of the parameters of another, of the same shapes."""
        for name in ("_first", "_second", "_counts"):
            for own, value in zip(getattr(self, name), getattr(other, name), strict=True):
                own.copy_(value)


def cosine(learning_rate: float, step: int, steps: int) -> float:
    """Step size that decays from `learning_rate` in step 0 to zero after `steps`, along a cosine."""
    return learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
