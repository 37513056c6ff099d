"""The values that flow between the rooms: small frozen dataclasses of tensors.

Shapes here and everywhere else: P particles, D state dimensions, U action dimensions, T steps.
`*R` stands for any number of leading replicate axes: independent rollouts side by side in the same
kernel calls, between which particles never mix. Time, where there is an axis for it, comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]
"""Policy parameters by name; each tensor may carry leading replicate axes."""


Cost = Callable[[Tensor, Tensor], Tensor]
"""States (..., D) and actions (..., U) in [-1, 1] that led to them -> costs (...)."""

Step = Callable[[Tensor, Tensor], Tensor]
"""States (..., D) and actions (..., U) in [-1, 1] -> next states (..., D), differentiable."""

Terminated = Callable[[Tensor], Tensor]
"""States (..., D) -> whether an episode ends there, (...) bool."""


@dataclass(frozen=True)
class Transitions:
    """N one-step transitions.

    Attributes:
        states: (N, D), before the step.
        actions: (N, U), in [-1, 1].
        next_states: (N, D), after the step.
    """

    states: Tensor
    actions: Tensor
    next_states: Tensor

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True)
class Prediction:
    """A Gaussian with diagonal covariance over each particle's next state.

    Attributes:
        mean: (*R, P, D), in the units of the state.
        std: (*R, P, D), standard deviation, in the units of the state; zero where the mean is exact.

    Example:
        >>> prediction = Prediction(mean=torch.zeros(50, 4), std=torch.ones(50, 4))
        >>> prediction.mean.shape
        torch.Size([50, 4])
    """

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Resampled:
    """What a resampling strategy returns for one time step.

    Attributes:
        particles: (*R, P, D), the states from which the next step starts.
        weights: (*R, P), each particle's share of the expected cost; they sum to one over P.
        state: What the strategy carries to its next step (a mixture's weights), None if nothing.
        log_prob: (*R, P), log-density of each particle under the distribution it was drawn from,
            or None where the strategy defines none.
        jitter: (*R), the largest relative jitter that a Cholesky factorisation needed beyond the base
            that all get: zero in the ordinary case, positive where a covariance was not positive
            definite; None where nothing was factorised.

    Example:
        >>> particles = torch.zeros(4, 2)
        >>> Resampled(particles, equal_weights(particles)).weights
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    particles: Tensor
    weights: Tensor
    state: Tensor | None = None
    log_prob: Tensor | None = None
    jitter: Tensor | None = None


@dataclass(frozen=True)
class Trajectory:
    """A particle rollout of T steps inside the model.

    Attributes:
        states: (T + 1, *R, P, D); `states[0]` are the initial particles.
        actions: (T, *R, P, U), in [-1, 1].
        costs: (T, *R, P); `costs[t]` belongs to `states[t + 1]`.
        weights: (T, *R, P); `weights[t]` belongs to `states[t + 1]`.
        prediction: The dynamics model's prediction of `states[1:]` before resampling,
            mean and std (T, *R, P, D).
        jitter: (T, *R) as in `Resampled.jitter`, or None.
        carried: `Resampled.state` of the last step.
        ended: (T + 1, *R, P) bool, whether each particle of `states` has ended: it stays where it is, with
            the action, the cost and the weight that it had then. None where particles do not end.
    """

    states: Tensor
    actions: Tensor
    costs: Tensor
    weights: Tensor
    prediction: Prediction
    jitter: Tensor | None = None
    carried: Tensor | None = None
    ended: Tensor | None = None

    def expected_costs(self) -> Tensor:
        """Compute the expected cost of each step, sum_i weights[t, i] * costs[t, i]: (T, *R)."""
        return (self.weights * self.costs).sum(-1)

    def expected_cost(self) -> Tensor:
        """Compute the expected cost summed over the horizon: (*R)."""
        return self.expected_costs().sum(0)

    def jittered(self) -> Tensor:
        """Count the Cholesky factorisations that needed more than the base jitter: (*R)."""
        if self.jitter is None:
            return torch.zeros(self.costs.shape[1:-1], dtype=torch.long, device=self.costs.device)
        return (self.jitter > 0).sum(0)


@dataclass(frozen=True)
class GradientEstimate:
    """An estimate of the gradient of the expected cost.

    Attributes:
        gradient: One tensor a policy parameter, of that parameter's shape.
        expected_cost: (*R), summed over the horizon.
        diagnostics: Further tensors by name, each (*R).
    """

    gradient: dict[str, Tensor]
    expected_cost: Tensor
    diagnostics: dict[str, Tensor] = field(default_factory=dict)
