"""Wall time of a gradient step and of a fit, on problems of the cart-pole's shape.

A gradient step is a rollout through an ensemble, its backward pass, clipping and Adam, as the agent
takes it with one candidate. Its floor are the matrix products of the rollout and the two products of the
backward pass for each, and nothing else.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.resampling.gaussian import Gaussian
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.gradient_step import GradientStep
from mbrl_agent.search.initial_states import InitialStates
from mbrl_agent.search.policy_search import PolicySearch, SearchOptions
from mbrl_agent.targets import Targets
from mbrl_agent.types import Transitions

STATE_DIMS, ACTION_DIMS, ANGLE = 4, 1, 2
FEATURES = AngleFeatures(STATE_DIMS, (ANGLE,))


@dataclass(frozen=True)
class Setting:
    """The size of a gradient step, and how it is computed."""

    particles: int = 300
    horizon: int = 30
    members: int = 5
    hidden: tuple[int, ...] = (64, 64)
    centers: int = 50
    resampler: Resampler = field(default_factory=Gaussian)
    threads: int = 1
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


@dataclass(frozen=True)
class Timing:
    """Median times of a setting.

    Attributes:
        setting: What was timed.
        step: [s], of a gradient step.
        floor: [s], of its matrix products.
    """

    setting: Setting
    step: float
    floor: float

    @property
    def ratio(self) -> float:
        """Step over floor."""
        return self.step / self.floor

    @property
    def particle_steps(self) -> float:
        """Particles times time steps that go forward and back in a second."""
        return self.setting.particles * self.setting.horizon / self.step


def measure(
    settings: Sequence[Setting], rounds: int, on_round: Callable[[], object] = lambda: None
) -> list[Timing]:
    """Time every setting and its floor side by side.

    All of them take turns, so that a busy machine slows down all alike. Each does its work twice in a turn,
    and the second time counts: in a search, too, a step finds caches and memory as a step has left them.

    Args:
        settings: What to time.
        rounds: How often.
        on_round: Called after each turn of a setting.
    """
    runs = [(setting, gradient_step(setting), matrix_products(setting)) for setting in settings]
    times: list[list[tuple[float, float]]] = [[] for _ in settings]
    threads = torch.get_num_threads()
    try:
        for _ in range(rounds):
            for (setting, *work), own in zip(runs, times, strict=True):
                torch.set_num_threads(setting.threads)
                step, floor = ([seconds(run, setting.device) for _ in range(2)][1] for run in work)
                own.append((step, floor))
                on_round()
    finally:
        torch.set_num_threads(threads)
    medians = ([statistics.median(column) for column in zip(*own, strict=True)] for own in times)
    return [Timing(setting, *found) for setting, found in zip(settings, medians, strict=True)]


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


def gradient_step(setting: Setting) -> Callable[[], object]:
    """A function that takes one gradient step, fresh noise included."""
    generator = torch.Generator(setting.device).manual_seed(0)
    options = Ensemble(members=setting.members, hidden=setting.hidden)
    dynamics = options.build(FEATURES, ACTION_DIMS, generator, setting.targets).to(setting.device)
    dynamics.target_std.fill_(0.1)
    box = spaces.Box(-np.inf, np.inf, (STATE_DIMS,), np.float32)
    bounds = spaces.Box(-1, 1, (ACTION_DIMS,), np.float32)
    policy = RbfPolicy(box, bounds, angle_dims=(ANGLE,), centers=setting.centers).to(setting.device)
    mean = torch.zeros(STATE_DIMS, device=setting.device)
    mean[ANGLE] = torch.pi
    start = InitialStates(mean, torch.full_like(mean, 0.1))
    search = PolicySearch(
        SearchOptions(num_particles=setting.particles, candidates=1),
        policy,
        dynamics,
        angle_cost,
        setting.resampler,
        Reparameterization(),
        start,
        setting.horizon,
    )
    visited = start.sample(1, 100, generator)[0]
    policy.restandardize(visited)
    parameters = policy.initial_parameters(visited, 1, generator)
    step = GradientStep(search.estimator, parameters, search.simulation(1, generator), 1e-2, 1.0)

    def run() -> None:
        step.renew(search.simulation(1, generator))
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


def fit_seconds(transitions: int, options: Ensemble, threads: int = 1, device: str = "cpu") -> float:
    """Wall time of one fit of the ensemble to this many transitions of a smooth system."""
    generator = torch.Generator(device).manual_seed(0)
    states = torch.randn(transitions, STATE_DIMS, generator=generator, device=device)
    actions = 2 * torch.rand(transitions, ACTION_DIMS, generator=generator, device=device) - 1
    after = states + 0.1 * torch.sin(states + actions)
    data = Transitions(states, actions, after)
    model = options.build(FEATURES, ACTION_DIMS, generator).to(device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return seconds(lambda: model.fit(data, generator), device)
    finally:
        torch.set_num_threads(before)
