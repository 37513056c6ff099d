"""The command `study baseline`: a run for each seed, which is a cell of a sweep."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mbrl_agent.files.yaml_data import decode_yaml
from mbrl_agent.options import to_plain
from mbrl_agent.run.environment import read_env_options
from mbrl_agent.run.experiment import step_duration
from mbrl_agent.study.baseline.algorithms import ALGORITHMS
from mbrl_agent.study.baseline.cell import make_cells
from mbrl_agent.study.baseline.config import BaselineConfig
from mbrl_agent.study.baseline.training import STOP_AFTER, make_baseline
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.parsing import ENV_HELP
from mbrl_agent.study.seeds import parse_seeds
from mbrl_agent.study.sweep.command import check_options, run_cells
from mbrl_agent.study.sweep.request import make_directory
from mbrl_agent.study.sweep.table import View

SUMMARY = SUMMARIES["baseline"]
EXAMPLES = f"""\
examples:
  python -m mbrl_agent.study baseline --algorithm sac --seeds 0-4 --out sweeps/sac
  python -m mbrl_agent.study baseline --algorithm td3 --seeds 0-4 --out sweeps/td3 --jobs 2
  python -m mbrl_agent.study baseline --algorithm sac --out sweeps/slow --option gradient_steps=1
  python -m mbrl_agent.study baseline --algorithm ppo --out sweeps/ppo --option policy_kwargs.net_arch=[32,32]
  python -m mbrl_agent.study compare sweeps/sac runs

A run is judged as one of train.py: 100 fresh episodes, solved when 95 of them succeed. It ends after
{STOP_AFTER} evaluations in a row that solve the task (with --keep-going, after all steps). Given again, the
command leaves finished runs alone and starts unfinished ones afresh.

exit status: 0 if all runs are done, 1 if some failed, 2 for a mistake in the command line, 130 if
interrupted by Ctrl-C or SIGTERM
"""


def add_parser(commands: Any) -> None:
    """Add the command to argparse's collection of them."""
    defaults = BaselineConfig()
    parser = commands.add_parser(
        "baseline",
        help=SUMMARY,
        description=SUMMARY,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(execute=run, engine="local", address=None)
    add = parser.add_argument
    budgets = ", ".join(f"{name} {algorithm.steps}" for name, algorithm in ALGORITHMS.items())
    add("--algorithm", required=True, choices=sorted(ALGORITHMS), help="with an MlpPolicy")
    add("--out", required=True, type=Path, metavar="DIR", help="directory that holds the run directories")
    add("--seeds", default="0", metavar="LIST", help="for example 3, 0-4 or 0-2,7 (default: 0)")
    add(
        "--env",
        default=defaults.env,
        metavar="ID",
        help=f"Gymnasium id (default: {defaults.env}); {ENV_HELP}",
    )
    text = "truncate episodes after N steps (default: as registered)"
    add("--max-episode-steps", type=int, metavar="N", help=text)
    add("--steps", default=0, type=int, metavar="N", help=f"environment steps (default: {budgets})")
    add(
        "--eval-episodes",
        default=defaults.eval_episodes,
        type=int,
        metavar="N",
        help=f"of an evaluation; they do not count as interaction (default: {defaults.eval_episodes})",
    )
    every = f"environment steps between evaluations (default: {defaults.eval_every})"
    add("--eval-every", default=defaults.eval_every, type=int, metavar="N", help=every)
    add("--keep-going", action="store_true", help="use up the budget even when the task is solved")
    add(
        "--observation",
        default=defaults.observation,
        choices=["features", "raw"],
        help="features: with sine and cosine of every angle beside it (default: features)",
    )
    add(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="argument of the algorithm's constructor, as YAML; may be given several times",
    )
    add("--jobs", type=int, metavar="N", help="runs at once (default: the cores)")
    text = "how often a crashed run is tried again (default: %(default)s)"
    add("--retries", type=int, default=1, metavar="N", help=text)


def parse_options(words: Iterable[str]) -> dict[str, Any]:
    """Read `policy_kwargs.net_arch=[64,64]` and the like as nested options.

    Raises:
        ValueError: It is written otherwise.
    """
    options: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise ValueError(f"option {word!r}: expected KEY=VALUE such as gamma=0.95")
        try:
            value = decode_yaml(text)
            value = float(value) if isinstance(value, str) and _is_number(value) else value
        except ValueError as error:
            raise ValueError(f"option {word!r}: {text!r} is not a value in YAML") from error
        inner = options
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ValueError(f"option {word!r} does not fit the one given before it")
        inner[keys[-1]] = value
    return options


def _is_number(text: str) -> bool:
    """YAML takes `1e-3` for text."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def run(arguments: argparse.Namespace) -> int:
    """Do the runs that are missing, as cells of a sweep, and return the exit status.

    Raises:
        ValueError: A mistake in the arguments, or a directory that holds a run with other settings.
        OSError: A file cannot be read or written.
    """
    check_options(arguments)
    config = BaselineConfig(
        algorithm=arguments.algorithm,
        env=arguments.env,
        env_options=to_plain(read_env_options(arguments.env, arguments.env_options)),
        max_episode_steps=arguments.max_episode_steps,
        steps=arguments.steps,
        eval_episodes=arguments.eval_episodes,
        eval_every=arguments.eval_every,
        keep_going=arguments.keep_going,
        observation=arguments.observation,
        options=parse_options(arguments.option),
    )
    cells = make_cells(config, parse_seeds(arguments.seeds), arguments.out)
    env = make_baseline(config)[1]  # refuse what cannot work now, once, not in every process
    env.close()
    for cell in cells:
        cell.finished()  # likewise a directory that holds another run
    make_directory(arguments.out)
    status = run_cells(arguments, cells, View(step_duration(env)), arguments.command_line)
    if status == 0:
        sys.stdout.write(f"compare them: study compare {arguments.out}\n")
    return status
