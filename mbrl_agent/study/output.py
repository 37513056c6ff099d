"""Where a study's results go: PNG and CSV files, and the TensorBoard log of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure
from stable_baselines3.common.logger import Logger

from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.run.event_file import EventOutput, new_event_path
from mbrl_agent.run.figures import encode_png
from mbrl_agent.run.log import log_image
from mbrl_agent.run.table import Table, TableCell
from mbrl_agent.study.gradients.bias import STATISTICS, Bias
from mbrl_agent.study.gradients.bimodal import ForwardError
from mbrl_agent.study.gradients.heat import LEVELS, Heat
from mbrl_agent.study.gradients.landscape import Landscape, Values, log10
from mbrl_agent.study.gradients.moments import PredictedMoments
from mbrl_agent.study.gradients.trajectories import PredictedTrajectories, weighted_percentiles

PERCENTILES = (5.0, 25.0, 50.0, 75.0, 95.0)


class Output:
    """Writes figures and tables.

    Args:
        directory: Where the files go; it is made if need be.
        logger: TensorBoard, or None.
        step: TensorBoard's step.
    """

    def __init__(self, directory: Path, logger: Logger | None = None, step: int = 0) -> None:
        self.directory = directory
        self.logger = logger
        self.step = step
        self.written: list[Path] = []

    def write(self, name: str, figure: Figure | None, table: Table) -> None:
        """Write one figure and its numbers, as `study_<name>.png` and `.csv`, and in TensorBoard."""
        text = table.text()
        path = self.directory / f"study_{name}.csv"
        write_atomically(path, text.encode())
        self.written.append(path)
        if figure is not None:
            png = encode_png(figure)
            write_atomically(path.with_suffix(".png"), png)
            self.written.append(path.with_suffix(".png"))
            if self.logger is not None:
                log_image(self.logger, f"study/{name}", png, self.step)
        if self.logger is not None:  # four spaces make Markdown show it as it is
            code = "".join(f"    {line}\n" for line in text.splitlines())
            self.logger.record(f"study/{name}_csv", code)
            self.logger.dump(self.step)


@contextmanager
def open_output(directory: Path, run: Path | None, step: int) -> Iterator[Output]:
    """Give an output whose TensorBoard log is that of a run, if there is one."""
    if run is None:
        yield Output(directory)
        return
    logger = Logger(str(run), [EventOutput(new_event_path(run))])
    try:
        yield Output(directory, logger, step)
    finally:
        logger.close()


def landscape_table(landscapes: Sequence[Landscape]) -> Table:
    """Lay out one row a strategy, direction and place."""
    columns = ["strategy", "direction", "delta", "variance", "log10_variance", "gradient_norm"]
    columns += ["expected_cost", "expected_cost_se", "nonfinite_estimates"]
    columns += [f"variance_percentile_{level:.0f}" for level in LEVELS]
    rows: list[list[TableCell]] = []
    for entry in landscapes:
        series = zip(
            entry.delta, entry.variance, entry.gradient_norm, entry.expected_cost, entry.expected_cost_se,
            entry.nonfinite, entry.variance_quartiles.T, strict=True,
        )  # fmt: skip
        for delta, variance, norm, cost, cost_se, nonfinite, middle in series:
            numbers = [float(delta), float(variance), log10(float(variance)), float(norm)]
            row: list[TableCell] = [
                entry.strategy,
                entry.direction + 1,
                *numbers,
                float(cost),
                float(cost_se),
            ]
            rows.append([*row, int(nonfinite), *map(float, middle)])
    return Table(columns, rows)


def values_table(values: Values) -> Table:
    """Lay out one row a place, one column a particle."""
    columns = ["delta", "mean", *(f"particle_{index}" for index in range(values.particles.shape[1]))]
    rows: list[list[TableCell]] = [
        [float(delta), float(mean), *map(float, particles)]
        for delta, mean, particles in zip(values.delta, values.mean, values.particles, strict=True)
    ]
    return Table(columns, rows)


def trajectories_table(predictions: Sequence[PredictedTrajectories], labels: Sequence[str]) -> Table:
    """Lay out one row a strategy, place, state dimension and step."""
    columns = [
        "strategy",
        "delta",
        "dimension",
        "step",
        *(f"percentile_{level:.0f}" for level in PERCENTILES),
    ]
    rows: list[list[TableCell]] = []
    for entry in predictions:
        for index, label in enumerate(labels):
            levels = weighted_percentiles(entry.states[..., index], entry.weights, PERCENTILES)
            for step, row in enumerate(levels.T):
                rows.append([entry.strategy, entry.delta, label, step, *map(float, row)])
    return Table(columns, rows)


def heat_table(heats: Sequence[Heat]) -> Table:
    """Lay out one row a strategy, place and step; the stretch is that from there to the end."""
    columns = ["strategy", "delta", "step", "cost", "cost_change", "energy_mean"]
    columns += [f"energy_percentile_{level:.0f}" for level in LEVELS]
    columns += [f"log10_stretch_percentile_{level:.0f}" for level in LEVELS]
    rows: list[list[TableCell]] = []
    for heat in heats:
        for step in range(len(heat.cost) + 1):
            row: list[TableCell] = [heat.strategy, heat.delta, step]
            row += [float(heat.cost[step - 1]), float(heat.cost_change[step - 1])] if step else ["", ""]
            if heat.energy is None or heat.energy_mean is None:
                row += [""] * (1 + len(LEVELS))
            else:
                row += [float(heat.energy_mean[step]), *map(float, heat.energy[:, step])]
            row += map(float, heat.stretch[:, step]) if step < len(heat.cost) else [""] * len(LEVELS)
            rows.append(row)
    return Table(columns, rows)


def moments_table(found: Sequence[PredictedMoments], labels: Sequence[str]) -> Table:
    """Lay out one row a number of particles (0: moment matching), dimension and step, of the first repeat."""
    rows: list[list[TableCell]] = [
        [entry.particles, label, step, float(entry.mean[0, step, index]), float(entry.std[0, step, index])]
        for entry in found
        for index, label in enumerate(labels)
        for step in range(entry.mean.shape[1])
    ]
    return Table(["particles", "dimension", "step", "mean", "std"], rows)


def moments_gradient_table(exact: PredictedMoments, sampled: Sequence[PredictedMoments]) -> Table:
    """Lay out one row a number of particles and repeat."""
    rows: list[list[TableCell]] = [
        [entry.particles, number, float(cost), float(exact.cost[0]), float(error)]
        for entry in sampled
        for number, (cost, error) in enumerate(zip(entry.cost, entry.gradient_errors(exact), strict=True))
    ]
    return Table(["particles", "repeat", "expected_cost", "exact_cost", "relative_gradient_error"], rows)


def bias_table(rows: Sequence[Bias]) -> Table:
    """Lay out one row a strategy and place; every figure with its standard error."""
    columns = ["strategy", "delta", *(f"{name}{suffix}" for name in STATISTICS for suffix in ("", "_se"))]
    columns += [f"single_cosine_percentile_{level:.0f}" for level in LEVELS]
    cells: list[list[TableCell]] = []
    for row in rows:
        estimates = [getattr(row, name) for name in STATISTICS]
        numbers = [number for estimate in estimates for number in (estimate.value, estimate.error)]
        cells.append([row.strategy, row.delta, *numbers, *row.single_cosine])
    return Table(columns, cells)


def forward_table(rows: Sequence[ForwardError], labels: list[str]) -> Table:
    """Lay out one row a start and strategy."""
    columns = ["start", "strategy", "cost", "cost_se", "error", "error_se", "true_error", "true_error_se"]
    cells: list[list[TableCell]] = []
    for row in rows:
        pairs = [row.cost, row.error, *([row.true_error] if row.true_error else [])]
        numbers: list[TableCell] = [number for pair in pairs for number in (pair.value, pair.error)]
        cells.append([row.modes.label(labels), row.strategy, *numbers, *[""] * (6 - len(numbers))])
    return Table(columns, cells)
