"""The command `sweep` of the studies: its options, and how it ends."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys

from mbrl_agent.run.interrupts import handling
from mbrl_agent.run.messages import FAILED, INTERRUPTED
from mbrl_agent.study.commands import command_line
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.sweep.cells import Cell
from mbrl_agent.study.sweep.local import LocalEngine
from mbrl_agent.study.sweep.options import CellOptions
from mbrl_agent.study.sweep.options import SweepOptions as Options
from mbrl_agent.study.sweep.request import read_request
from mbrl_agent.study.sweep.scheduler import Scheduler, State
from mbrl_agent.study.sweep.table import View, count
from mbrl_agent.version import __version__

HELP = SUMMARIES["sweep"]
NOTES = """\
Train every strategy with every seed, several runs side by side. Any option of train.py may have several
values: then every combination of values and strategies is trained. Every cell, one combination with one
seed, is an ordinary run in a directory of its own, named by its strategy, the values of such options, its
seed and a hash of all its options; what it writes is in NAME.log beside it. Give the same command again
and it goes on: cells that are done are left alone, those that were interrupted are resumed. Other
strategies, seeds or options in the same --out add cells. Several sweeps may work in one directory at
once, also from several machines that share it: no cell is run by two of them.

any option of train.py, with one value or several:
  --trials N, --env ID, --search.learning-rate X Y, --dynamics SPEC SPEC, ...; python train.py --help
  lists them; --plugin MODULE adds what lies outside the package. A yes or no is written
  --dynamics.warm-start true false. Only --seed, --logdir, --quiet, --resume and --resampling.OPTION have no
  place here, and --config, --threads and --device have one value.

examples:
  python -m mbrl_agent.study sweep --resampling none gaussian interpolated mixture --seeds 0-19 \\
      --out sweeps/paper
  python -m mbrl_agent.study sweep --resampling interpolated:0.25 mixture:3,3 \\
      detached-mixture:components=5 --seeds 0,3,7-9 --out sweeps/options --trials 7
  python -m mbrl_agent.study sweep --search.learning-rate 0.01 0.02 \\
      --dynamics ensemble ensemble:members=7,hidden=32x32 --seeds 0-4 --out sweeps/grid
  python -m mbrl_agent.study compare sweeps/grid --by search.learning-rate dynamics
  python -m mbrl_agent.study sweep --resampling gaussian --seeds 0-99 --out /shared/big \\
      --engine ray --address auto

exit status: 0 if all cells are done, 1 if some failed, 2 for a mistake in the command line, 130 if
interrupted by Ctrl-C or SIGTERM
"""


def run(options: Options) -> int:
    """Run the sweep and return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: The directory cannot be written, or the cluster cannot be reached.
    """
    return run_sweep(options, command_line("sweep", options))


def run_sweep(options: Options, command: str) -> int:
    """Run a sweep and return the exit status.

    Args:
        options: What is asked for.
        command: The command line that goes on, where this is interrupted.

    Raises:
        ValueError: A mistake in the options.
        OSError: The directory cannot be written, or the cluster cannot be reached.
    """
    request = read_request(options, command)
    cells = request.cells()
    view = View(check_cells(cells, request.seeds[0], here=options.engine == "local"))
    for note in request.grid.left_out:
        sys.stderr.write(f"left out: {note}\n")
    request.record()
    for version in request.other_versions():
        sys.stderr.write(
            f"study: warning: {request.out} has cells of mbrl_agent {version}, and this is {__version__}: "
            "their results may differ\n"
        )
    return run_cells(options, cells, view, command)


def run_cells(options: CellOptions, cells: list[Cell], view: View, command: str) -> int:
    """Bring cells to their end, say how each that failed did, and return the exit status.

    Args:
        options: Where they lie, and how they are run.
        cells: What is to be done; those that are done are left alone.
        view: Shows them.
        command: The command line that goes on, where this is interrupted.

    Raises:
        ValueError: The engine cannot be used.
        OSError: The engine's cluster cannot be reached.
    """
    interrupted = not _execute(options, cells, view)
    failed = [track for track in view.tracks if track.state is State.FAILED]
    if not interrupted:
        sys.stdout.write(f"{options.out}: {count(view.tracks)}\n")
    for track in failed:
        log = os.path.relpath(track.cell.log)
        sys.stderr.write(f"study: {track.cell.title} failed: {track.error} (see {log})\n")
    if interrupted:
        done = sum(track.state is State.DONE for track in view.tracks)
        sys.stderr.write(
            f"study: interrupted: {done} of {len(cells)} cells are done; go on with: {command}\n"
        )
        return INTERRUPTED
    return FAILED if failed else 0


def check_cells(cells: list[Cell], seed: int, here: bool) -> float | None:
    """Refuse what cannot work before the first cell runs, by building the agent of each point once.

    Args:
        cells: All cells.
        seed: The one whose cells are checked.
        here: Whether they run on this machine; if not, it need not have their device, and the CPU will do.

    Returns:
        Duration of an environment step [s], None where the environments do not tell, or not the same.

    Raises:
        ValueError: The environment cannot be made, or the options of its runs do not fit together.
    """
    from mbrl_agent.run.environment import make_env
    from mbrl_agent.run.experiment import new_agent, step_duration
    from mbrl_agent.run.task_flags import task_arguments

    task_arguments(cells[0].config.task)  # modules of the user's go first, see there
    envs = {asked: make_env(asked) for asked in {cell.config.environment for cell in cells}}
    for cell in cells:
        if cell.config.seed == seed:
            config = cell.config if here else dataclasses.replace(cell.config, device="cpu")
            try:
                new_agent(config, envs[config.environment])
            except (ValueError, TypeError) as error:
                reason = str(error)
                raise ValueError(reason if cell.label in reason else f"{cell.label}: {reason}") from error
    durations = {step_duration(env) for env in envs.values()}
    return durations.pop() if len(durations) == 1 else None


def _execute(options: CellOptions, cells: list[Cell], view: View) -> bool:
    """Run what is left to run; return False if it was interrupted."""
    config = cells[0].config
    todo = any(not cell.finished() for cell in cells)
    engine = options.make_engine(config) if todo else LocalEngine()
    try:
        with handling(signal.SIGTERM, _interrupt):  # after the engine is made: Ray has a handler of its own
            jobs = options.cells_at_once(config.threads)
            scheduler = Scheduler(cells, engine, jobs, options.retries, view.report)
            view.tracks = scheduler.tracks
            with view:
                try:
                    scheduler.run(view.tick)
                except KeyboardInterrupt:
                    scheduler.interrupt()
                    raise
    except KeyboardInterrupt:
        return False
    finally:
        with handling(signal.SIGTERM, signal.SIG_IGN), handling(signal.SIGINT, signal.SIG_IGN):
            engine.stop()
    return True


def _interrupt(number: int, frame: object) -> None:
    """Do what Ctrl-C does, for SIGTERM."""
    raise KeyboardInterrupt
