"""What the runs of the gallery came to: a Markdown table, the evaluations as CSV, learning curves, films."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.options import to_text
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.figures import BLUE, default_style
from mbrl_agent.run.table import Table, TableCell
from mbrl_agent.study.compare.read_runs import read_run
from mbrl_agent.study.compare.records import Run
from mbrl_agent.study.compare.table import duration
from mbrl_agent.study.gallery.entries import Entry
from mbrl_agent.study.gradients.drawing import DPI, GREY
from mbrl_agent.study.output import Output
from mbrl_agent.study.sweep.options import cores
from mbrl_agent.version import __version__

COLUMNS = 3  # small multiples beside each other
HEAD = (
    "task", "cost", "options", "learned when", "learned", "interaction, median", "by seed",
    "best evaluation by seed", "wall clock of a run",
)  # fmt: skip
IN_COMMAND = ("cost", "angle_dims", "velocity_dims", "terminated", "initial_states")
"""Options that say what the task is: they stand in the commands below the table, not in it."""
EXPLANATION = """\
Learned: the first trial after which the mean return of the evaluation episodes, which do not count as
interaction, is at least the one stated. Interaction: environment steps to the end of that trial, times the
duration of a step (of MountainCarContinuous-v0, which has none, that of an image); `-`: not within the run's
trials. Wall clock: of a run with its evaluations and figures, median.
"""


@dataclass(frozen=True)
class Result:
    """A task, and the runs that learned it or did not.

    Attributes:
        entry: The task.
        runs: By seed; none where the task could not be made.
    """

    entry: Entry
    runs: Sequence[Run]

    def reached_at(self, run: Run) -> int | None:
        """Return the index of the first evaluation that counts as learned, None without one."""
        if self.entry.goal is None:
            return run.solved_at
        goal = self.entry.goal
        return next((i for i, value in enumerate(run.reward) if value >= goal), None)

    def seconds(self, run: Run) -> float:
        """Return the interaction until it was learned [s]; infinite where it was not."""
        index = self.reached_at(run)
        return math.inf if index is None else float(run.steps[index]) * time_step(run)

    @property
    def learned(self) -> int:
        """How many runs learned it."""
        return sum(self.reached_at(run) is not None for run in self.runs)


def time_step(run: Run) -> float:
    """Return the seconds of an environment step; `nan` where it is not known."""
    return math.nan if run.time_step is None else run.time_step


def write_report(
    entries: Sequence[Entry], directories: Mapping[str, Sequence[Path]], out: Path, command: str
) -> tuple[str, list[Path]]:
    """Read the runs, and write table, figure and films.

    Args:
        entries: The tasks.
        directories: By Gymnasium id, those of its runs, in the order of the seeds; tasks that are not among
            them could not be made.
        out: Where the files go.
        command: What made all of it.

    Returns:
        A summary of a line a task, and the files.

    Raises:
        ValueError: A file of a run is broken.
        OSError: The files cannot be written.
    """
    started = {
        name: [path for path in paths if RunDirectory(path).config.is_file()]
        for name, paths in directories.items()
    }
    results = [Result(entry, [read_run(path) for path in started.get(entry.env, ())]) for entry in entries]
    output = Output(out)
    shown = [result for result in results if result.runs]
    output.write("gallery", gallery_figure(shown) if shown else None, evaluations_table(results))
    films = copy_films(shown, out)
    page = out / "study_gallery.md"
    figure = [path for path in output.written if path.suffix == ".png"]
    write_atomically(page, markdown(results, command, [*figure, *films]).encode())
    written = [*output.written, page, *films]
    return "\n".join(summary_line(result) for result in results), written


def markdown(results: Sequence[Result], command: str, images: Sequence[Path] = ()) -> str:
    """Write the table, what was tried where it is not learned, the images, and the command of each task."""
    head = ["# Gallery", "", f"    {command}", "", f"mbrl_agent {__version__}, {cores()} cores.", ""]
    table = [HEAD, ("---",) * len(HEAD), *(row(result) for result in results)]
    lines = [*head, *("| " + " | ".join(cells) + " |" for cells in table), "", EXPLANATION]
    tried = [result for result in results if result.runs and result.learned < len(result.runs)]
    for result in tried:
        what = result.entry.tried or "nothing else was tried"
        lines.append(f"- {result.entry.env}, learned by {result.learned} of {len(result.runs)} runs: {what}.")
    lines += ["", *(f"![{path.stem}]({path.name})" for path in images)]
    lines += ["", "One run of each task:", ""]
    lines += [f"    {train_command(result.entry)}" for result in results]
    return "\n".join(lines) + "\n"


def row(result: Result) -> tuple[str, ...]:
    """Return the cells of a task."""
    entry, runs = result.entry, result.runs
    first = (entry.env, entry.cost, options_text(entry), goal_text(entry))
    if not runs:
        return (*first, f"not run: {entry.install or 'no run was started'}", "", "", "", "")
    times = [result.seconds(run) for run in runs]
    best = [f"{max(run.reward):.4g}" if len(run.reward) else "-" for run in runs]
    wall = duration(float(np.median([run.end_clock for run in runs])))
    learned = f"{result.learned} of {len(runs)}" if result.learned else f"not learned, 0 of {len(runs)}"
    return (*first, learned, seconds_text(median(times)), ", ".join(map(seconds_text, times)),
            ", ".join(best), wall)  # fmt: skip


def median(values: Sequence[float]) -> float:
    """Return the middle one, of an even number the later: infinite where fewer than half the runs learned."""
    return sorted(values)[len(values) // 2]


def seconds_text(seconds: float) -> str:
    """Write `4.2 s`, and `-` for never."""
    return "-" if not math.isfinite(seconds) else f"{seconds:.3g} s"


def goal_text(entry: Entry) -> str:
    """Tell what counts as learned, and why that."""
    return entry.reason if entry.goal is None else f"return >= {entry.goal:g} ({entry.reason})"


def options_text(entry: Entry) -> str:
    """Return the options that differ from the defaults, but for those that say what the task is."""
    own = {key: value for key, value in entry.options.items() if key not in IN_COMMAND}
    return f"`{shlex.join(flags(own))}`" if own else "the defaults"


def flags(options: Mapping[str, object]) -> list[str]:
    """Write options as words of a command line."""
    return [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", to_text(value))]


def train_command(entry: Entry) -> str:
    """Write the command line of one run of a task."""
    return f"python train.py {shlex.join(flags({'env': entry.env, **entry.options}))}"


def summary_line(result: Result) -> str:
    """Write a line for the terminal."""
    entry, runs = result.entry, result.runs
    if not runs:
        return f"{entry.env}: not run"
    times = [result.seconds(run) for run in runs]
    return (
        f"{entry.env}: learned by {result.learned} of {len(runs)}, after {seconds_text(median(times))} "
        f"({', '.join(map(seconds_text, times))})"
    )


def evaluations_table(results: Sequence[Result]) -> Table:
    """Lay out one row an evaluation; `learned`: whether it is that of the stated return, or a later one."""
    columns = ["env", "seed", "trial", "steps", "seconds", "mean_return", "success_rate", "wall_clock"]
    rows: list[list[TableCell]] = []
    for result in results:
        for run in result.runs:
            reached = result.reached_at(run)
            series = zip(run.trials, run.steps, run.reward, run.success, run.clock, strict=True)
            for index, (trial, steps, *numbers) in enumerate(series):
                identity: list[TableCell] = [
                    result.entry.env,
                    str(run.settings["seed"]),
                    int(trial),
                    int(steps),
                ]
                floats = [float(steps) * time_step(run), *map(float, numbers)]
                learned = reached is not None and index >= reached
                rows.append([*identity, *floats, str(learned).lower()])
    return Table([*columns, "learned"], rows)


@default_style()
def gallery_figure(results: Sequence[Result]) -> Figure:
    """Draw learning curves, a panel a task and a line a run; the return that counts as learned is dotted."""
    columns = min(COLUMNS, len(results))
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(3.7 * columns, 2.9 * rows + 0.4), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, result in zip(axes, results, strict=False):
        _draw(axis, result)
    for axis in axes[len(results) :]:
        axis.set_visible(False)
    note = "line: mean return of a run's evaluation episodes; dotted: counts as learned; dot: first learned"
    figure.suptitle(note, fontsize=8.5)
    return figure


def _draw(axis: Axes, result: Result) -> None:
    goal = result.entry.goal
    for run in result.runs:
        unit = 1.0 if run.time_step is None else run.time_step
        seconds = run.steps * unit
        axis.plot(seconds, run.reward, color=BLUE, lw=1.2, alpha=0.6)
        if (index := result.reached_at(run)) is not None:
            axis.plot(seconds[index], run.reward[index], "o", color=BLUE, ms=4)
    if goal is not None:
        axis.axhline(goal, color=GREY, lw=0.9, ls=":")
    axis.set_title(
        f"{result.entry.env}\nlearned by {result.learned} of {len(result.runs)}", fontsize=9, parse_math=False
    )
    known = all(run.time_step is not None for run in result.runs)
    axis.set_xlabel("interaction [s]" if known else "environment steps", fontsize=8)
    axis.set_ylabel("return", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)


def copy_films(results: Sequence[Result], out: Path) -> list[Path]:
    """Copy the film of the last episode of each task's best run, where there is one."""
    copied = []
    for result in results:
        run = max(result.runs, key=lambda run: float(run.reward[-1]) if len(run.reward) else -math.inf)
        films = sorted(RunDirectory(run.path).figures.glob("episode_trial_*.gif"))
        if films:
            path = out / f"gallery_{result.entry.env}.gif"
            write_atomically(path, films[-1].read_bytes())
            copied.append(path)
    return copied
