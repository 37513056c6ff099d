"""The command `gallery` of the studies: train every task of the gallery, then write its table and figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from mbrl_agent.options import did_you_mean, refused
from mbrl_agent.run.environment import make_env
from mbrl_agent.run.messages import INTERRUPTED
from mbrl_agent.study.commands import command_line
from mbrl_agent.study.gallery.entries import ENTRIES, Entry
from mbrl_agent.study.gallery.report import write_report
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.seeds import parse_seeds
from mbrl_agent.study.sweep.cells import make_cells
from mbrl_agent.study.sweep.command import check_cells, run_cells
from mbrl_agent.study.sweep.grid import Point
from mbrl_agent.study.sweep.options import CellOptions
from mbrl_agent.study.sweep.request import make_directory
from mbrl_agent.study.sweep.table import View

HELP = SUMMARIES["gallery"]
NOTES = """\
Train on every task of the gallery with every seed, several runs side by side, and write study_gallery.md (a
table), study_gallery.csv (every evaluation), study_gallery.png (learning curves), and a film of each task.
Each run is an ordinary one in a directory of its own. Give the same command again and it goes on. What did
not learn counts, and is shown as such. MuJoCo's tasks are left out where MuJoCo is not installed.

examples:
  python -m mbrl_agent.study gallery --out sweeps/gallery
  python -m mbrl_agent.study gallery --out sweeps/gallery --tasks Pendulum-v1 Reacher-v5 --seeds 0-2
"""


@dataclass(frozen=True, kw_only=True)
class Options(CellOptions):
    """The tasks."""

    seeds: str = "150-154"
    """Seeds of the runs."""
    tasks: tuple[str, ...] = ()
    """Gymnasium ids of some of the tasks; without it all."""


def run(options: Options) -> int:
    """Train what is missing, write the report, and return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: The directory cannot be written.
    """
    seeds, command = parse_seeds(options.seeds), command_line("gallery", options)
    entries = choose(ENTRIES, options.tasks)
    there = [entry for entry in entries if _is_there(entry)]
    if not there:
        raise ValueError("none of the tasks can be made here")
    points = [Point(entry.env, entry.config, (("env", entry.env),)) for entry in there]
    cells = make_cells(points, seeds, options.out)
    view = View(check_cells(cells, seeds[0], here=True))
    make_directory(options.out)
    status = run_cells(options, cells, view, command)
    if status == INTERRUPTED:
        return status
    runs = {entry.env: [cell.directory for cell in cells if cell.config.env == entry.env] for entry in there}
    text, written = write_report(entries, runs, options.out, command)
    sys.stdout.write("\n".join([text, *(f"wrote {path}" for path in written), ""]))
    return status


def choose(entries: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    """Return the entries of some tasks, in the gallery's order; without names all.

    Raises:
        ValueError: There is no task of that name.
    """
    known = [entry.env for entry in entries]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise refused("tasks", f"the gallery has no {name!r}{hint}; it has {', '.join(known)}")
    return [entry for entry in entries if not names or entry.env in names]


def _is_there(entry: Entry) -> bool:
    """Tell whether a task can be made here; where it cannot, a line says what to do.

    Raises:
        ValueError: It comes with the package, and should be there.
    """
    try:
        make_env(entry.config.environment).close()
    except ValueError as error:
        if not entry.install:
            raise
        sys.stderr.write(f"left out: {error}; it needs MuJoCo: {entry.install}\n")
        return False
    return True
