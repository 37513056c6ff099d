"""The options of the studies' command line."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from mbrl_agent.options import SYNTAX
from mbrl_agent.options.validation import require_count, require_number, require_positive, require_seed
from mbrl_agent.policies import POLICIES
from mbrl_agent.resampling import RESAMPLERS, Gaussian
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.study import systems
from mbrl_agent.study.baseline import command as baseline
from mbrl_agent.study.compare import command as compare
from mbrl_agent.study.gallery import command as gallery
from mbrl_agent.study.gradients.bimodal import Modes
from mbrl_agent.study.gradients.scene import MODEL_NOISE
from mbrl_agent.study.overview import HELPS, make_overview
from mbrl_agent.study.parsing import ENV_HELP, Parser, add_plugin, adder, formatter
from mbrl_agent.study.seeds import parse_seeds
from mbrl_agent.study.separate import command as separate
from mbrl_agent.study.sweep import command as sweep

RESAMPLING = ("none", "gaussian", "interpolated:0.5", "mixture:3,3", "detached-mixture:3")


def make_parser() -> Parser:
    """The commands and their options."""
    parser, commands = make_overview()
    for name, text in HELPS.items():
        command = commands.add_parser(
            name, help=text, description=text, formatter_class=formatter, allow_abbrev=False
        )
        add_plugin(command)
        _add_scene(command)
        _add_sampling(command, repeats=64 if name == "bias" else 16)
        if name not in ("figures", "moments"):
            _add_strategies(command)
        _add_own(command, name)
    for own in (separate, sweep, compare, systems, baseline, gallery):
        own.add_parser(commands)
    return parser


def _add_scene(command: Parser) -> None:
    group = command.add_argument_group("what is looked at")
    either = adder(group.add_mutually_exclusive_group(required=True))
    either("--run", "a run: its learned model and its policy", type=Path, metavar="DIR")
    either("--untrained", "the true dynamics as the model, and a random policy", action="store_true")
    add = adder(group)
    add("--trial", "of a run: as it was after trial N", type=int, metavar="N")
    add("--env", f"Gymnasium id (default: the run's, or CartPoleSwingUp-v0); {ENV_HELP}", metavar="ID")
    kinds = ", ".join(POLICIES.names())
    add("--policy", f"untrained: {kinds}, with options", "rbf:weight-std=1", metavar="SPEC")
    add(
        "--noise",
        "untrained: std of the model noise [units of the state]",
        MODEL_NOISE,
        type=float,
        metavar="X",
    )
    add("--horizon", "predicted steps; 0 takes an episode's", 0, type=int, metavar="N")


def _add_sampling(command: Parser, repeats: int) -> None:
    add = adder(command.add_argument_group("how it is sampled"))
    add("--particles", "of one gradient estimate", 300, type=int, metavar="N")
    add("--repeats", "independent estimates at each place", repeats, type=int, metavar="N")
    add(
        "--direction",
        "parameters that move: weights (if any, else all), all, or one's name",
        "weights",
        metavar="NAME",
    )
    add("--seed", "of everything random", 0, type=int, metavar="N")
    add("--float64", "compute in double precision", False, action="store_true")
    add("--threads", "CPU threads", 1, type=int, metavar="N")
    where = "figures in the run's directory, or study_untrained"
    add("--out", f"directory of the PNG and CSV files (default: {where})", type=Path, metavar="DIR")


def _add_strategies(command: Parser) -> None:
    add = adder(command.add_argument_group("what is compared"))
    names = f"{', '.join(RESAMPLERS.names())}; written {SYNTAX}"
    add("--resampling", names, list(RESAMPLING), nargs="+", metavar="SPEC")
    names = f"{', '.join(ESTIMATORS.names())}; each with every resampling that it works with"
    add("--estimator", names, ["reparameterization"], nargs="+", metavar="SPEC")


def _add_own(command: Parser, name: str) -> None:
    add = adder(command.add_argument_group(name))
    if name in ("landscape", "figures"):
        ends = ("LOW", "HIGH")
        add("--delta", "where the line begins and ends", [0.0, 4.0], type=float, nargs=2, metavar=ends)
        add("--points", "places on the line", 41, type=int, metavar="N")
    if name == "landscape":
        add("--directions", "random directions", 1, type=int, metavar="N")
        add("--seeds", "several instead of --seed, such as 0-11: one table", metavar="LIST")
        add("--horizons", "several instead of --horizon: one table", type=int, nargs="+", metavar="N")
    if name == "trajectories":
        add("--delta", "places on the line", [0.0, 2.0], type=float, nargs="+", metavar="X")
    if name == "moments":
        add("--counts", "particles", [30, 100, 300, 1000, 3000], type=int, nargs="+", metavar="N")
    if name == "bias":
        add("--delta", "places on the line", [0.0], type=float, nargs="+", metavar="X")
        add("--directions", "random directions on which slopes are compared", 32, type=int, metavar="N")
        add("--reference", "particles of the finite differences", 30000, type=int, metavar="N")
        add("--step", "of the finite differences, in units of delta", 0.02, type=float, metavar="X")
        starts = ["0:-1,1", "2:-pi,pi"]
        add("--modes", "bimodal starts", starts, type=str, nargs="*", metavar="DIM:LOW,HIGH")


def parse_modes(text: str) -> Modes:
    """Read `2:-pi,pi`: a dimension and the two places where it starts.

    Raises:
        ValueError: It is written otherwise.
    """
    try:
        dimension, _, places = text.partition(":")
        low, high = (_number(place) for place in places.split(","))
        return Modes(int(dimension), low, high)
    except ValueError as error:
        raise ValueError(f"modes {text!r}: expected DIM:LOW,HIGH such as 0:-1,1 or 2:-pi,pi") from error


def _number(text: str) -> float:
    number = {"pi": math.pi, "-pi": -math.pi}.get(text)
    number = float(text) if number is None else number
    require_number("place", number)
    return number


def check(arguments: argparse.Namespace) -> None:
    """Refuse values that make no sense, before anything is computed; read `--modes`.

    Raises:
        ValueError: With the option's name.
    """
    require_count("threads", arguments.threads)
    require_count("horizon", arguments.horizon, minimum=0)
    if "seed" in arguments:
        require_seed("seed", arguments.seed)
    for value in getattr(arguments, "horizons", ()):
        require_count("horizons", value)
    if "seeds" in arguments:
        parse_seeds(arguments.seeds)
    for value in getattr(arguments, "delta", ()):
        require_number("delta", value)
    for value in getattr(arguments, "counts", ()):
        require_count("counts", value, minimum=Gaussian().min_particles(0))
    if "points" in arguments:
        require_count("points", arguments.points, minimum=2)
        low, high = arguments.delta
        if not low < high:
            raise ValueError(f"delta must begin below its end, got {low:g} {high:g}")
    if "directions" in arguments:
        require_count("directions", arguments.directions)
    if arguments.command == "bias":
        require_positive("step", arguments.step)
        require_count("reference", arguments.reference)
        arguments.modes = [parse_modes(text) for text in arguments.modes]
    if "trial" in arguments and "run" not in arguments:
        raise ValueError("trial belongs to a run: give --run")
