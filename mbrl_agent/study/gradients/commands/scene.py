"""The options of the commands on a scene, and what they work with once these are checked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from mbrl_agent.options import SYNTAX, refused
from mbrl_agent.options.validation import require_count, require_number
from mbrl_agent.policies import POLICIES
from mbrl_agent.randomness import derive_generator
from mbrl_agent.run.environment import OUR_ENV, Environment
from mbrl_agent.search.memory_check import check_memory
from mbrl_agent.study.gradients.commands.source import SourceOptions
from mbrl_agent.study.gradients.directions import WEIGHTS, Direction, random_directions
from mbrl_agent.study.gradients.sampling import Sampling
from mbrl_agent.study.gradients.scene import MODEL_NOISE, Scene, run_scene, untrained_scene
from mbrl_agent.study.output import Output, open_output
from mbrl_agent.study.strategies import Strategy, combine

RESAMPLING = ("none", "gaussian", "interpolated:0.5", "mixture:3,3", "detached-mixture:3")
"""The strategies that are compared unless others are chosen."""
SCENE_NOTES = f"""\
Strategies and estimators are written {SYNTAX}.
delta is a distance in policy-parameter space, along a random direction, in units of the size (root
mean square) of the parameters that the direction moves.
"""


@dataclass(frozen=True, kw_only=True)
class SceneOptions(SourceOptions):
    """A model with a policy in it, and how it is sampled."""

    policy: str = "rbf:weight-std=1"
    """Untrained: kind of policy, with its options."""
    noise: float = MODEL_NOISE
    """Untrained: standard deviation of the model noise, in the units of the state."""
    horizon: int = 0
    """Predicted steps; 0 takes an episode's."""
    particles: int = 300
    """Particles of one gradient estimate."""
    repeats: int = 16
    """Independent estimates at each point."""
    direction: str = WEIGHTS
    """Parameters that a direction moves: weights (if there are any, else all), all, or the name of some."""
    float64: bool = False
    """Compute in double precision."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("horizon", self.horizon, minimum=0)
        for name in ("policy", "noise"):
            if self.run is not None and getattr(self, name) != getattr(SceneOptions, name):
                raise refused(name, "belongs to --untrained: a run has its own")
        _ = self.sampling  # checks particles and repeats

    @property
    def sampling(self) -> Sampling:
        """Particles, repeats, seed."""
        return Sampling(self.particles, self.repeats, self.seed)

    def strategies(self) -> list[Strategy]:
        """Give what is compared; nothing where no strategies are."""
        return []

    def scene(self, seed: int, horizon: int) -> Scene:
        """Make the scene of a seed, with a horizon (0: the default).

        Raises:
            ValueError: The run, the environment or the policy cannot be had.
        """
        env, values = self.env, self.environment_options
        if self.run is not None:
            scene = run_scene(self.run, horizon, env, self.trial, values)
        else:
            environment = Environment(env or OUR_ENV, values)
            policy = POLICIES.resolve(self.policy)
            scene = untrained_scene(environment, seed, horizon, self.noise, policy)
        return scene.double() if self.float64 else scene


@dataclass(frozen=True, kw_only=True)
class StrategyOptions(SceneOptions):
    """A scene, and the strategies that are compared in it."""

    resampling: tuple[str, ...] = RESAMPLING
    """Resampling strategies, with their options."""
    estimator: tuple[str, ...] = ("reparameterization",)
    """Gradient estimators, each with every resampling that it works with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_some("resampling", self.resampling)
        require_some("estimator", self.estimator)

    def strategies(self) -> list[Strategy]:
        """Give what is compared; combinations that do not work are named on stderr.

        Raises:
            ValueError: One of them does not exist, or none works.
        """
        strategies, left_out = combine(self.resampling, self.estimator)
        for note in left_out:
            sys.stderr.write(f"left out: {note}\n")
        return strategies


@dataclass(frozen=True)
class Study:
    """A command that is checked and ready.

    Attributes:
        options: What it is asked for.
        scene: Model, policy, initial states.
        strategies: What is compared.
        output: Where the results go.
    """

    options: SceneOptions
    scene: Scene
    strategies: list[Strategy]
    output: Output

    @property
    def sampling(self) -> Sampling:
        """Particles, repeats, seed."""
        return self.options.sampling

    def directions(self, count: int, scene: Scene | None = None, seed: int | None = None) -> list[Direction]:
        """Draw random directions, also of another scene and seed; the first are the same for any count."""
        parameters = (scene or self.scene).parameters
        generator = derive_generator(self.options.seed if seed is None else seed, "study direction")
        return random_directions(parameters, self.options.direction, count, generator)


@contextmanager
def open_study(options: SceneOptions) -> Iterator[Study]:
    """Check what is asked for, and open the files.

    Raises:
        ValueError: A mistake in the command line, or the run or environment cannot be had.
    """
    torch.set_num_threads(options.threads)
    strategies = options.strategies()
    scene, particles = options.scene(options.seed, options.horizon), options.particles
    scene.dynamics.validate(particles)
    dims = len(scene.labels)
    for strategy in strategies:
        check_memory(scene.policy, strategy.resampler, strategy.estimator)
        strategy.resampler.validate(particles, dims)
        strategy.estimator.validate_particles(particles, dims, scene.policy.action_dims)
    with open_output(options.directory, options.run, scene.steps) as output:
        yield Study(options, scene, strategies, output)


def progress(total: int) -> tqdm[Any]:
    """Make a progress bar, which shows where there is a terminal."""
    return tqdm(total=total, disable=None, dynamic_ncols=True, leave=False)


def show_results(text: str, output: Output) -> int:
    """Write the command's text and the names of its files to stdout; return the exit status."""
    sys.stdout.write("\n".join([text, *(f"wrote {path}" for path in output.written), ""]))
    return 0


def require_some(name: str, values: Sequence[object]) -> None:
    """Raise OptionError if a list has nothing in it, or something twice."""
    if not values:
        raise refused(name, "needs at least one value")
    twice = next((value for index, value in enumerate(values) if value in values[:index]), None)
    if twice is not None:
        raise refused(name, f"a value is given twice: {twice}")


def require_numbers(name: str, values: Sequence[float]) -> None:
    """Raise OptionError unless a list has finite numbers, and at least one."""
    if not values:
        require_some(name, values)
    for value in values:
        require_number(name, value)


def by_resampler(strategies: Sequence[Strategy]) -> list[Strategy]:
    """Keep the first strategy of each resampler: estimators do not change what is predicted."""
    return list({strategy.resampler: strategy for strategy in reversed(strategies)}.values())[::-1]
