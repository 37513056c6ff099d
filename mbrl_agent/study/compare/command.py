"""The command `study compare`: runs below directories as one figure, two CSV files and a Markdown table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.options.validation import require_positive
from mbrl_agent.study.compare.curves import MEASURES, learning_curve
from mbrl_agent.study.compare.drawing import comparison_figure, group_looks
from mbrl_agent.study.compare.grouping import group_runs, notes_on, with_time_step
from mbrl_agent.study.compare.panels import Panel, make_panels, panels_figure
from mbrl_agent.study.compare.read_runs import find_runs
from mbrl_agent.study.compare.summaries import summarise
from mbrl_agent.study.compare.table import curves_table, markdown, plain, runs_table
from mbrl_agent.study.output import Output
from mbrl_agent.study.overview import SUMMARIES

HELP = SUMMARIES["compare"]
NOTES = """\
examples:
  python -m mbrl_agent.study compare runs                       # every run below, by resampling strategy
  python -m mbrl_agent.study compare sweeps/a sweeps/sac        # two sweeps in one figure
  python -m mbrl_agent.study compare sweeps/b --by search.steps
  python -m mbrl_agent.study compare sweeps/b --by resampling search.steps --out figures
  python -m mbrl_agent.study compare sweeps/c sweeps/d --panels max-episode-steps
  python -m mbrl_agent.study compare runs logs/sac              # evaluations.npz of an EvalCallback, too

Writes study_compare.png (learning curves, interaction and wall clock to SOLVED), study_compare.csv (the
curves), study_compare_runs.csv (every run) and study_compare.md (the table, with what to know of it);
with --panels also study_compare_panels.png (success rate over interaction) and .csv.

A PATH is a run, or holds runs at any depth: those of train.py, of `study baseline`, and directories
with an evaluations.npz, which are grouped by their name without `_seed3` at its end. `SAC/seed3` is a run of
SAC. Every run counts: one that is unfinished or was killed counts as far as it went, and is named.
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is compared, and how it is grouped."""

    paths: tuple[Path, ...]
    """Runs, or directories that hold runs."""
    by: tuple[str, ...] = ()
    """Keys of config.yaml whose values make a group; without it resampling, with its options."""
    panels: str | None = None
    """Key of config.yaml: learning curves in a figure of their own, a panel for each of its values."""
    time_step: float | None = None
    """Duration of an environment step [s], for runs whose environment is not known; none takes that of the
    other runs."""
    out: Path | None = None
    """Directory of the files; none takes the first PATH."""

    def __post_init__(self) -> None:
        if self.time_step is not None:
            require_positive("time_step", self.time_step)


def run(options: Options) -> int:
    """Read, compare, write, and show the table.

    Raises:
        ValueError: There are no runs, they cannot be compared, or a file of theirs is broken.
        OSError: The files cannot be written.
    """
    runs, notes = with_time_step(find_runs(options.paths), options.time_step)
    by = options.by if options.panels is None else (options.panels, *(options.by or ("resampling",)))
    groups = group_runs(runs, by)
    notes += notes_on(groups, by)
    summaries = [summarise(group) for group in groups]
    in_seconds = runs[0].time_step is not None
    environments = ", ".join(sorted({run.env for run in runs if run.env is not None}))
    curves = {measure: [learning_curve(group.runs, measure) for group in groups] for measure in MEASURES}
    title = environments or "unknown environment"
    figure = comparison_figure(groups, curves, summaries, group_looks(groups), title)
    output = Output(options.out or options.paths[0])
    output.write("compare", figure, curves_table(groups, curves))
    output.write("compare_runs", None, runs_table(groups))
    if options.panels is not None:
        _write_panels(make_panels(groups, options.panels), title, output)
    path = output.directory / "study_compare.md"
    write_atomically(path, markdown(summaries, in_seconds, notes).encode())
    sys.stderr.write("".join(f"note: {note}\n" for note in notes))
    written = [f"wrote {path}" for path in [*output.written, path]]
    sys.stdout.write("\n".join([plain(summaries, in_seconds), *written, ""]))
    return 0


def _write_panels(panels: Sequence[Panel], title: str, output: Output) -> None:
    """Write the figure of the panels, in which a group has the same colour everywhere, and its curves."""
    groups = {group.label: group for panel in panels for group in panel.groups}
    named = [
        replace(group, label=f"{panel.title}, {group.label}") for panel in panels for group in panel.groups
    ]
    curves = {measure: [learning_curve(group.runs, measure) for group in named] for measure in MEASURES}
    figure = panels_figure(panels, group_looks(list(groups.values())), title)
    output.write("compare_panels", figure, curves_table(named, curves))
