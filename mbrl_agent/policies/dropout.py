"""Dropout of a policy's units: at random some are left out of each action while the policy is improved.

No action can then hang on a few units, and the search sees actions beside those that the policy would take.
Each particle leaves out others at each step. What is left is scaled up, so that the mean of the unsquashed
action over all masks is that of the whole policy, which is deployed.

Reference:
    Amadio, Dalla Libera, Antonello, Nikovski, Carli, Romeres (2022), Model-Based Policy Search Using Monte
    Carlo Gradient Estimation With Real Systems Application, section IV.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from mbrl_agent.options import refused
from mbrl_agent.options.validation import require_fraction


@dataclass(frozen=True)
class PolicyDropout:
    """Leave units out with a probability.

    Attributes:
        rate: The probability p.
    """

    rate: float

    def __call__(self, units: Tensor, noise: Tensor | None = None) -> Tensor:
        """Multiply units by 0 with probability p, and by 1 / (1 - p) otherwise.

        Args:
            units: (*R, P, C).
            noise: (*R, P, C), standard normal: a unit is left out where it is below the p-quantile; None
                keeps all units as they are.
        """
        if noise is None or self.rate == 0:
            return units
        kept = noise >= NormalDist().inv_cdf(self.rate)
        return torch.where(kept, units / (1 - self.rate), 0.0)


def require_rate(name: str, value: float) -> None:
    """Raise unless `value` is a probability below 1."""
    require_fraction(name, value)
    if value == 1:
        raise refused(name, "must be below 1, at which nothing is left of the policy, got 1")
