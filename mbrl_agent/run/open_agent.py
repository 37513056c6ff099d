"""Open what a user names, a run, a checkpoint or an agent file, as an agent and its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium
from stable_baselines3.common.utils import check_for_correct_spaces

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.environment import Environment, make_env, read_env_options

SHOWN_RUNS = 3
"""So many runs a message names."""
CHECKPOINT = re.compile(r"trial_\d{3,}\.zip")


@dataclass(frozen=True)
class OpenedAgent:
    """An agent that was read from a file.

    Attributes:
        agent: It has no environment: it predicts, and its model and its episodes can be looked at.
        file: Where it was.
        name: What to call it: the file and the number of its trials.
        run: The directory of the run that it belongs to, None for a file alone.
        config: The run's configuration.
    """

    agent: ParticlePILCO
    file: Path
    name: str
    run: RunDirectory | None = None
    config: TrainConfig | None = None

    def environment(
        self,
        name: str | None = None,
        options: Mapping[str, str] | None = None,
        max_episode_steps: int | None = None,
    ) -> Environment:
        """Find the environment for this agent, and check that the agent fits it.

        Args:
            name: Gymnasium id; None takes the run's environment, with the options that it had there.
            options: Text of the constructor's arguments that shall be other ones.
            max_episode_steps: Steps after which an episode is truncated; None takes the environment's limit,
                or the agent's where the environment has none.

        Raises:
            ValueError: Nobody says which environment, it cannot be made, or the agent does not fit it.
        """
        if name is None and self.config is None:
            raise ValueError(
                f"{self.file} does not say in which environment it acts, since no config.yaml of a run lies "
                "beside it: give --env ID"
            )
        wanted = self.config.environment if self.config else Environment("")
        if name is not None:  # another one, of which the agent observes and remembers the same
            wanted = replace(wanted, name=name, options={}, max_episode_steps=None)
        read = read_env_options(wanted.name, options or {})
        limit = max_episode_steps or wanted.max_episode_steps or self._limit_of_the_agent(wanted.name)
        wanted = replace(wanted, options={**wanted.options, **read}, max_episode_steps=limit)
        env = make_env(wanted)
        try:
            check_for_correct_spaces(env, self.agent.observation_space, self.agent.action_space)
        except ValueError as error:
            raise ValueError(f"{self.name} does not fit {wanted.name}: {error}") from error
        finally:
            env.close()
        return wanted

    def _limit_of_the_agent(self, name: str) -> int | None:
        """Return the steps of an episode where the environment has no limit of its own but the agent has."""
        spec = gymnasium.registry.get(name.rpartition(":")[2])
        has_limit = spec is not None and spec.max_episode_steps is not None
        return None if has_limit else self.agent.max_episode_steps


def open_agent(path: str | Path, trial: int | None = None, best: bool = False) -> OpenedAgent:
    """Read an agent.

    Args:
        path: The directory of a run, a checkpoint of one, or a file that `ParticlePILCO.save` wrote.
        trial: Of a run: the agent after this trial; None takes the final agent, or that of the last
            checkpoint while there is no final one.
        best: Of a run: the agent of the best evaluation.

    Raises:
        ValueError: There is nothing there, it is something else, or it does not hold what was asked for.
        OSError: A file cannot be read.
    """
    if trial is not None and best:
        raise ValueError("give --trial or --best, not both: the best is that of one trial")
    place = _existing(Path(path))
    if place.is_dir():
        run = _require_run(place)
        return _read(_file_of(run, trial, best), run)
    if trial is not None or best:
        option = "--best" if best else "--trial"
        raise ValueError(f"{option} belongs to the directory of a run, and {place} is a file")
    return _read(place, _run_of(place))


def find_run(path: str | Path) -> RunDirectory:
    """Find a run of which several checkpoints are looked at.

    Raises:
        ValueError: It is not the directory of a run, or it has no checkpoints.
    """
    place = _existing(Path(path))
    if not place.is_dir():
        raise ValueError(f"--trials belongs to the directory of a run, and {place} is a file")
    run = _require_run(place)
    if not run.trials():
        raise ValueError(f"{place} has no checkpoints")
    return run


def _require_run(place: Path) -> RunDirectory:
    """Raise ValueError unless a directory is that of a run."""
    run = RunDirectory(place)
    if not run.config.is_file():
        raise ValueError(f"{place} is not the directory of a run, it has no config.yaml{_runs_below(place)}")
    return run


def _existing(path: Path) -> Path:
    """Return the path, or with `.zip` behind it, as an agent is saved.

    Raises:
        ValueError: There is neither.
    """
    for candidate in (path, Path(f"{path}.zip")):
        if candidate.exists():
            return candidate
    raise ValueError(f"there is no {path}: give the directory of a run, a checkpoint or an agent file")


def _runs_below(place: Path) -> str:
    """Write the end of a message: the latest runs that a directory holds, if it does."""
    runs = sorted(place.glob("*/config.yaml"), key=lambda file: file.stat().st_mtime, reverse=True)
    names = ", ".join(str(file.parent) for file in runs[:SHOWN_RUNS])
    return f"; runs in it are {names}{', ...' if len(runs) > SHOWN_RUNS else ''}" if runs else ""


def _run_of(file: Path) -> RunDirectory | None:
    """Return the run to which a file belongs, if it lies where a run's file does."""
    place = file.resolve().parent
    if CHECKPOINT.fullmatch(file.name) and place.name == "checkpoints":
        place = place.parent
    return RunDirectory(place) if (place / "config.yaml").is_file() else None


def _file_of(run: RunDirectory, trial: int | None, best: bool) -> Path:
    """Return the file of a run that holds the agent.

    Raises:
        ValueError: The run does not have it; the message says what it has.
    """
    trials = run.trials()
    if best:
        if not run.best.is_file():
            raise ValueError(
                f"{run.path} has no {run.best.name}: nothing was evaluated; it {_what_is_there(run)}"
            )
        return run.best
    if trial is not None:
        require_trials(run, [trial])
        return run.checkpoint(trial)
    if run.agent.is_file():
        return run.agent
    if not trials:
        raise ValueError(f"{run.path} holds no agent yet: it {_what_is_there(run)} and no {run.agent.name}")
    return run.checkpoint(trials[-1])


def require_trials(run: RunDirectory, trials: Sequence[int]) -> None:
    """Raise ValueError unless a run has the checkpoints after some trials."""
    missing = sorted(set(trials) - set(run.trials()))
    if missing:
        raise ValueError(f"{run.path} has no checkpoint after trial {missing[0]}: it {_what_is_there(run)}")


def _what_is_there(run: RunDirectory) -> str:
    trials = run.trials()
    return f"has checkpoints after trials {_ranges(trials)}" if trials else "has no checkpoints"


def _ranges(numbers: list[int]) -> str:
    """Write numbers in ascending order as text: 1-4, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _read(file: Path, run: RunDirectory | None) -> OpenedAgent:
    config = None if run is None else TrainConfig.load(run.config)
    agent = ParticlePILCO.load(file)
    return OpenedAgent(agent, file, f"{file}, after trial {agent.trials}", run, config)
