"""A comparison as text: a Markdown table for people, two CSV tables for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mbrl_agent.run.table import Table, TableCell, align
from mbrl_agent.study.compare.curves import Curve, Measure, time_unit
from mbrl_agent.study.compare.grouping import Group
from mbrl_agent.study.compare.statistics import Reached
from mbrl_agent.study.compare.summaries import Summary

NOTHING = "-"
FOOTNOTES = """\
- solved: at least 95 % of the episodes of one evaluation succeed; all runs count, failed and unfinished ones
  too. In brackets Wilson's 95 % interval.
- {time} to solved: the {unit} by which half (a quarter to three quarters) of the runs had solved the task; a
  run that never did counts as later than all others, so `> x` says: not within x.
- success at the end: interquartile mean over the last evaluations, 95 % interval by bootstrap over the runs.
- wall clock: medians, learning and evaluation without the start of the program; total over finished runs."""


def markdown(summaries: Sequence[Summary], in_seconds: bool, notes: Sequence[str]) -> str:
    """Return the table with its footnotes and notes."""
    time = "interaction" if in_seconds else "environment steps"
    header = ["group", "runs", "solved", "still at the end", f"{time} to solved, median (quartiles)"]
    header += ["success at the end", "wall clock", "to solved"]
    rows = [header, ["---"] * len(header), *(_cells(summary, in_seconds) for summary in summaries)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    footnotes = FOOTNOTES.format(time=time, unit="time" if in_seconds else "steps")
    told = ["", "Notes:", "", *(f"- {_escape(note)}" for note in notes)] if notes else []
    return "\n".join([*lines, "", footnotes, *told, ""])


def _cells(summary: Summary, in_seconds: bool) -> list[str]:
    runs = str(summary.runs) + (f", {summary.unfinished} unfinished" if summary.unfinished else "")
    clocks = [duration(summary.clock), NOTHING]
    if summary.clock_to_solved is not None:
        clock = summary.clock_to_solved[1]
        clocks[1] = _reached(clock, duration(clock.value))
    known = [NOTHING] * 4
    if summary.told or summary.judged:
        low, high = (f"{100 * end:.0f}" for end in (summary.solved_share.low, summary.solved_share.high))
        quarter, median, three = (_reached(q, _time(q.value, in_seconds)) for q in summary.interaction)
        final = summary.final_success
        ends = f" [{final.low:.2f}, {final.high:.2f}]" if not math.isnan(final.low) else ""
        few = f" ({summary.judged} runs)" if summary.judged < summary.runs else ""
        known = [
            f"{summary.solved} of {summary.runs} [{low}-{high} %]",
            f"{summary.still_solved} of {summary.runs}",
            f"{median} ({quarter} to {three})",
            f"{final.value:.2f}{ends}" + few if summary.judged else NOTHING,
        ]
    else:
        clocks[1] = NOTHING
    return [_escape(summary.label), runs, *known, *clocks]


def _reached(quantile: Reached, text: str) -> str:
    return f"> {text}" if quantile.open else text


def _time(value: float, in_seconds: bool) -> str:
    return f"{value:.4g} s" if in_seconds else f"{value:.0f}"


def duration(seconds: float) -> str:
    """Write a wall clock for people: `91 s`, `12.5 min`, `3.1 h`."""
    if math.isnan(seconds):
        return NOTHING
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _escape(text: str) -> str:
    """Return a label cannot break the table, whatever a directory is called."""
    return " ".join(text.split()).replace("|", "\\|")


def plain(summaries: Sequence[Summary], in_seconds: bool) -> str:
    """Return the same table for the terminal."""
    unit = "" if in_seconds else "steps "
    rows = [
        [
            "group",
            "runs",
            "solved",
            "at the end",
            f"{unit}to solved",
            "success at the end",
            "wall clock",
            "to solved",
        ]
    ]
    rows += [_cells(summary, in_seconds) for summary in summaries]
    return "\n".join(align(rows))


def runs_table(groups: Sequence[Group]) -> Table:
    """Lay out one row a run: the raw numbers."""
    columns = [
        "group",
        "run",
        "seed",
        "env",
        "finished",
        "evaluations",
        "episodes",
        "steps",
        "steps_to_solve",
    ]
    columns += ["seconds", "seconds_to_solve", "final_success_rate", "final_mean_reward"]
    columns += ["wall_clock", "wall_clock_to_solve"]
    rows: list[list[TableCell]] = []
    for group in groups:
        for run in group.runs:
            unit = math.nan if run.time_step is None else time_unit(run)
            end, solved = int(run.end_steps), run.solved_steps
            identity: list[TableCell] = [
                group.label,
                str(run.path),
                str(run.settings.get("seed", "")),
                run.env or "",
            ]
            state: list[TableCell] = [str(run.finished).lower(), len(run.steps), run.episodes or 0]
            steps: list[TableCell] = [end, math.nan if solved is None else int(solved)]
            seconds = [end * unit, math.nan if solved is None else solved * unit]
            last = [float(v[-1]) if len(v) else math.nan for v in (run.success, run.reward)]
            clocks = [run.end_clock, math.nan if run.solved_clock is None else run.solved_clock]
            rows.append([*identity, *state, *steps, *seconds, *last, *clocks])
    return Table(columns, rows)


def curves_table(groups: Sequence[Group], curves: Mapping[Measure, Sequence[Curve]]) -> Table:
    """Lay out one row a group, measure and time: what the figure draws."""
    columns = ["group", "measure", "time", "trial", "iqm", "low", "high", "runs", "all_runs"]
    rows: list[list[TableCell]] = []
    for measure, own in curves.items():
        for group, curve in zip(groups, own, strict=True):
            rows += [[group.label, measure, *point] for point in _points(curve)]
    return Table(columns, rows)


def _points(curve: Curve) -> list[list[TableCell]]:
    numbers = (curve.time, curve.trials, curve.value, curve.low, curve.high)
    states = zip(curve.runs.tolist(), curve.complete.tolist(), strict=True)
    return [
        [*map(float, point), runs, str(complete).lower()]
        for point, (runs, complete) in zip(zip(*numbers, strict=True), states, strict=True)
    ]
