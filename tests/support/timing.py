"""Wall time of a gradient step and of a fit, on problems of the cart-pole's shape.

A gradient step is a rollout through an ensemble, its backward pass, clipping and Adam, as the agent
takes it with one candidate. Its floor are the matrix products of the rollout and the two products of the
backward pass for each, and nothing else.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agent.dynamics.base import DynamicsModel, DynamicsOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.resampling.gaussian import Gaussian
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.gradient_step import GradientStep
from mbrl_agent.search.initial_states import InitialStates
from mbrl_agent.search.policy_search import PolicySearch, SearchOptions
from mbrl_agent.search.rollouts.base import Rollout
from mbrl_agent.targets import Targets
from mbrl_agent.types import Transitions

STATE_DIMS, ACTION_DIMS, ANGLE = 4, 1, 2
FEATURES = AngleFeatures(STATE_DIMS, (ANGLE,))
PAIRS = ((0, 1), (2, 3))


@dataclass(frozen=True)
class Setting:
    """The size of a gradient step, and how it is computed."""

    particles: int = 300
    horizon: int = 30
    members: int = 5
    hidden: tuple[int, ...] = (64, 64)
    centers: int = 50
    candidates: int = 1
    resampler: Resampler = field(default_factory=Gaussian)
    device: str = "cpu"
    velocity_dims: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.particles % self.members:
            raise ValueError(
                f"{self.particles} particles do not split evenly over {self.members} ensemble members"
            )
        self.resampler.validate(self.particles, STATE_DIMS)

    @property
    def targets(self) -> Targets:
        """What the ensemble predicts."""
        return Targets(FEATURES, self.velocity_dims)


def interleaved(runs: Sequence[Callable[[], object]], rounds: int, device: str = "cpu") -> list[list[float]]:
    """Wall times [s] of several functions, which take turns: a busy machine slows down all alike.

    Each does its work twice in a turn, and the second time counts: in a search, too, a step finds caches and
    memory as a step has left them.
    """
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, own in zip(runs, times, strict=True):
            own.append([seconds(run, device) for _ in range(2)][1])
    return times


def seconds(run: Callable[[], object], device: str = "cpu") -> float:
    """Wall time of one call."""
    _finish(device)
    began = time.perf_counter()
    run()
    _finish(device)
    return time.perf_counter() - began


def _finish(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def angle_cost(state: Tensor, action: Tensor) -> Tensor:
    """1 - exp(-(x^2 + theta^2) / 2) of states (..., 4)."""
    return 1 - (-0.5 * (state[..., 0] ** 2 + state[..., ANGLE] ** 2)).exp()


def make_search(
    setting: Setting,
    dynamics: DynamicsModel,
    rollout: Rollout | None = None,
    estimator: Estimator | None = None,
) -> PolicySearch:
    """A search in a model, with a policy that fits it."""
    box = spaces.Box(-np.inf, np.inf, (STATE_DIMS,), np.float32)
    bounds = spaces.Box(-1, 1, (ACTION_DIMS,), np.float32)
    policy = RbfPolicy(box, bounds, angle_dims=(ANGLE,), centers=setting.centers).to(setting.device)
    mean = torch.zeros(STATE_DIMS, device=setting.device)
    mean[ANGLE] = torch.pi
    start = InitialStates(mean, torch.full_like(mean, 0.1))
    chosen = estimator or Reparameterization()
    policy.restandardize(start.sample(1, 100, torch.Generator(setting.device).manual_seed(0))[0])
    return PolicySearch(
        SearchOptions(num_particles=setting.particles, candidates=setting.candidates),
        policy,
        dynamics,
        angle_cost,
        setting.resampler,
        chosen if rollout is None else rollout.gradient(chosen, start),
        start,
        setting.horizon,
    )


def first_parameters(search: PolicySearch, candidates: int = 1) -> dict[str, Tensor]:
    """Fresh parameters of the search's policy."""
    generator = torch.Generator(search.initial_states.mean.device).manual_seed(1)
    visited = search.initial_states.sample(1, 100, generator)[0]
    return search.policy.initial_parameters(visited, candidates, generator)


def gradient_step(setting: Setting, search: PolicySearch | None = None) -> Callable[[], object]:
    """A function that takes one gradient step, fresh noise included; in an unfitted ensemble by default."""
    generator = torch.Generator(setting.device).manual_seed(0)
    if search is None:
        options = Ensemble(members=setting.members, hidden=setting.hidden)
        dynamics = options.build(FEATURES, ACTION_DIMS, generator, setting.targets).to(setting.device)
        dynamics.target_std.fill_(0.1)
        search = make_search(setting, dynamics)
    count, parameters = setting.candidates, first_parameters(search, setting.candidates)
    step = GradientStep(search.estimator, parameters, search.simulation(count, generator), 1e-2, 1.0)

    def run() -> None:
        step.renew(search.simulation(count, generator))
        step()

    return run


def matrix_products(setting: Setting) -> Callable[[], object]:
    """A function that multiplies the matrices of a gradient step, and does nothing else."""
    particles, members, centers = setting.particles, setting.members, setting.centers

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=setting.device)

    sizes = (FEATURES.feature_dims + ACTION_DIMS, *setting.hidden, 2 * len(setting.targets))
    block = particles // members
    layers = [
        (normal(members, block, a), normal(members, a, b), normal(members, 1, b), normal(members, block, b))
        for a, b in itertools.pairwise(sizes)
    ]
    inputs = 2 * FEATURES.feature_dims
    policy = [
        (normal(particles, inputs), normal(inputs, centers), normal(particles, centers)),
        (normal(particles, centers), normal(centers, ACTION_DIMS), normal(particles, ACTION_DIMS)),
    ]

    def run() -> None:
        for _ in range(setting.horizon):
            for x, weight, output in policy:
                torch.matmul(x, weight)
                torch.matmul(output, weight.mT)
                torch.matmul(x.mT, output)
            for x, weight, bias, output in layers:
                torch.baddbmm(bias, x, weight)
                torch.bmm(output, weight.mT)
                torch.bmm(x.mT, output)  # a plain backward pass; ours leaves the model's weights alone

    return run


def smooth_transitions(count: int) -> Transitions:
    """Transitions of a smooth system of the cart-pole's shape; float64."""
    generator = torch.Generator().manual_seed(0)
    double = {"generator": generator, "dtype": torch.float64}
    states = torch.randn(count, STATE_DIMS, **double)
    actions = 2 * torch.rand(count, ACTION_DIMS, **double) - 1
    noise = 0.02 * torch.randn(count, STATE_DIMS, **double)
    return Transitions(states, actions, states + 0.3 * torch.sin(states + actions) + noise)


def fitted(options: DynamicsOptions, count: int) -> DynamicsModel:
    """A model that was fitted to so many transitions."""
    model = options.build(FEATURES, ACTION_DIMS, torch.Generator().manual_seed(0), Targets(FEATURES, PAIRS))
    model.fit(smooth_transitions(count), torch.Generator().manual_seed(0))
    return model
