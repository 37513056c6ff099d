"""The command `gallery` of the studies: train every task of the gallery, then write its table and figure."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbrl_agent.options import did_you_mean
from mbrl_agent.run.messages import INTERRUPTED
from mbrl_agent.study.overview import SUMMARIES

if TYPE_CHECKING:
    from mbrl_agent.study.gallery.entries import Entry

PROGRAM = "python -m mbrl_agent.study gallery"
HELP = SUMMARIES["gallery"]
DESCRIPTION = """\
Train on every task of the gallery with every seed, several runs side by side, and write study_gallery.md (a
table), study_gallery.csv (every evaluation), study_gallery.png (learning curves), and a film of each task.
Each run is an ordinary one in a directory of its own. Give the same command again and it goes on. What did
not learn counts, and is shown as such. MuJoCo's tasks are left out where MuJoCo is not installed.
"""
SEEDS = "150-154"


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of the studies."""
    parser = commands.add_parser(
        "gallery",
        help=HELP,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(execute=run, engine="local", address=None)
    add = parser.add_argument
    add("--out", required=True, type=Path, metavar="DIR", help="directory of the runs, the table, ...")
    add("--seeds", default=SEEDS, metavar="LIST", help="(default: %(default)s)")
    add("--tasks", nargs="+", metavar="ID", help="Gymnasium ids of some of the tasks (default: all)")
    add("--jobs", type=int, metavar="N", help="runs at once (default: the cores)")
    text = "how often a crashed run is tried again (default: %(default)s)"
    add("--retries", type=int, default=1, metavar="N", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Train what is missing, write the report, and return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: The directory cannot be written.
    """
    from mbrl_agent.study.gallery.entries import ENTRIES
    from mbrl_agent.study.gallery.report import write_report
    from mbrl_agent.study.seeds import parse_seeds
    from mbrl_agent.study.sweep.cells import make_cells
    from mbrl_agent.study.sweep.command import check_cells, check_options, run_cells
    from mbrl_agent.study.sweep.grid import Point
    from mbrl_agent.study.sweep.request import make_directory
    from mbrl_agent.study.sweep.table import View

    seeds = parse_seeds(arguments.seeds)
    check_options(arguments)
    entries = choose(ENTRIES, arguments.tasks)
    there = [entry for entry in entries if _is_there(entry)]
    if not there:
        raise ValueError("none of the tasks can be made here")
    points = [Point(entry.env, entry.config, (("env", entry.env),)) for entry in there]
    cells = make_cells(points, seeds, arguments.out)
    view = View(check_cells(cells, seeds[0], here=True))
    make_directory(arguments.out)
    status = run_cells(arguments, cells, view, _command(arguments))
    if status == INTERRUPTED:
        return status
    runs = {entry.env: [cell.directory for cell in cells if cell.config.env == entry.env] for entry in there}
    text, written = write_report(entries, runs, arguments.out, _command(arguments))
    sys.stdout.write("\n".join([text, *(f"wrote {path}" for path in written), ""]))
    return status


def choose(entries: Sequence[Entry], names: Sequence[str] | None) -> list[Entry]:
    """The entries of some tasks, in the gallery's order; without names all.

    Raises:
        ValueError: There is no task of that name.
    """
    known = [entry.env for entry in entries]
    for name in names or ():
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"tasks: the gallery has no {name!r}{hint}; it has {', '.join(known)}")
    return [entry for entry in entries if not names or entry.env in names]


def _is_there(entry: Entry) -> bool:
    """Whether a task can be made here; where it cannot, a line says what to do.

    Raises:
        ValueError: It comes with the package, and should be there.
    """
    from mbrl_agent.run.environment import make_env

    try:
        make_env(entry.config.environment).close()
    except ValueError as error:
        if not entry.install:
            raise
        sys.stderr.write(f"left out: {error}; it needs MuJoCo: {entry.install}\n")
        return False
    return True


def _command(arguments: argparse.Namespace) -> str:
    """The command line that goes on with this gallery."""
    words = ["--out", os.fspath(arguments.out), "--seeds", arguments.seeds]
    words += ["--tasks", *arguments.tasks] if arguments.tasks else []
    words += ["--jobs", str(arguments.jobs)] if arguments.jobs is not None else []
    words += ["--retries", str(arguments.retries)] if arguments.retries != 1 else []
    return f"{PROGRAM} {shlex.join(words)}"
