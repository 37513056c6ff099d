"""The command `study compare`: runs below directories as one figure, two CSV files and a Markdown table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.options.validation import require_positive
from mbrl_agent.study.compare.curves import MEASURES, learning_curve
from mbrl_agent.study.compare.drawing import comparison_figure, group_looks
from mbrl_agent.study.compare.grouping import group_runs, notes_on, with_time_step
from mbrl_agent.study.compare.read_runs import find_runs
from mbrl_agent.study.compare.summaries import summarise
from mbrl_agent.study.compare.table import curves_table, markdown, plain, runs_table
from mbrl_agent.study.output import Output
from mbrl_agent.study.overview import SUMMARIES

SUMMARY = SUMMARIES["compare"]
EXAMPLES = """\
examples:
  python -m mbrl_agent.study compare runs                       # every run below, by resampling strategy
  python -m mbrl_agent.study compare sweeps/a sweeps/sac        # two sweeps in one figure
  python -m mbrl_agent.study compare sweeps/b --by search.steps
  python -m mbrl_agent.study compare sweeps/b --by resampling search.steps --out figures
  python -m mbrl_agent.study compare runs logs/sac              # evaluations.npz of an EvalCallback, too

Writes study_compare.png (learning curves, interaction and wall clock to SOLVED), study_compare.csv (the
curves), study_compare_runs.csv (every run) and study_compare.md (the table, with what to know of it).

A directory is a run, or holds runs at any depth: those of train.py, of `study baseline`, and directories
with an evaluations.npz, which are grouped by their name without `_seed3` at its end. `SAC/seed3` is a run of
SAC. Every run counts: one that is unfinished or was killed counts as far as it went, and is named.
"""


def add_parser(commands: Any) -> None:
    """Add the command to argparse's collection of them."""
    parser = commands.add_parser(
        "compare",
        help=SUMMARY,
        description=SUMMARY,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(execute=run)
    add = parser.add_argument
    add("directories", nargs="+", type=Path, metavar="DIR", help="runs, or directories that hold runs")
    add(
        "--by",
        nargs="+",
        default=[],
        metavar="KEY",
        help="keys of config.yaml whose values make a group (default: resampling, with its options)",
    )
    add(
        "--time-step",
        type=float,
        metavar="SECONDS",
        help="of an environment step, for runs whose environment is not known (default: as the other runs)",
    )
    add("--out", type=Path, metavar="DIR", help="directory of the files (default: the first DIR)")


def run(arguments: argparse.Namespace) -> int:
    """Read, compare, write, and show the table.

    Raises:
        ValueError: There are no runs, they cannot be compared, or a file of theirs is broken.
        OSError: The files cannot be written.
    """
    if arguments.time_step is not None:
        require_positive("time_step", arguments.time_step)
    runs, notes = with_time_step(find_runs(arguments.directories), arguments.time_step)
    groups = group_runs(runs, arguments.by)
    notes += notes_on(groups, arguments.by)
    summaries = [summarise(group) for group in groups]
    in_seconds = runs[0].time_step is not None
    environments = ", ".join(sorted({run.env for run in runs if run.env is not None}))
    curves = {measure: [learning_curve(group.runs, measure) for group in groups] for measure in MEASURES}
    title = environments or "unknown environment"
    figure = comparison_figure(groups, curves, summaries, group_looks(groups), title)
    output = Output(arguments.out or arguments.directories[0])
    output.write("compare", figure, curves_table(groups, curves))
    output.write("compare_runs", None, runs_table(groups))
    path = output.directory / "study_compare.md"
    write_atomically(path, markdown(summaries, in_seconds, notes).encode())
    sys.stderr.write("".join(f"note: {note}\n" for note in notes))
    written = [f"wrote {path}" for path in [*output.written, path]]
    sys.stdout.write("\n".join([plain(summaries, in_seconds), *written, ""]))
    return 0
