"""Mixture resampling: fit a mixture of Gaussians by EM and draw a fixed share from each component."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from mbrl_agent.gaussians.mixture_redraw import mixture_redraw_vjp
from mbrl_agent.options.validation import require_choice, require_count, require_flag
from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import Gradients, PullBack, on_tape


@dataclass(frozen=True)
class Mixture(Resampler):
    """Redraw the particles from K Gaussians fitted to the predictions by M iterations of EM.

    Also called: Gaussian mixture resampling. Component of particle i: i % K, before and after a step.
    Every component starts from its own particles' predictions N(m_i, S_i); EM then runs on all of them,
    each with the weight W_k of the component it was drawn from; P/K particles are drawn from each:

        z_i = mu_k + L_k eps_i,  L_k L_k^T = n_k / (n_k - 1) scatter_k + mean S,  k = i % K.

    EM itself is maximum likelihood. The draw corrects the scatter once for the n_k = 1 / sum_i s_ik^2
    particles that it was estimated from (s_ik the share of particle i in component k; Kish's effective
    sample size), so that one component is exactly `Gaussian(moments="predictions")`.

    Differentiated through EM it does not tame the gradients: worse with more components and with
    more iterations. Two modes stay apart once each has a component's particles; where they are spread
    evenly over all components, these start out alike and EM needs many iterations to part them.

    Raises:
        ValueError: `components` or `em_iterations` below 1; `cost_weights` unknown.
        TypeError: An option of the wrong type.

    Reference:
        Parmas, Peters, Doya, "Which resampling methods can tame ill-behaved gradients in chaotic
        systems?", section 4, Algorithm 1 and Fig. 4.

    Example:
        >>> particles = torch.tensor([[0.0], [1.0], [2.0], [90.0], [91.0], [92.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(6, 1))
        >>> resampled = Mixture(components=2)(prediction, particles, torch.zeros(6, 1), None)
        >>> round(float(resampled.weights @ resampled.particles), 3)  # the mean stays
        46.0
    """

    name: ClassVar[str] = "mixture"
    mixes_particles: ClassVar[bool] = True

    components: int = 3
    """Number of Gaussians K, at least 1; must divide the number of particles."""
    em_iterations: int = 3
    """Number of EM iterations M in each time step, at least 1."""
    cost_weights: Literal["component", "uniform"] = "component"
    """Weight of a particle in the expected cost: its component's mass, or equal as the paper prints it."""
    detach_responsibilities: bool = False
    """Whether to stop the gradient at the responsibilities, which tames it; the paper does not."""
    wrap: bool = False
    """Whether angles are fitted on the turn of their circular mean, and then given their own turn back."""

    def __post_init__(self) -> None:
        require_count(self.called("components"), self.components)
        require_count(self.called("em_iterations"), self.em_iterations)
        require_choice(self.called("cost_weights"), self.cost_weights, ("component", "uniform"))
        require_flag(self.called("detach_responsibilities"), self.detach_responsibilities)
        require_flag(self.called("wrap"), self.wrap)

    @property
    def exact_gradient(self) -> bool:
        """False where the responsibilities are held constant in the backward pass."""
        return not self.detach_responsibilities

    def min_particles(self, state_dims: int) -> int:
        """Require as many particles of every component as of a single Gaussian."""
        return self.components * super().min_particles(state_dims)

    def validate(self, num_particles: int, state_dims: int) -> None:
        """Check that there are enough particles, and that they split evenly among the components.

        Raises:
            ValueError: Too few particles, or a number that `components` does not divide.
        """
        fewest = self.min_particles(state_dims)
        if num_particles < fewest:
            raise ValueError(
                f"resampling {self.name!r} with {self.components} components needs at least {fewest} "
                f"particles for {state_dims} state dimensions ({state_dims + 2} a component), got "
                f"{num_particles}: raise the number of particles or lower components"
            )
        if num_particles % self.components:
            below = num_particles // self.components * self.components
            raise ValueError(
                f"resampling {self.name!r} splits the particles evenly: {num_particles} particles cannot "
                f"be split among {self.components} components; use {below} or {below + self.components} "
                "particles, or another number of components"
            )

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Run EM and draw P/K particles from each component. See `Resampler.__call__`.

        `state` is log W of the components that the particles were drawn from, (*R, K).
        """
        log_weights = self._uniform(prediction.mean) if state is None else state
        outputs = on_tape(self._redraw, prediction.mean, prediction.std, noise, log_weights)
        return self._resampled(*outputs)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Do the same, with the derivative written out. See `Resampler.vjp`."""
        log_weights = self._uniform(prediction.mean) if state is None else state
        outputs, redraw = self._redraw(prediction.mean, prediction.std, noise, log_weights)

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            by_shares = by_weights if self.cost_weights == "component" else None
            by_mean, by_std, _, by_log_weights = redraw(by_particles, by_shares, by_state)
            return by_mean, by_std, None, None if state is None else by_log_weights

        return self._resampled(*outputs), pull_back

    def _redraw(
        self, mean: Tensor, std: Tensor, noise: Tensor, log_weights: Tensor
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], PullBack]:
        return mixture_redraw_vjp(
            mean, std, noise, log_weights, self.em_iterations, self.detach_responsibilities
        )

    def _resampled(self, drawn: Tensor, shares: Tensor, log_weights: Tensor, jitter: Tensor) -> Resampled:
        weights = shares if self.cost_weights == "component" else equal_weights(drawn)
        return Resampled(drawn, weights, state=log_weights, jitter=jitter.detach())

    def _uniform(self, particles: Tensor) -> Tensor:
        """Return log(1/K) for every component: (*R, K)."""
        return particles.new_full((*particles.shape[:-2], self.components), -math.log(self.components))
