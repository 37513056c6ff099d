"""The arms: two kinds of values times two kinds of derivatives, and two that smooth the reward alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from mbrl_agent.gaussians.cholesky import robust_cholesky
from mbrl_agent.resampling import RESAMPLERS, Resampler
from mbrl_agent.search.rollouts.moment_matching import quasi_normal
from mbrl_agent.types import Cost

NONE, TANGENT, REDRAW, GAUSSIAN = "none", "tangent:1", "redraw, own derivatives", "gaussian"
BELIEF, WIDER = "expected cost", "wider cost"


@dataclass(frozen=True)
class Arm:
    """One way to improve a policy.

    Attributes:
        label: Names it in figures and tables.
        resampling: The strategy, spelt as on the command line, without `wrap`.
        reward: How the cost is smoothed: not at all, by the Gaussian that is fitted to the particles of each
            step, or by a greater width.
        wraps: Whether the strategy has an option `wrap`.
    """

    label: str
    resampling: str
    reward: Literal["own", "belief", "wider"] = "own"
    wraps: bool = True

    def resampler(self, wrap: bool) -> Resampler:
        """Return the strategy; with `wrap` angles are fitted on the turn of their circular mean."""
        if not (wrap and self.wraps):
            return RESAMPLERS.resolve(self.resampling)
        separator = "," if ":" in self.resampling else ":"
        return RESAMPLERS.resolve(f"{self.resampling}{separator}wrap=true")

    def cost(self, cost: Cost, wider: float) -> Cost:
        """Return the cost that the arm lowers.

        Args:
            cost: The task's.
            wider: Times which it is widened.

        Raises:
            ValueError: It has no width that could be changed.
        """
        if self.reward == "belief":
            return BeliefCost(cost)
        return widened(cost, wider) if self.reward == "wider" else cost


ARMS = (
    Arm(NONE, "none", wraps=False),
    Arm(TANGENT, "tangent:1"),
    Arm(REDRAW, "ot-interpolated:ratio=0,straight-through=true"),
    Arm(GAUSSIAN, "gaussian"),
    Arm(BELIEF, "none", "belief", wraps=False),
    Arm(WIDER, "none", "wider", wraps=False),
)


@dataclass(frozen=True)
class BeliefCost:
    """E[c(x)] under the Gaussian with the mean and the covariance of the particles, for all of them.

    It smooths the reward as a redraw would, and the particles go on as they are. Actions count by their mean.

    Attributes:
        cost: c; its `expected(mean, covariance)` is taken where it offers one.
        points: Quasi-random points of the Gaussian over which any other cost is averaged.
    """

    cost: Cost
    points: int = 128

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        """Compute expected costs (..., P) of states (..., P, D), actions (..., P, U); differentiable."""
        mean = state.mean(-2)
        centred = state - mean.unsqueeze(-2)
        covariance = centred.mT @ centred / (state.shape[-2] - 1)
        known = getattr(self.cost, "expected", None)
        if known is not None:
            expected = known(mean, covariance)
        else:
            factor, _ = robust_cholesky(covariance)
            normals = _normals(self.points, state.shape[-1]).to(state)
            samples = mean.unsqueeze(-2) + normals @ factor.mT
            actions = action.mean(-2, keepdim=True).expand(*samples.shape[:-1], -1)
            expected = self.cost(samples, actions).mean(-1)
        shared: Tensor = expected.unsqueeze(-1).expand(state.shape[:-1])
        return shared


_DRAWN: dict[tuple[int, int], Tensor] = {}


def _normals(points: int, dims: int) -> Tensor:
    if (points, dims) not in _DRAWN:
        _DRAWN[points, dims] = quasi_normal(points, dims)
    return _DRAWN[points, dims]


def widened(cost: Cost, factor: float) -> Cost:
    """Make a cost with a dataclass field `width`, that many times as wide.

    Raises:
        ValueError: It has none.
    """
    width = getattr(cost, "width", None)
    if width is None or not dataclasses.is_dataclass(cost) or isinstance(cost, type):
        raise ValueError(f"{type(cost).__name__} has no width")
    made: Any = dataclasses.replace(cost, width=factor * width)
    return made
