"""The command `watch`: see what a policy does, in a window or in a film."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbrl_agent.errors import EnvFailedError
from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.options import convert_option, refused
from mbrl_agent.run.animation import encode_gif, metadata_of, render_mode
from mbrl_agent.run.commands.agent_options import ActingOptions, check_target
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.environment import Env, Environment, make_env
from mbrl_agent.run.evaluation import acting
from mbrl_agent.run.experiment import step_duration
from mbrl_agent.run.film import (
    FilmedEpisode,
    TiledFilm,
    encode_mp4,
    film_episode,
    require_mp4,
    run_episode,
)
from mbrl_agent.run.open_agent import OpenedAgent, find_run, open_agent, require_trials

HELP = "Show an episode in a window, or write a film of it; several trials side by side show it learn."
NOTES = """\
examples:
  mbrl-agent watch runs/X
  mbrl-agent watch runs/X --trials 1,3,6 --gif learning.gif
"""
ALL = "all"
MAX_TILES = 16
"""More episodes side by side are too small to see."""


@dataclass(frozen=True)
class Options(ActingOptions):
    """Which agent is watched, and how."""

    trials: str | None = None
    """Of a run: several trials side by side in one film, such as 1,3,6, or all; the same seed for each."""
    gif: str | None = None
    """Write the film to this file; without it, --mp4, and a display: a window."""
    mp4: str | None = None
    """Write the film to this file; it needs imageio-ffmpeg."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("gif", self.gif), ("mp4", self.mp4)):
            if value is not None and not value.lower().endswith(f".{name}"):
                raise refused(name, f"must end with .{name}, got {value!r}")
        if self.trials is not None and (self.trial is not None or self.best):
            raise refused("trials", "excludes --trial and --best: give one of the three")


def run(options: Options) -> int:
    """Show the window, or write the film.

    Raises:
        ValueError: The agent or the environment cannot be had, or the environment offers no images.
        OSError: A file cannot be read or written.
        RunFailure: The environment failed.
    """
    for name, value in (("gif", options.gif), ("mp4", options.mp4)):
        if value is not None:
            check_target(name, Path(value))
    if options.mp4 is not None:
        require_mp4()
    agents = _agents(options)
    first = next(agents)
    environment = options.environment(first)
    env = make_env(environment)
    env.close()
    asks_for_film = options.gif or options.mp4 or options.trials
    if not asks_for_film and _has_display() and "human" in metadata_of(env).get("render_modes", ()):
        _show(first, environment, options.seed)
        return 0
    mode = render_mode(env)
    if mode is None:
        raise ValueError(
            f"{environment.name} cannot be filmed: the render modes that it declares in its metadata are "
            f"{_modes(env)}, and a film needs rgb_array"
        )
    episodes = [_film(first, environment, mode, options.seed)]
    episodes += [_film(agent, environment, mode, options.seed) for agent in agents]
    _write(TiledFilm(episodes, step_duration(env)), options, first)
    return 0


def _agents(options: Options) -> Iterator[OpenedAgent]:
    """Return what is watched, one after the other: models of many trials need not fit the memory together."""
    if options.trials is None:
        yield options.open()
        return
    for trial in _trials(options.trials, find_run(options.path)):
        yield open_agent(options.path, trial)


def _trials(text: str, run: RunDirectory) -> list[int]:
    """Return the trials that `--trials` names, all of which have a checkpoint.

    Raises:
        ValueError: One has none, there are too many, or it is no list of numbers.
    """
    if text != ALL:
        trials = list(dict.fromkeys(convert_option(("trials",), text, tuple[int, ...])))
        if not 1 <= len(trials) <= MAX_TILES:
            raise refused("trials", f"must be 1 to {MAX_TILES} trials or {ALL}, got {text!r}")
        require_trials(run, trials)
        return trials
    trials = run.trials()
    if len(trials) <= MAX_TILES:
        return trials
    sys.stdout.write(f"{MAX_TILES} of the {len(trials)} trials, evenly spread\n")
    return [trials[place] for place in np.linspace(0, len(trials) - 1, MAX_TILES).round().astype(int)]


def _has_display() -> bool:
    """Tell whether a window would be seen."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _modes(env: Env) -> str:
    modes = metadata_of(env).get("render_modes")
    return ", ".join(map(str, modes)) if isinstance(modes, list | tuple | set) and modes else "none"


def _show(opened: OpenedAgent, environment: Environment, seed: int) -> None:
    """Run an episode in a window; the environment draws by itself."""
    env = make_env(environment, "human")
    try:
        returns = run_episode(env, acting(opened.agent), seed, lambda: None)
    except EnvFailedError as error:
        raise EnvFailedError(f"{error}; a film needs no window: --gif FILE") from error
    finally:
        env.close()
    sys.stdout.write(f"{opened.name}: return {returns[-1]:.4g} in {len(returns) - 1} steps\n")


def _film(opened: OpenedAgent, environment: Environment, mode: str, seed: int) -> FilmedEpisode:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's on images that it does not know: the film takes them
        env = make_env(environment, mode)
        try:
            episode = film_episode(env, acting(opened.agent), seed, _title(opened, step_duration(env)))
        finally:
            env.close()
    steps = len(episode.returns) - 1
    sys.stdout.write(f"{opened.name}: return {episode.returns[-1]:.4g} in {steps} steps\n")
    return episode


def _title(opened: OpenedAgent, time_step: float | None) -> str:
    """Tell which policy it is, and how much interaction it learned from."""
    agent = opened.agent
    if not agent.improved:
        return f"trial {agent.trials}, not trained yet"
    steps = agent.num_timesteps
    return f"trial {agent.trials}, {f'{steps} steps' if time_step is None else f'{steps * time_step:.1f} s'}"


def _write(film: TiledFilm, options: Options, opened: OpenedAgent) -> None:
    """Write what was asked for; where nothing was, a GIF."""
    gif = Path(options.gif) if options.gif else None if options.mp4 else _default_file(options, opened)
    if gif is not None:
        write_atomically(gif, encode_gif(list(film.frames()), film.frame_seconds))
        sys.stdout.write(f"wrote {gif}\n")
    if options.mp4:
        write_atomically(Path(options.mp4), encode_mp4(film))
        sys.stdout.write(f"wrote {options.mp4}\n")


def _default_file(options: Options, opened: OpenedAgent) -> Path:
    """Choose a place beside the run's other figures, or in the current directory."""
    if opened.run is None:
        return Path(f"watch_{opened.file.stem}.gif")
    which = "trials" if options.trials else "best" if options.best else f"trial_{opened.agent.trials:03d}"
    return opened.run.figures / f"watch_{which}.gif"
