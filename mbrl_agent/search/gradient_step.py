"""One gradient step of the policy search: rollout -> gradient -> clipping -> Adam, for all candidates.

Nothing here waits for a result, so on a GPU the whole step is captured as a CUDA graph once and then
replayed: one launch instead of thousands.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.adam import Adam
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.rollout import Simulation
from mbrl_agent.types import Parameters

WARM_UP_STEPS = 3  # before a capture, as PyTorch's documentation of CUDA graphs asks for
MAX_SKIPPED = 20  # steps in a row in which no candidate had a finite cost and gradient, which end a search


@dataclass(frozen=True)
class StepResult:
    """What one step found; R candidates.

    Attributes:
        expected_cost: (R), before the step, over the horizon.
        grad_norm: (R), before clipping.
        failures: (R), for how many steps in a row, this one included, the cost or the gradient was not
            finite; a candidate is left alone where it is not zero.
        jitter: (R), Cholesky factorisations that needed more than the base jitter.
    """

    expected_cost: Tensor
    grad_norm: Tensor
    failures: Tensor
    jitter: Tensor

    @property
    def finite(self) -> Tensor:
        """(R), whether cost and gradient were finite."""
        return self.failures == 0

    def clone(self) -> StepResult:
        """Copy what the next replay overwrites."""
        return StepResult(*(value.clone() for value in vars(self).values()))


class GradientStep:
    """Improves parameters in place, from storage that stays where it is.

    Each candidate has an Adam of its own, which a step that is not finite leaves as it was: its moments
    and its count of steps too. After `MAX_SKIPPED` steps in a row in which all candidates failed, further
    steps change nothing, so that whoever asks later (`ended`) finds what it would have found then.

    Args:
        estimator: The gradient estimator.
        parameters: Where to start, with a leading axis R of candidates; copied.
        simulation: The rollout; its initial particles and noise are renewed in place.
        learning_rate: Adam's step size.
        max_grad_norm: The gradient of each candidate is scaled down to this Euclidean norm.
    """

    def __init__(
        self,
        estimator: Estimator,
        parameters: Parameters,
        simulation: Simulation,
        learning_rate: float,
        max_grad_norm: float,
    ) -> None:
        self.parameters = {name: value.detach().clone() for name, value in parameters.items()}
        self._estimator = estimator
        self._simulation = simulation
        self._max_grad_norm = max_grad_norm
        start = simulation.initial_particles
        replicates = len(next(iter(self.parameters.values())))
        self._failures = torch.zeros(replicates, dtype=torch.long, device=start.device)
        self._learning_rate = learning_rate
        self._optimizers = [Adam([value[i] for value in self.parameters.values()]) for i in range(replicates)]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._captured: StepResult | None = None
        if start.is_cuda:
            self._capture()

    def renew(self, simulation: Simulation) -> None:
        """Take over the initial particles and the noise of another simulation of the same shape."""
        own = self._simulation
        own.initial_particles.copy_(simulation.initial_particles)
        own.noise.copy_(simulation.noise)

    def keep(self, candidates: list[int], simulation: Simulation) -> GradientStep:
        """Go on with some of the candidates alone, where they are and with the moments that they have.

        Args:
            candidates: Their indices.
            simulation: For as many.
        """
        some = {name: value[candidates] for name, value in self.parameters.items()}
        step = GradientStep(self._estimator, some, simulation, self._learning_rate, self._max_grad_norm)
        step._failures.copy_(self._failures[candidates])
        for optimizer, candidate in zip(step._optimizers, candidates, strict=True):
            optimizer.take_over(self._optimizers[candidate])
        return step

    def __call__(self) -> StepResult:
        """Take one step."""
        if self._graph is None or self._captured is None:
            return self._step()
        self._graph.replay()
        return self._captured.clone()

    def ended(self) -> bool:
        """Tell whether all candidates have failed `MAX_SKIPPED` times in a row; waits for the GPU."""
        return bool((self._failures >= MAX_SKIPPED).all())

    def _step(self) -> StepResult:
        estimate = self._estimator(self.parameters, self._simulation)
        norm = _norms(estimate.gradient)
        finite = norm.isfinite() & estimate.expected_cost.isfinite() & (self._failures < MAX_SKIPPED).any()
        self._failures.copy_(torch.where(finite, 0, self._failures + 1))
        scale = self._max_grad_norm / norm.clamp_min(self._max_grad_norm)
        clipped = [estimate.gradient[name] for name in self.parameters]
        clipped = [value * _spread(scale, value) for value in clipped]
        failed = (~finite).to(torch.float32)
        for i, optimizer in enumerate(self._optimizers):
            optimizer.step([value[i] for value in clipped], self._learning_rate, failed[i])
        jitter = estimate.diagnostics.get("jitter", torch.zeros_like(self._failures))
        return StepResult(estimate.expected_cost, norm, self._failures.clone(), jitter)

    def _capture(self) -> None:
        """Record the step as a CUDA graph, and undo the steps that this takes."""
        start = {name: value.clone() for name, value in self.parameters.items()}
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._captured = self._step()
            self._graph = graph
        except RuntimeError as error:  # an operation of a strategy or of a cost that cannot be captured
            warnings.warn(f"no CUDA graph, each step is launched anew: {error}", stacklevel=3)
        for name, value in self.parameters.items():
            value.copy_(start[name])
        self._failures.zero_()
        for optimizer in self._optimizers:
            optimizer.reset()


def _norms(gradient: dict[str, Tensor]) -> Tensor:
    """Return the Euclidean norm over all parameters of each candidate: (R)."""
    squares = [value.reshape(len(value), -1).square().sum(1) for value in gradient.values()]
    return torch.stack(squares).sum(0).sqrt()


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """Reshape a value a candidate, (R), so that it multiplies `like`, (R, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))
