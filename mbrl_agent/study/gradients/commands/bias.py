"""The command `study bias`: mean gradients against finite differences, and forward errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tqdm import tqdm

from mbrl_agent.options import refused
from mbrl_agent.options.validation import require_count, require_number, require_positive
from mbrl_agent.study.gradients.bias import (
    Bias,
    compare_slopes,
    finite_differences,
    moved,
    projected_gradients,
)
from mbrl_agent.study.gradients.bimodal import ForwardError, Modes, forward_errors
from mbrl_agent.study.gradients.colours import looks
from mbrl_agent.study.gradients.commands.scene import (
    SCENE_NOTES,
    StrategyOptions,
    Study,
    by_resampler,
    open_study,
    progress,
    require_numbers,
    show_results,
)
from mbrl_agent.study.gradients.drawing_bias import bias_figure, forward_figure
from mbrl_agent.study.gradients.sampling import Sampling
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.output import bias_table, forward_table
from mbrl_agent.study.overview import SUMMARIES

HELP = SUMMARIES["bias"]
NOTES = f"""\
{SCENE_NOTES}
examples:
  python -m mbrl_agent.study bias --run runs/X --resampling none gaussian detached-mixture:5 --delta 0 1
  python -m mbrl_agent.study bias --run runs/X --modes 2:-pi,pi
"""


@dataclass(frozen=True, kw_only=True)
class Options(StrategyOptions):
    """What the gradients are compared with."""

    repeats: int = 64
    """Independent estimates at each point."""
    delta: tuple[float, ...] = (0.0,)
    """Places on the line."""
    directions: int = 32
    """Random directions on which slopes are compared."""
    reference: int = 30000
    """Particles of the finite differences."""
    step: float = 0.02
    """Step of the finite differences, in units of delta."""
    modes: tuple[str, ...] = ("0:-1,1", "2:-pi,pi")
    """Bimodal starts, DIM:LOW,HIGH each, or none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_numbers("delta", self.delta)
        require_count("directions", self.directions)
        require_count("reference", self.reference)
        require_positive("step", self.step)
        _ = self.starts  # checks them

    @property
    def starts(self) -> list[Modes]:
        """The bimodal starts."""
        return [] if self.modes == ("none",) else [parse_modes(text) for text in self.modes]


def parse_modes(text: str) -> Modes:
    """Read `2:-pi,pi`: a dimension and the two places where it starts.

    Raises:
        ValueError: It is written otherwise.
    """
    try:
        dimension, _, places = text.partition(":")
        low, high = (_number(place) for place in places.split(","))
        return Modes(int(dimension), low, high)
    except ValueError as error:
        raise refused("modes", f"expected DIM:LOW,HIGH such as 0:-1,1 or 2:-pi,pi, got {text!r}") from error


def _number(text: str) -> float:
    number = {"pi": math.pi, "-pi": -math.pi}.get(text)
    number = float(text) if number is None else number
    require_number("place", number)
    return number


def run(options: Options) -> int:
    """Compare, draw, and describe; return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: A file cannot be read or written.
    """
    with open_study(options) as study:
        text = _bias(study, options)
    return show_results(text, study.output)


def _bias(study: Study, options: Options) -> str:
    scene = study.scene
    forward = by_resampler(study.strategies)
    repeats = max(2, options.reference // options.particles)
    total = len(options.delta) * (repeats + len(study.strategies) * options.repeats)
    total += len(options.starts) * (len(forward) + 2) * options.repeats
    errors: list[ForwardError] = []
    with progress(total) as bar:
        rows = _rows(study, options, Sampling(options.particles, repeats, options.seed), bar)
        for modes in options.starts:
            bar.set_description_str("bimodal starts")
            errors += forward_errors(scene, forward, modes, study.sampling, bar.update)
    styles = looks(study.strategies)
    title = f"bias of the gradient: {scene.title}"
    study.output.write("bias", bias_figure(rows, styles, title), bias_table(rows))
    if errors:
        figure = forward_figure(errors, styles, scene.labels, f"bimodal starts: {scene.title}")
        study.output.write("bimodal", figure, forward_table(errors, scene.labels))
    return "\n".join([*map(bias_line, rows), *(forward_line(row, scene) for row in errors)])


def _rows(study: Study, options: Options, reference: Sampling, bar: tqdm[None]) -> list[Bias]:
    """Compare every strategy's slopes with finite differences, at every place."""
    directions, line = study.directions(options.directions), study.directions(1)[0]
    rows = []
    for delta in options.delta:
        place = study.scene.at(moved(study.scene.parameters, line, delta))
        bar.set_description_str("finite differences")
        truth = finite_differences(place, directions, options.step, reference.repeats, reference, bar.update)
        for strategy in study.strategies:
            bar.set_description_str(strategy.label)
            slopes = projected_gradients(place, strategy, directions, study.sampling, bar.update)
            rows.append(compare_slopes(strategy.label, delta, slopes, truth, options.seed))
    return rows


def bias_line(row: Bias) -> str:
    """Describe one row of the table of biases."""
    figures = [
        f"{name.replace('_', ' ')} {estimate.value:.3g} +- {estimate.error:.2g}"
        for name in ("cosine", "correlation", "slope", "relative_bias")
        for estimate in [getattr(row, name)]
    ]
    low, middle, high = row.single_cosine
    figures.append(f"cosine of one estimate {middle:.2g} ({low:.2g} to {high:.2g})")
    return f"{row.strategy}, delta {row.delta:g}: {', '.join(figures)}"


def forward_line(row: ForwardError, scene: Scene) -> str:
    """Describe one row of the table of forward errors."""
    words = [f"{row.modes.label(scene.labels)}, {row.strategy}: cost {row.cost.value:.2f}"]
    words.append(f"error {row.error.value:+.2f} +- {row.error.error:.2f}")
    if row.true_error is not None:
        words.append(f"against the true physics {row.true_error.value:+.2f} +- {row.true_error.error:.2f}")
    return ", ".join(words)
