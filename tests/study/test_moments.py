"""The study of moment matching: what it compares, writes and refuses."""

import csv

import numpy as np
import pytest

from mbrl_agent.run import cli
from mbrl_agent.study.__main__ import main
from mbrl_agent.study.gradients.moments import compare_moments
from mbrl_agent.study.gradients.scene import run_scene

TINY = ["--trials", "2", "--search.steps", "2", "--search.num-particles", "20", "--search.candidates", "1",
        "--eval-episodes", "0", "--gradient-probe", "0", "--quiet"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    logdir = tmp_path_factory.mktemp("runs")
    assert cli.main(["--dynamics", "gp:functions=20", "--logdir", str(logdir), *TINY]) == 0
    return next(logdir.iterdir())


def test_particles_tend_to_moment_matching(run):
    exact, few, many = compare_moments(run_scene(run, 8), [20, 2000], 4, 0)
    assert (exact.particles, few.particles, many.particles) == (0, 20, 2000)
    assert exact.mean.shape == (1, 9, 4)
    assert few.mean.shape == many.std.shape == (4, 9, 4)
    assert np.abs(many.mean.mean(0) - exact.mean[0]).max() < np.abs(few.mean - exact.mean).max()
    assert many.cost.mean() == pytest.approx(exact.cost[0], rel=0.02)
    np.testing.assert_allclose(many.std.mean(0), exact.std[0], rtol=0.1, atol=0.01)
    assert np.median(many.gradient_errors(exact)) < np.median(few.gradient_errors(exact))


def test_the_command_writes_a_figure_and_two_tables(run, tmp_path, capsys):
    words = ["--counts", "20", "60", "--repeats", "2", "--horizon", "4", "--out", str(tmp_path)]
    assert main(["moments", "--run", str(run), *words]) == 0
    text = capsys.readouterr().out
    assert "moment matching: expected cost" in text
    assert "60 particles: expected cost" in text
    assert (tmp_path / "study_moments.png").stat().st_size > 10_000
    with (tmp_path / "study_moments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 4 * 5
    with (tmp_path / "study_moments_gradient.csv").open() as file:
        assert [row["particles"] for row in csv.DictReader(file)] == ["20", "20", "60", "60"]


def test_a_run_with_another_model_is_refused(tmp_path, capsys):
    assert cli.main(["--logdir", str(tmp_path), *TINY, "--dynamics", "ensemble:hidden=4,fit-steps=2"]) == 0
    assert main(["moments", "--run", str(next(tmp_path.iterdir()))]) == 2
    assert "the run's model is not 'gp'" in capsys.readouterr().err
    assert main(["moments", "--untrained"]) == 2
    assert "not 'gp'" in capsys.readouterr().err


def test_too_few_particles_are_refused(run, capsys):
    assert main(["moments", "--run", str(run), "--counts", "1"]) == 2
    assert "--counts: must be at least 2" in capsys.readouterr().err
