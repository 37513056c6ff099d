"""The command `inspect`: pictures and tables of the model and the policy of an agent."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.agent.dimension_names import dimension_names
from mbrl_agent.agent.replay import Episode
from mbrl_agent.files.archive import CheckpointError
from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.options import did_you_mean, refused
from mbrl_agent.options.validation import require_count
from mbrl_agent.randomness import derive_generator
from mbrl_agent.run import inspection
from mbrl_agent.run.commands.task_names import NamedOptions, TaskNames
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.figures import encode_png
from mbrl_agent.run.messages import one_line
from mbrl_agent.run.open_agent import OpenedAgent
from mbrl_agent.run.table import Table

HELP = "Draw what the model predicts, how sure it is, and what the policy does; with the numbers as CSV."
NOTES = """\
examples:
  mbrl-agent inspect runs/X
  mbrl-agent inspect runs/X --dims theta,theta_dot --steps 10
"""
FOLDER = "inspection"


@dataclass(frozen=True)
class Options(NamedOptions):
    """Which agent is looked at, and what of it is drawn."""

    out: str | None = None
    """Directory for the pictures and tables; none takes inspection/ in the run, or beside the agent."""
    dims: tuple[str, ...] = ()
    """One or two dimensions of the policy's picture, by name or index: theta,theta_dot. Without it: the two
    on which the actions depend most."""
    steps: int = 30
    """Most steps ahead that the model predicts; it is cut to the longest episode."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("steps", self.steps)
        names = tuple(name for word in self.dims for name in word.split(","))
        object.__setattr__(self, "dims", names)
        if len(self.dims) > 2:
            raise refused("dims", f"must be one or two dimensions, got {len(self.dims)}")


@dataclass(frozen=True)
class Evidence:
    """A model, and the episodes by which it is judged.

    Attributes:
        agent: Whose model it is.
        episodes: The model has not seen them, or has seen all of them.
        title: What the pictures say of both.
        note: Why it is not what one would want, empty if it is.
    """

    agent: ParticlePILCO
    episodes: list[Episode]
    title: str
    note: str = ""


class PictureFiles:
    """Writes pictures and tables into a directory.

    Args:
        directory: It is made if need be.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, figure: Figure, table: Table) -> None:
        """Write a picture and its numbers, and say so."""
        write_atomically(self.directory / f"{name}.png", encode_png(figure))
        write_atomically(self.directory / f"{name}.csv", table.text().encode())
        sys.stdout.write(f"wrote {self.directory / name}.png and .csv\n")


def run(options: Options) -> int:
    """Draw everything.

    Raises:
        ValueError: The agent cannot be had, its model has not been fitted, or there is no such dimension.
        OSError: A file cannot be read or written.
        RunFailure: The policy gives no number for a state.
    """
    opened = options.open()
    agent = opened.agent
    if not _is_fitted(agent):
        raise ValueError(
            f"{opened.file} holds no fitted model: the agent had not learned yet when it was saved"
            + ("" if opened.run is None else "; take a later --trial")
        )
    names = options.names(opened)
    if options.dims:
        inspection.require_map(agent.policy)
    dims = () if agent.policy.memory_dims else _chosen_dims(options.dims, agent, names)
    folder = Path(options.out) if options.out else _folder(opened)
    if folder.exists() and not folder.is_dir():
        raise refused("out", f"must be a directory, {folder} is a file")
    output = PictureFiles(folder)
    sys.stdout.write(f"{opened.name}\n")
    episodes = _all_episodes(opened)
    evidence = _evidence(opened, episodes)
    if evidence.note:
        sys.stdout.write(f"note: {evidence.note}\n")
    _draw_model(evidence, options.steps, names, output)
    if opened.run is not None:
        history = inspection.error_history(_fitted_agents(opened.run), episodes, options.steps)
        if history is not None:
            figure = inspection.history_figure(history, names.labels, names.time_step)
            output.write("errors_over_trials", figure, inspection.history_table(history, names.labels))
    if dims:
        _draw_policy(agent, dims, names, output)
    else:
        sys.stdout.write("note: the policy remembers, so that there is no picture of it over states\n")
    return 0


def _is_fitted(agent: ParticlePILCO) -> bool:
    return agent.improved or agent.fit_steps > 0


def _folder(opened: OpenedAgent) -> Path:
    return (opened.file.parent if opened.run is None else opened.run.path) / FOLDER


def _all_episodes(opened: OpenedAgent) -> list[Episode]:
    """Return all episodes of the run, or those of the agent, if it is alone or nothing else can be read."""
    episodes = opened.agent.replay.episodes
    if opened.run is not None:
        for trial in reversed(opened.run.trials()):
            if trial <= opened.agent.trials:
                break
            if (last := _load(opened.run, trial)) is not None:
                return last.replay.episodes
    return episodes


def _load(run: RunDirectory, trial: int) -> ParticlePILCO | None:
    """Return the agent of a checkpoint; None, with a warning, where it cannot be read."""
    try:
        return ParticlePILCO.load(run.checkpoint(trial))
    except (CheckpointError, OSError) as error:
        warnings.warn(f"{run.checkpoint(trial)} is left out: {one_line(error)}", stacklevel=2)
        return None


def _fitted_agents(run: RunDirectory, trials: Sequence[int] | None = None) -> Iterator[ParticlePILCO]:
    """Yield the agents of a run's checkpoints that have a model, one after the other."""
    for trial in run.trials() if trials is None else trials:
        agent = _load(run, trial)
        if agent is not None and _is_fitted(agent):
            yield agent


def _evidence(opened: OpenedAgent, episodes: list[Episode]) -> Evidence:
    """Take the agent's model on what came after it, or else the last model after which something came."""
    agent, run = opened.agent, opened.run
    unseen = inspection.unseen_episodes(agent, episodes)
    if any(map(len, unseen)):
        return Evidence(agent, unseen, _title(agent, unseen))
    earlier = [] if run is None else [trial for trial in run.trials() if trial < agent.trials]
    for older in [] if run is None else _fitted_agents(run, earlier[::-1]):
        unseen = inspection.unseen_episodes(older, episodes)
        if any(map(len, unseen)):
            note = (
                f"the model after trial {agent.trials} has seen every episode, so its predictions cannot be "
                f"judged; judged is that after trial {older.trials}, by what came later"
            )
            return Evidence(older, unseen, _title(older, unseen), note)
    note = (
        "there are no episodes that the model has not seen: the errors are those on its own training data, "
        "and smaller than on new episodes"
    )
    title = f"Model on the {_count(episodes)} that it was fitted to (not a test)"
    return Evidence(agent, list(episodes), title, note)


def _title(agent: ParticlePILCO, unseen: Sequence[Episode]) -> str:
    return f"Model after trial {agent.trials} on the {_count(unseen)} collected later"


def _count(episodes: Sequence[Episode]) -> str:
    return "episode" if len(episodes) == 1 else f"{len(episodes)} episodes"


def _draw_model(evidence: Evidence, steps: int, names: TaskNames, output: PictureFiles) -> None:
    """Draw and write the errors by the number of steps ahead, and the spread along the episodes."""
    agent, labels = evidence.agent, names.labels
    errors = inspection.agent_errors(agent, evidence.episodes, steps)
    figure = inspection.error_figure(errors, labels, names.time_step, evidence.title)
    output.write("prediction_errors", figure, inspection.error_table(errors, labels))
    assert agent.seed is not None
    generator = derive_generator(agent.seed, "inspection spread", agent.trials, agent.device)
    spread = inspection.prediction_spread(
        agent.dynamics, agent.policy.features, evidence.episodes, agent.search.num_particles, generator
    )
    title = f"{evidence.title}: spread one step ahead"
    figure = inspection.spread_figure(spread, labels, names.time_step, title)
    output.write("prediction_spread", figure, inspection.spread_table(spread, labels))


def _draw_policy(agent: ParticlePILCO, dims: Sequence[int], names: TaskNames, output: PictureFiles) -> None:
    """Draw a map over two dimensions, or a curve over one."""
    visited = _visited(agent)
    if len(dims) == 1:
        curve = inspection.policy_curve(agent.policy, visited, dims[0])
        figure = inspection.curve_figure(curve, names.labels, visited)
        output.write("policy_curve", figure, inspection.curve_table(curve, names.labels))
        return
    found = inspection.policy_map(agent.policy, visited, dims)
    figure = inspection.policy_figure(found, names.labels, visited)
    output.write("policy_map", figure, inspection.policy_table(found, names.labels))


def _visited(agent: ParticlePILCO) -> NDArray[np.float64]:
    """Return all observations, (N, D)."""
    episodes = agent.replay.episodes
    if not episodes:
        raise ValueError("the agent has no episodes: nobody knows which states its policy is for")
    return np.concatenate([episode.observations for episode in episodes])


def _chosen_dims(words: Sequence[str], agent: ParticlePILCO, names: TaskNames) -> list[int]:
    """Return the indices of one or two dimensions.

    Raises:
        ValueError: There is no such dimension, or one is named twice.
    """
    if not words:
        return sorted(inspection.influential_dims(agent.policy, _visited(agent))[:2])
    short = dimension_names(names.labels, agent.state_dims)
    dims = [_dimension(word.strip(), names.labels, short) for word in words]
    if len(set(dims)) < len(dims):
        raise refused("dims", f"names dimension {short[dims[0]]} twice")
    return dims


def _dimension(word: str, labels: Sequence[str], short: Sequence[str]) -> int:
    for known in (short, labels):
        if word in known:
            return list(known).index(word)
    if word.isascii() and word.isdigit() and int(word) < len(short):
        return int(word)
    offer = ", ".join(f"{index} {name}" for index, name in enumerate(short))
    raise refused(
        "dims", f"there is no dimension {word!r}{did_you_mean(word, list(short))}; there are {offer}"
    )
