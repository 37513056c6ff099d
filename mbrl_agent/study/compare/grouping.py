"""Which runs belong together, what the groups are called, and what a reader has to be told about them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mbrl_agent.options import did_you_mean, to_text
from mbrl_agent.run.config import CHOICES
from mbrl_agent.study.compare.read_evaluations import DIRECTORY
from mbrl_agent.study.compare.records import Run, Setting

NOT_COMPARED = {"seed", "logdir", "device", "threads", "quiet", "gradient_probe", "env"}
"""Settings that may differ inside a group without a word; environments are looked at apart."""
NAMES = ("resampling", "algorithm")
"""Settings whose values name what learned."""
BUDGETS = ("trials", "steps", "keep_going")


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing that is compared.

    Attributes:
        label: Its name.
        kind: Its first part: a resampling strategy, an algorithm, a directory.
        runs: At least one.
    """

    label: str
    kind: str
    runs: tuple[Run, ...]


def group_runs(runs: Sequence[Run], by: Sequence[str] = ()) -> list[Group]:
    """Return the groups, runs of our agent first, then in the order of their labels.

    Args:
        runs: At least one.
        by: Keys of config.yaml whose values tell the groups apart; none takes the resampling strategy with
            its options. Runs that lack one of the keys, and are named by none of the others (baselines,
            evaluations.npz), go by their own label.

    Raises:
        ValueError: No run has such a key, or runs on different environments would be compared.
    """
    by = [key.replace("-", "_") for key in by]
    known = sorted({key for run in runs for key in run.settings} - {DIRECTORY})
    for key in by:
        if key not in known:
            raise ValueError(f"by: no run has the setting {key!r}{did_you_mean(key, known)}")
    environments = sorted({run.env for run in runs if run.env is not None})
    if len(environments) > 1 and "env" not in by:
        raise ValueError(
            f"these runs are on different environments, {', '.join(environments)}: compare one at a time, or "
            "give --by env resampling to put them into groups of their own"
        )
    by = _differing(runs, by) or by  # the labels say only what differs
    runs = _spelled_out(runs)
    ambiguous = _ambiguous(runs)
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: _order(run, _parts(run, by, ambiguous))):
        found.setdefault(label_of(_parts(run, by, ambiguous)), []).append(run)
    return [Group(label, members[0].kind, tuple(members)) for label, members in found.items()]


def _differing(runs: Sequence[Run], by: Sequence[str]) -> list[str]:
    """Return the keys among `by` that do not have one and the same value in all runs."""
    values = {key: [run.settings.get(key) for run in runs] for key in by}
    return [key for key, own in values.items() if any(value != own[0] for value in own)]


def _spelled_out(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with choices that name every option in which runs of one name differ, its default too.

    A strategy names its other options as well where they are not the default.
    """
    values: dict[tuple[str, str, str], set[Setting]] = {}
    for run in runs:
        for key, name in _choices(run).items():
            for option, value in _options(run, key).items():
                values.setdefault((key, name, option), set()).add(value)
    found = []
    for run in runs:
        changed: dict[str, Setting] = {}
        for key, name in _choices(run).items():
            told = str(run.settings[key]).partition(":")[2] if key == "resampling" else ""
            kept = {word.partition("=")[0] for word in told.split(",")}
            words = [
                f"{option}={to_text(value)}"
                for option, value in _options(run, key).items()
                if option in kept or len(values[key, name, option]) > 1
            ]
            changed[key] = f"{name}:{','.join(words)}" if words else name
        label = str(changed.get("resampling", run.label))
        found.append(replace(run, label=label, settings={**run.settings, **changed}))
    return found


def _choices(run: Run) -> dict[str, str]:
    """Return the names of what a run of our agent has chosen: {"resampling": "mixture", ...}."""
    return {key: str(run.settings[key]).partition(":")[0] for key in CHOICES if key in run.settings}


def _options(run: Run, choice: str) -> dict[str, Setting]:
    """Return the options of a choice of a run, as they are spelled; lists as `8x8`."""
    return {
        key.removeprefix(f"{choice}.").replace("_", "-"): value
        for key, value in run.settings.items()
        if key.startswith(f"{choice}.")
    }


def _ambiguous(runs: Sequence[Run]) -> set[str]:
    """Return names of evaluations' directories that lie in more than one place, or are other runs' names."""
    places: dict[str, set[str]] = {}
    for run in runs:
        places.setdefault(run.label, set()).add(str(run.settings.get(DIRECTORY, "")))
    return {label for label, where in places.items() if len(where) > 1}


def _parts(run: Run, by: Sequence[str], ambiguous: set[str]) -> list[tuple[str, Setting]]:
    """List what names a run's group: the settings asked for, and its label if they do not name it."""
    parts: list[tuple[str, Setting]] = [(key, run.settings[key]) for key in by if key in run.settings]
    if not parts or (len(parts) < len(by) and not any(key in NAMES for key, _ in parts)):
        elsewhere = DIRECTORY in run.settings and run.label in ambiguous
        own = os.sep.join(str(run.settings[DIRECTORY]).split(os.sep)[-2:]) if elsewhere else run.label
        parts.append(("", own))
    return parts


def label_of(parts: Sequence[tuple[str, Setting]]) -> str:
    """Write the name of a group from the settings that its runs share."""
    texts = [(key, to_text(value)) for key, value in parts]
    return ", ".join(text if key in ("", *NAMES) else f"{key}={text}" for key, text in texts)


def _order(run: Run, parts: Sequence[tuple[str, Setting]]) -> tuple[object, ...]:
    """Return a key that sorts our agent first; numbers by their size, the rest by the alphabet."""
    keys = [(0, float(v), "") if isinstance(v, int | float) else (1, 0.0, str(v)) for _, v in parts]
    return ("resampling" not in run.settings, keys, run.settings.get("seed", 0))


def with_time_step(runs: Sequence[Run], given: float | None) -> tuple[list[Run], list[str]]:
    """Return the runs, with a duration of the step where they had none, and a note on where it is from.

    Args:
        runs: At least one.
        given: Seconds of a step, for the runs that do not know; None takes it over from the other runs, if
            they agree. Without any, all runs are compared by steps.
    """
    unknown = [run for run in runs if run.time_step is None]
    if not unknown:
        return list(runs), []
    others = {run.time_step for run in runs} - {None}
    step = given if given is not None else others.pop() if len(others) == 1 else None
    what = f"{_number(len(unknown), 'run')} without a known duration of the step"
    if step is None:
        note = f"{what}: all are compared by environment steps (--time-step gives the duration)"
        return [replace(run, time_step=None) for run in runs], [note]
    source = "as --time-step says" if given is not None else "as for the other runs"
    filled = [run if run.time_step is not None else replace(run, time_step=step) for run in runs]
    return filled, [f"{what}: taken as {step:g} s, {source}"]


def notes_on(groups: Sequence[Group], by: Sequence[str]) -> list[str]:
    """Return what would mislead a reader who does not know it, one line each."""
    return [note for group in groups for note in _notes(group, [key.replace("-", "_") for key in by])]


def _notes(group: Group, by: Sequence[str]) -> list[str]:
    name, runs = group.label, group.runs
    notes = [f"{name}: {run.path} {_state(run)}" for run in runs if not run.finished]
    notes += [f"{name}: {run.path} has no evaluations" for run in runs if run.finished and not len(run.steps)]
    if any(len(run.steps) and not run.judged for run in runs):
        notes.append(f"{name}: its evaluations do not tell success, only returns")
    seeds = Counter(run.settings["seed"] for run in runs if "seed" in run.settings)
    twice = [str(seed) for seed, count in seeds.items() if count > 1]
    if twice:
        notes.append(f"{name}: more than one run of seed {', '.join(twice)}; they may be the same run twice")
    for key, values in _differences(runs, by or ["resampling"]).items():
        listed = ", ".join(values[:5]) + (", ..." if len(values) > 5 else "")
        again = " ".join([*(by or ["resampling"]), key])
        remedy = "" if key in (*BUDGETS, "eval_episodes", "eval_every") else f" (--by {again} parts them)"
        notes.append(f"{name}: its runs differ in {key}: {listed}{remedy}")
    few = sorted({run.episodes for run in runs if run.episodes is not None and 0 < run.episodes < 100})
    if few:
        notes.append(
            f"{name}: evaluated by {few[0]} episodes, with which 95 % is a weaker test than with 100"
        )
    if runs[0].settings.keys() == {DIRECTORY}:
        notes.append(f"{name}: evaluations.npz tells neither wall clock nor whether a run was finished")
    return notes


def _state(run: Run) -> str:
    where = f"after {run.end_steps:g} of {run.budget} steps" if run.budget else "before its first trial ended"
    return f"is unfinished, {where}; it counts with what it has"


def _differences(runs: Sequence[Run], by: Sequence[str]) -> dict[str, list[str]]:
    """Find the settings in which a group's runs differ, without those that only repeat a choice's options."""
    keys = sorted({key for run in runs for key in run.settings} - NOT_COMPARED - {DIRECTORY})
    found = {}
    for key in keys:
        outer = key.partition(".")[0]
        values = sorted({to_text(run.settings[key]) for run in runs if key in run.settings})
        inside = outer != key and outer in CHOICES
        if len(values) > 1 and key not in by and not inside:
            found[key] = values
    return found


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
