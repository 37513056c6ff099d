"""The grid of a sweep: the options of train.py that have several values, and every combination of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mbrl_agent.options import convert_option, to_text
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.run import cli
from mbrl_agent.run.config import CHOICES, TrainConfig
from mbrl_agent.run.help import sections

ONE_VALUE = {
    "--config": "give one file, and what differs as options",
    "--plugin": "write --plugin before each module",
    "--threads": "all cells have the same",
    "--device": "all cells have the same",
}
"""Options that cannot be an axis, and why."""


@dataclass(frozen=True)
class Point:
    """One setting of a sweep, which is run with every seed.

    Attributes:
        label: What tells it from the others, as the user wrote it.
        config: The run, whichever seed.
        axes: The values of the options that have several, the strategy left out: key and text, which is
            the same however the user wrote it.
    """

    label: str
    config: TrainConfig
    axes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Grid:
    """The points of a sweep.

    Attributes:
        points: Every combination that works.
        axes: By key, the values of each option that has several; the strategies are not among them.
        left_out: Combinations that do not work, one line each.
    """

    points: tuple[Point, ...]
    axes: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()


def read_grid(words: Sequence[str], resampling: Sequence[str], device_is_here: bool = True) -> Grid:
    """Combine every value of every option with every strategy.

    Args:
        words: Options as train.py takes them, but each may have several values.
        resampling: Strategies, spelled; none takes that of `words`.
        device_is_here: As in `cli.parse`.

    Raises:
        ValueError: An option is unknown or has a wrong value, or no combination works.
    """
    singles, axes = split_axes(words)
    points: list[Point] = []
    for values in itertools.product(*axes.values()):
        combination = dict(zip(axes, values, strict=True))
        own = [word for flag, value in combination.items() for word in _words(flag, value)]
        config = cli.parse([*singles, *own], device_is_here).config
        points += points_of(config, resampling, combination)
    found = [dict(point.axes) for point in points]
    by_key = {key: tuple(dict.fromkeys(own[key] for own in found)) for key in found[0]}
    return _without_misfits(points, by_key)


def points_of(
    config: TrainConfig, resampling: Sequence[str], combination: Mapping[str, str] | None = None
) -> list[Point]:
    """Join one combination of the other options with every strategy.

    Args:
        config: The combination.
        resampling: Strategies, spelled; none takes that of `config`.
        combination: By flag, the values that tell it from other combinations.

    Raises:
        ValueError: A strategy is unknown, or has an option with a wrong value.
    """
    values = combination or {}
    texts = [f"{flag.removeprefix('--')}={value}" for flag, value in values.items()]
    axes = tuple((_key(flag), _canonical(config, _key(flag), text)) for flag, text in values.items())
    points = []
    for text in resampling:
        names = [text] if len(resampling) > 1 or not texts else []
        own = dataclasses.replace(config, resampling=RESAMPLERS.resolve(text))
        points.append(Point(", ".join([*names, *texts]), own, axes))
    return points or [Point(", ".join(texts) or str(config.resampling), config, axes)]


def split_axes(words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the words of options that have one value, and the values of those that have several, by flag.

    Raises:
        ValueError: An option that cannot have several values has them, or they are given in two places.
    """
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not groups:
            groups.append([word])
        else:
            groups[-1].append(word)
    singles: list[str] = []
    axes: dict[str, list[str]] = {}
    for first, *rest in groups:
        flag, equals, value = first.partition("=")
        values = [value, *rest] if equals else rest
        if flag in axes or (len(values) > 1 and any(word.partition("=")[0] == flag for word in singles)):
            raise ValueError(f"{flag} is given twice: write all its values behind one {flag}")
        if len(values) > 1 and flag.startswith("--"):
            _check_axis(flag, values)
            axes[flag] = values
        else:
            singles += [first, *rest]
    return singles, axes


def _check_axis(flag: str, values: Sequence[str]) -> None:
    if flag in ONE_VALUE:
        raise ValueError(f"{flag} takes one value here, got {' '.join(values)}: {ONE_VALUE[flag]}")
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{flag}: {value} is given twice")


def _words(flag: str, value: str) -> list[str]:
    """Return what train.py calls one value of an option; of a yes or no there is a flag each."""
    hints = {key: option.hint for section in sections() for key, option in section.options.items()}
    if hints.get(_key(flag)) is not bool:
        return [f"{flag}={value}"]
    yes = convert_option((flag.removeprefix("--"),), value, bool)
    return [flag if yes else f"--no-{flag.removeprefix('--')}"]


def _canonical(config: TrainConfig, key: str, text: str) -> str:
    """Write an option's value; of a choice what was written alone, without the options of all cells."""
    if key in CHOICES:
        return str(CHOICES[key].resolve(text))
    return to_text(config.flat()[key])


def _key(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _without_misfits(points: Sequence[Point], axes: Mapping[str, tuple[str, ...]]) -> Grid:
    """Leave out what an estimator cannot be combined with, where there are several estimators.

    Raises:
        ValueError: An estimator works with no strategy.
    """
    if "estimator" not in axes:
        return Grid(tuple(points), axes)
    kept, reasons = [], {}
    for point in points:
        try:
            point.config.estimator.validate(point.config.resampling)
        except ValueError as error:
            reasons[point.label] = str(error)
        else:
            kept.append(point)
    for point in points:
        if not any(other.config.estimator == point.config.estimator for other in kept):
            raise ValueError(reasons[point.label])
    return Grid(tuple(kept), axes, tuple(f"{label}: {reason}" for label, reason in reasons.items()))
