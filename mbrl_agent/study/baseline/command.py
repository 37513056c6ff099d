"""The command `study baseline`: a run for each seed, which is a cell of a sweep."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from mbrl_agent.files.yaml_data import decode_yaml
from mbrl_agent.options import to_plain
from mbrl_agent.run.commands.command_line import env_values
from mbrl_agent.run.environment import read_env_options
from mbrl_agent.run.experiment import step_duration
from mbrl_agent.study.baseline.cell import make_baseline_cells
from mbrl_agent.study.baseline.config import BaselineConfig
from mbrl_agent.study.baseline.training import STOP_AFTER, make_baseline
from mbrl_agent.study.commands import command_line
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.seeds import parse_seeds
from mbrl_agent.study.sweep.command import run_cells
from mbrl_agent.study.sweep.options import CellOptions
from mbrl_agent.study.sweep.request import make_directory
from mbrl_agent.study.sweep.table import View

HELP = SUMMARIES["baseline"]
NOTES = f"""\
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


@dataclass(frozen=True, kw_only=True)
class Options(CellOptions):
    """The algorithm, and how it is judged."""

    algorithm: str
    """Algorithm of Stable-Baselines3, with an MlpPolicy: ppo, sac or td3."""
    seeds: str = "0"
    """Seeds of the runs, for example 3, 0-4 or 0-2,7."""
    env: str = BaselineConfig.env
    """Gymnasium id of the environment."""
    env_options: tuple[str, ...] = ()
    """What the environment's constructor takes."""
    max_episode_steps: int | None = None
    """Truncate episodes after this many steps; none takes the registered limit."""
    observe: tuple[int, ...] = ()
    """Indices of the dimensions that are observed, as for train.py; empty observes all."""
    history: int = 1
    """Observations that a state holds, with the actions between them, as for train.py."""
    steps: int = 0
    """Budget of environment steps; 0 takes the algorithm's own."""
    eval_episodes: int = BaselineConfig.eval_episodes
    """Fresh episodes of an evaluation; they do not count as interaction."""
    eval_every: int = BaselineConfig.eval_every
    """Environment steps between two evaluations."""
    keep_going: bool = False
    """Use up the budget even when the task is solved."""
    observation: Literal["features", "raw"] = "features"
    """features adds the sine and the cosine of every angle to the observation."""
    option: tuple[str, ...] = ()
    """Arguments of the algorithm's constructor, KEY=VALUE each, the values as YAML."""

    @property
    def config(self) -> BaselineConfig:
        """The configuration of the runs, with the environment's options checked.

        Raises:
            ValueError: It cannot be.
        """
        return BaselineConfig(
            algorithm=self.algorithm,
            env=self.env,
            env_options=to_plain(read_env_options(self.env, env_values(self.env_options))),
            max_episode_steps=self.max_episode_steps,
            observe=self.observe,
            history=self.history,
            steps=self.steps,
            eval_episodes=self.eval_episodes,
            eval_every=self.eval_every,
            keep_going=self.keep_going,
            observation=self.observation,
            options=parse_options(self.option),
        )


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
    """Tell whether it is a number that YAML takes for text, as `1e-3`."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def run(options: Options) -> int:
    """Do the runs that are missing, as cells of a sweep, and return the exit status.

    Raises:
        ValueError: A mistake in the options, or a directory that holds a run with other settings.
        OSError: A file cannot be read or written.
    """
    config = options.config
    cells = make_baseline_cells(config, parse_seeds(options.seeds), options.out)
    env = make_baseline(config)[1]  # refuse what cannot work now, once, not in every process
    env.close()
    for cell in cells:
        cell.finished()  # likewise a directory that holds another run
    make_directory(options.out)
    status = run_cells(options, cells, View(step_duration(env)), command_line("baseline", options))
    if status == 0:
        sys.stdout.write(f"compare them: study compare {options.out}\n")
    return status
