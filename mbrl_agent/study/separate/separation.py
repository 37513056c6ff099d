"""Every arm at every width, horizon and optimiser, from the same policies under the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_agent.errors import PolicyError
from mbrl_agent.policies import POLICIES
from mbrl_agent.randomness import derive_generator, derive_seed
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.environment import OUR_ENV, Environment, env_options
from mbrl_agent.run.evaluation import evaluate
from mbrl_agent.study.gradients.sampling import Tick, common_noise_costs
from mbrl_agent.study.gradients.scene import WEIGHT_STD, Scene, run_scene, untrained_scene
from mbrl_agent.study.separate.arms import ARMS, Arm
from mbrl_agent.study.separate.descent import descend
from mbrl_agent.study.separate.effects import ArmOutcome
from mbrl_agent.study.separate.options import CANDIDATES, SeparateOptions
from mbrl_agent.types import Parameters

Array = NDArray[np.float64]
JUDGING_PARTICLES = 1000
"""About as many particles predict a policy's cost."""


@dataclass(frozen=True)
class Place:
    """Where arms are compared: a frozen model with one cost and one horizon, and policies to start from.

    Attributes:
        width: Of the cost.
        scene: Model, cost, initial states, horizon.
        environment: The real one, with that cost and episodes of that length.
        starts: Policies, with the leading axis R.
    """

    width: float
    scene: Scene
    environment: Environment
    starts: dict[str, torch.Tensor]


def make_places(options: SeparateOptions) -> Iterator[Place]:
    """Yield every width and horizon.

    Raises:
        ValueError: The run does not fit, the environment has no option `cost_width`, or there are no policies
            to start from.
    """
    for width, horizon in product(options.widths, options.horizons):
        environment = _environment(options)
        chosen = {**options.environment_options, **cost_options(environment.name, width)}
        environment = replace(environment.with_options(chosen), max_episode_steps=horizon)
        if options.run is not None:
            scene = run_scene(options.run, horizon, options.env, options.trial, chosen)
        else:
            policy = POLICIES.resolve(f"rbf:weight-std={WEIGHT_STD:g}")
            scene = untrained_scene(environment, options.seed, horizon, policy=policy)
        scene.dynamics.validate(options.particles)
        yield Place(width, scene, environment, _starts(scene, options))


def _environment(options: SeparateOptions) -> Environment:
    if options.run is None:
        return Environment(options.env or OUR_ENV, options.environment_options)
    files = RunDirectory(options.run)
    if not files.config.is_file():
        raise ValueError(f"{options.run} is not the directory of a run, it has no config.yaml")
    config = TrainConfig.load(files.config)
    return config.updated({"env": options.env} if options.env else {}).environment


def cost_options(name: str, width: float) -> dict[str, Any]:
    """Return the options that give an environment a cost of this width, none where it is to stay as it is.

    Raises:
        ValueError: It has no option `cost_width`.
    """
    if width == 0:
        return {}
    known = env_options(name)
    if "cost_width" not in known:
        raise ValueError(f"{name} has no option cost_width: give --widths 0, for its own cost")
    return {"cost_width": width} | ({"cost": "tip"} if "cost" in known else {})


def _starts(scene: Scene, options: SeparateOptions) -> dict[str, torch.Tensor]:
    """Compute the policies from which all arms start; without a run they are fresh."""
    if options.start == CANDIDATES and scene.candidates is not None:
        return {name: value[: options.policies].clone() for name, value in scene.candidates.items()}
    assert scene.visited is not None
    generator = derive_generator(options.seed, "separate starts")
    return scene.policy.initial_parameters(scene.visited, options.policies, generator)


def separate(
    chosen: Iterable[Place],
    options: SeparateOptions,
    say: Callable[[str], Any],
    tick: Tick,
    left_out: Callable[[str], Any],
) -> Iterator[ArmOutcome]:
    """Improve the policies under every arm, and judge them; see `ArmOutcome`.

    Args:
        chosen: From `make_places`.
        options: What is asked for.
        say: Hears of what is computed.
        tick: Progress, in gradient steps.
        left_out: Hears of arms that a cost cannot have.
    """
    for place in chosen:
        start = judge(place, place.starts, options)
        for arm, optimizer in product(ARMS, options.optimizers):
            say(f"width {place.width:g}, {place.scene.horizon} steps, {arm.label}, {optimizer}")
            try:
                scene = replace(place.scene, cost=arm.cost(place.scene.cost, options.wider))
            except ValueError as error:
                left_out(f"{arm.label} at width {place.width:g}: {error}")
                tick(options.steps)
                continue
            yield _outcome(place, arm, optimizer, scene, start, options, tick)


def _outcome(
    place: Place,
    arm: Arm,
    optimizer: str,
    scene: Scene,
    start: tuple[Array, Array],
    options: SeparateOptions,
    tick: Tick,
) -> ArmOutcome:
    found = descend(scene, arm.resampler(options.wrap), place.starts, optimizer, options, tick)
    predicted, reward = judge(place, found.parameters, options)
    # as in the search, what cannot act is not deployed, and the start stays
    diverged = ~(np.isfinite(predicted) & np.isfinite(reward))
    norms = found.norms.double().nan_to_num(torch.inf, torch.inf)
    return ArmOutcome(
        place.width,
        scene.horizon,
        optimizer,
        arm.label,
        np.where(diverged, start[0], predicted),
        start[0],
        np.where(diverged, start[1], reward),
        start[1],
        diverged,
        norms.median(0).values.numpy(),
        norms.amax(0).numpy(),
        found.skipped.numpy(),
    )


def judge(place: Place, parameters: Parameters, options: SeparateOptions) -> tuple[Array, Array]:
    """Return predicted cost and true reward of R policies, a step: (R,) each.

    Args:
        place: With the cost and the environment that count.
        parameters: With the leading axis R.
        options: Episodes, seed.
    """
    scene = place.scene
    particles = options.particles * max(1, JUDGING_PARTICLES // options.particles)
    generator = derive_generator(options.seed, "separate judge")
    costs = common_noise_costs(scene, parameters, particles, generator).double().mean(-1)
    count = len(next(iter(parameters.values())))
    rows = [{name: value[index] for name, value in parameters.items()} for index in range(count)]
    rewards = [_true_return(place, row, options) for row in rows]
    return costs.numpy() / scene.horizon, np.array(rewards) / scene.horizon


def _true_return(place: Place, parameters: Mapping[str, torch.Tensor], options: SeparateOptions) -> float:
    """Return the mean return of real episodes; `nan` where the policy's action is not finite."""
    policy = place.scene.policy
    before = policy.parameter_dict()
    policy.set_parameters(parameters)
    seed = derive_seed(options.seed, "separate episodes")
    try:
        result = evaluate(
            lambda states: policy.predict(states, deterministic=True)[0],
            place.environment,
            options.episodes,
            seed,
        )
    except PolicyError:
        return float("nan")
    finally:
        policy.set_parameters(before)
    return result.mean_return
