"""`python -m mbrl_agent.study speed`: what a gradient step costs here, and how that scales."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.options import SYNTAX
from mbrl_agent.options.validation import require_count
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.table import Cell, Table
from mbrl_agent.study.output import Output
from mbrl_agent.study.parsing import add_plugin, adder, formatter
from mbrl_agent.study.speed.drawing import speed_figure
from mbrl_agent.study.speed.measure import Setting, Timing, fit_seconds, measure

COLUMNS = ("particles", "horizon", "members", "resampling", "threads")
HELP = "time of a gradient step over particles, horizon, members, strategies, threads; of a fit"


def add_parser(commands: Any) -> None:
    """Add the command to the study's."""
    command = commands.add_parser(
        "speed", help=HELP, description=HELP, formatter_class=formatter, allow_abbrev=False
    )
    command.set_defaults(execute=run)
    add_plugin(command)
    add = adder(command.add_argument_group("what varies, one at a time, around the first of each"))
    particles = [300, 100, 1000, 3000, 10000, 30000, 100000]
    add("--particles", "of a rollout", particles, type=int, nargs="+", metavar="N")
    add("--horizon", "predicted steps", [30, 10, 20, 50, 100], type=int, nargs="+", metavar="N")
    add("--members", "of the ensemble", [5, 1, 2, 10], type=int, nargs="+", metavar="N")
    strategies = ["gaussian", *(name for name in RESAMPLERS.names() if name != "gaussian")]
    add("--resampling", f"strategies; written {SYNTAX}", strategies, nargs="+", metavar="SPEC")
    add("--threads", "of the CPU", [1, 2], type=int, nargs="+", metavar="N")
    add("--transitions", "that the ensemble is fitted to", [100, 300, 1000], type=int, nargs="*", metavar="N")
    add = adder(command.add_argument_group("how it is measured"))
    add("--rounds", "of which the median counts", 7, type=int, metavar="N")
    add("--device", "cpu, cuda, or cuda:1 and so on", "cpu", metavar="NAME")
    add("--out", "directory of the PNG and CSV files", Path("speed"), type=Path, metavar="DIR")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, draw and write."""
    for name in ("particles", "horizon", "members", "threads", "transitions"):
        for value in getattr(arguments, name):
            require_count(name, value)
    require_count("rounds", arguments.rounds)
    series = _series(arguments)
    settings = list(dict.fromkeys(setting for group in series.values() for setting in group))
    output = Output(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(settings) * arguments.rounds, disable=None, leave=False) as bar:
        timings = dict(zip(settings, measure(settings, arguments.rounds, bar.update), strict=True))
    found = {
        name: [timings[setting] for setting in sorted(group, key=lambda s: getattr(s, name, 0))]
        for name, group in series.items()
    }
    device = settings[0].device
    title = (
        f"One gradient step on {device}, median of {arguments.rounds} rounds; "
        "the numbers are multiples of the matrix products alone"
    )
    output.write("speed", speed_figure(found, title), speed_table(list(timings.values())))
    sys.stdout.write(speed_text(list(timings.values())))
    if arguments.transitions:
        table = fit_table(arguments.transitions, arguments.rounds, arguments.threads[0], device)
        output.write("fit_speed", None, table)
        sys.stdout.write("".join(f"fit to {n} transitions: {float(s):.2f} s\n" for n, s in table.rows))
    sys.stdout.write("".join(f"wrote {path}\n" for path in output.written))
    return 0


def _series(arguments: argparse.Namespace) -> dict[str, list[Setting]]:
    """The settings that are timed: along each option the others are the first of theirs."""
    device = str(TrainConfig(device=arguments.device).torch_device())
    resamplers = [RESAMPLERS.resolve(spec) for spec in arguments.resampling]
    base = Setting(
        arguments.particles[0],
        arguments.horizon[0],
        arguments.members[0],
        resampler=resamplers[0],
        threads=arguments.threads[0],
        device=device,
    )
    return {
        "particles": [replace(base, particles=n) for n in arguments.particles],
        "horizon": [replace(base, horizon=n) for n in arguments.horizon],
        "members": [replace(base, members=n) for n in arguments.members],
        "resampling": [replace(base, resampler=resampler) for resampler in resamplers],
        "threads": [replace(base, threads=n) for n in arguments.threads],
    }


def _row(timing: Timing) -> list[Cell]:
    setting = timing.setting
    return [setting.particles, setting.horizon, setting.members, setting.resampler.name, setting.threads]


def speed_table(timings: Sequence[Timing]) -> Table:
    """One row a setting."""
    columns = [*COLUMNS, "device", "step_ms", "floor_ms", "ratio", "particle_steps_per_second"]
    rows = [
        [*_row(t), t.setting.device, 1e3 * t.step, 1e3 * t.floor, t.ratio, t.particle_steps] for t in timings
    ]
    return Table(columns, rows)


def speed_text(timings: Sequence[Timing]) -> str:
    """The table as people read it."""
    head = [*COLUMNS, "step [ms]", "floor [ms]", "ratio", "particle-steps/s"]
    rows = [
        [*map(str, _row(t)), f"{1e3 * t.step:.1f}", f"{1e3 * t.floor:.1f}", f"{t.ratio:.2f}",
         f"{t.particle_steps:,.0f}"]
        for t in timings
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in [head, *rows]]
    return "".join("  ".join(line) + "\n" for line in lines)


def fit_table(transitions: Sequence[int], rounds: int, threads: int, device: str) -> Table:
    """Median seconds of a fit by number of transitions."""
    options = Ensemble()
    rows: list[list[Cell]] = [
        [n, statistics.median(fit_seconds(n, options, threads, device) for _ in range(min(rounds, 3)))]
        for n in transitions
    ]
    return Table(["transitions", "seconds"], rows)
