"""The command line of the studies."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from mbrl_agent.policies import POLICIES
from mbrl_agent.run.cli import load_plugins_first, split_env_words
from mbrl_agent.run.environment import Environment
from mbrl_agent.run.messages import INTERRUPTED, USAGE_ERROR, one_line
from mbrl_agent.run.program import program
from mbrl_agent.search.memory_check import check_memory
from mbrl_agent.study.arguments import check, make_parser
from mbrl_agent.study.commands import COMMANDS, Job
from mbrl_agent.study.gradients.paper import all_strategies
from mbrl_agent.study.gradients.sampling import Sampling
from mbrl_agent.study.gradients.scene import Scene, run_scene, untrained_scene
from mbrl_agent.study.output import open_output
from mbrl_agent.study.overview import HELPS, PROGRAM
from mbrl_agent.study.strategies import Strategy, combine


def main(argv: Sequence[str] | None = None, program_ends: bool = False) -> int:
    """Run a command line and return the exit status.

    It is 0, 1 if some runs of a sweep or a baseline failed, 2 for a user's mistake or a file that cannot be
    read or written, and 130 when interrupted. Signal handlers, torch's settings and the standard streams are
    then as they were before.

    Args:
        argv: The words; None takes those of the process.
        program_ends: The process ends with the returned status: after a signal, further ones are ignored.
    """
    with program("study", program_ends):
        try:
            return _main(sys.argv[1:] if argv is None else argv)
        except (ValueError, TypeError, OSError) as error:
            sys.stderr.write(f"study: error: {one_line(error)} (see {PROGRAM} --help)\n")
            return USAGE_ERROR
        except KeyboardInterrupt:
            sys.stderr.write("study: interrupted\n")
            return INTERRUPTED


def _main(argv: Sequence[str]) -> int:
    load_plugins_first(argv, run="config.yaml")
    parser = make_parser()
    try:
        arguments, rest = parser.parse_known_args(argv)
    except SystemExit:  # --help was answered; a mistake is a ValueError
        return 0
    if arguments.command in (
        *HELPS,
        "separate",
        "baseline",
    ):  # a sweep leaves all of it to the parser of train.py
        rest, arguments.env_options = split_env_words(rest)
    if rest and "train_options" not in arguments:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if "execute" in arguments:  # a command without a scene
        arguments.train_options = rest
        arguments.command_line = f"{PROGRAM} {shlex.join(argv)}"
        return int(arguments.execute(arguments))
    check(arguments)
    torch.set_num_threads(arguments.threads)
    strategies = _strategies(arguments)
    sampling = Sampling(arguments.particles, arguments.repeats, arguments.seed)
    scene = _scene(arguments, arguments.seed, arguments.horizon)
    scene.dynamics.validate(sampling.particles)
    for strategy in strategies:
        check_memory(scene.policy, strategy.resampler, strategy.estimator)
        strategy.resampler.validate(sampling.particles, len(scene.labels))
        strategy.estimator.validate_particles(sampling.particles, len(scene.labels), scene.policy.action_dims)
    run = getattr(arguments, "run", None)
    directory = getattr(arguments, "out", run / "figures" if run else Path("study_untrained"))
    with open_output(directory, run, scene.steps) as output:
        make = partial(_scene, arguments)
        text = COMMANDS[arguments.command](Job(scene, strategies, sampling, arguments, output, make))
    sys.stdout.write("\n".join([text, *(f"wrote {path}" for path in output.written), ""]))
    return 0


def _strategies(arguments: argparse.Namespace) -> list[Strategy]:
    """What is compared; combinations that do not work are named on stderr."""
    if arguments.command == "figures":
        return all_strategies()
    if arguments.command == "moments":  # compares numbers of particles
        return []
    strategies, left_out = combine(arguments.resampling, arguments.estimator)
    for note in left_out:
        sys.stderr.write(f"left out: {note}\n")
    return strategies


def _scene(arguments: argparse.Namespace, seed: int, horizon: int) -> Scene:
    env = getattr(arguments, "env", None)
    if "run" in arguments:
        trial = getattr(arguments, "trial", None)
        scene = run_scene(arguments.run, horizon, env, trial, arguments.env_options)
    else:
        policy = POLICIES.resolve(arguments.policy)
        environment = Environment(env or "CartPoleSwingUp-v0", arguments.env_options)
        scene = untrained_scene(environment, seed, horizon, arguments.noise, policy)
    return scene.double() if arguments.float64 else scene
