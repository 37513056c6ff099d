"""Gaussian resampling among the particles of one function: what the model does not know stays apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mbrl_agent.resampling.gaussian import Gaussian


@dataclass(frozen=True)
class FunctionGaussian(Gaussian):
    """Fit a Gaussian to the particles of each function of the model, and redraw them from it.

    A function is a member of an ensemble, or a draw of a Gaussian process: particle i belongs to function
    i // (P / M). `Gaussian` mixes the particles of all functions, so that after a step a particle stands
    where another function led; the paper's first objection to resampling. Here a function's particles meet
    only each other. With one function, or outside an agent, this is `Gaussian`.

    Raises:
        ValueError: `moments` is neither "particles" nor "predictions".
        TypeError: `moments` is not a string, or `wrap` not a truth value.

    Reference:
        Parmas, Peters, Doya, "Which resampling methods can tame ill-behaved gradients in chaotic
        systems?", section 5; groups of particles that are matched apart were in McGill's prob_mbrl first
        (`mm_groups`).

    Example:
        >>> particles = torch.tensor([[0.0], [2.0], [4.0], [10.0], [12.0], [14.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(6, 1))
        >>> strategy = FunctionGaussian().for_task((), functions=2)
        >>> strategy(prediction, particles, torch.zeros(6, 1), None).particles.squeeze(-1)
        tensor([ 2.,  2.,  2., 12., 12., 12.])
    """

    name: ClassVar[str] = "function-gaussian"
    by_function: ClassVar[bool] = True
