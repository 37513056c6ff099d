"""The command `study moments`: moment matching, and particles that are redrawn from a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mbrl_agent.options.validation import require_count
from mbrl_agent.resampling import Gaussian
from mbrl_agent.study.gradients.commands.scene import (
    SCENE_NOTES,
    SceneOptions,
    open_study,
    progress,
    require_some,
    show_results,
)
from mbrl_agent.study.gradients.drawing_moments import moments_figure
from mbrl_agent.study.gradients.moments import PredictedMoments, compare_moments
from mbrl_agent.study.output import moments_gradient_table, moments_table
from mbrl_agent.study.overview import SUMMARIES

HELP = SUMMARIES["moments"]
NOTES = f"""\
{SCENE_NOTES}
examples:
  python -m mbrl_agent.study moments --run runs/X
  python -m mbrl_agent.study moments --run runs/X --counts 100 1000
"""


@dataclass(frozen=True, kw_only=True)
class Options(SceneOptions):
    """The numbers of particles that are compared."""

    counts: tuple[int, ...] = (30, 100, 300, 1000, 3000)
    """Numbers of particles."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_some("counts", self.counts)
        for count in self.counts:
            require_count("counts", count, minimum=Gaussian().min_particles(0))


def run(options: Options) -> int:
    """Compare, draw, and describe; return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: A file cannot be read or written.
    """
    with open_study(options) as study, progress(len(options.counts) * options.repeats) as bar:
        scene = study.scene
        exact, *sampled = compare_moments(scene, options.counts, options.repeats, options.seed, bar.update)
        title = f"moment matching and its particles: {scene.title}"
        figure = moments_figure([exact, *sampled], scene.labels, title, scene.time_step)
        study.output.write("moments", figure, moments_table([exact, *sampled], scene.labels))
        study.output.write("moments_gradient", None, moments_gradient_table(exact, sampled))
    lines = [f"moment matching: expected cost {exact.cost[0]:.3f}"]
    return show_results("\n".join([*lines, *(_line(entry, exact) for entry in sampled)]), study.output)


def _line(entry: PredictedMoments, exact: PredictedMoments) -> str:
    low, middle, high = np.percentile(entry.gradient_errors(exact), (25, 50, 75))
    return (
        f"{entry.particles} particles: expected cost {entry.cost.mean():.3f} +- {entry.cost.std():.3f}, "
        f"error of the gradient {middle:.3g} ({low:.3g} to {high:.3g}), "
        f"of its mean {entry.bias(exact):.3g}"
    )
